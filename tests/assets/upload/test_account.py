import pytest

from assets.upload.account import DOMAINS, SITES, UsageError, read_account
from assets.upload.command import main

from .datadog import API_KEY
from .local_account import KEYS

pytestmark = pytest.mark.loader


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_an_account_is_on_the_first_site_by_default_and_does_not_show_its_keys():
    account = read_account(KEYS)
    assert (account.site, account.api_url) == ("datadoghq.com", "https://api.datadoghq.com")
    assert not any(key in repr(account) for key in KEYS.values())


@pytest.mark.parametrize(
    ("site", "api", "page"),
    [
        ("datadoghq.eu", "https://api.datadoghq.eu", "https://app.datadoghq.eu/monitors/1"),
        ("us5.datadoghq.com", "https://api.us5.datadoghq.com", "https://us5.datadoghq.com/monitors/1"),
        ("ddog-gov.com", "https://api.ddog-gov.com", "https://app.ddog-gov.com/monitors/1"),
        # A site that is newer than SITES.
        ("us6.datadoghq.com", "https://api.us6.datadoghq.com", "https://us6.datadoghq.com/monitors/1"),
        ("", "https://api.datadoghq.com", "https://app.datadoghq.com/monitors/1"),
    ],
)
def test_the_site_determines_the_addresses_of_the_api_and_of_pages(site, api, page):
    account = read_account({**KEYS, "DD_SITE": site})
    assert (account.api_url, account.link("/monitors/1")) == (api, page)


def test_known_sites_are_in_known_domains():
    assert all(site.endswith(DOMAINS) and read_account({**KEYS, "DD_SITE": site}).site == site for site in SITES)


@pytest.mark.parametrize(
    "site",
    [
        "datadoghq.co",
        "us4.example.com",
        "https://app.datadoghq.eu",
        "app.datadoghq.eu",
        "api.datadoghq.com",
        "datadoghq.com.example",
        "datadoghq.com/x",
        "notdatadoghq.com",
        "datadoghq.com\n",
    ],
)
def test_keys_are_sent_to_no_other_site(site):
    with pytest.raises(UsageError) as raised:
        read_account({**KEYS, "DD_SITE": site})
    assert str(raised.value).startswith(f"DD_SITE: {site!r} is not a site of Datadog. The sites: datadoghq.com, us3")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://proxy.example/datadog/", "https://proxy.example/datadog"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_replaces_the_one_of_the_site(url, expected):
    assert read_account(KEYS, url).api_url == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://proxy.example", "would send the keys unencrypted; use https"),
        ("proxy.example", "not an address such as https://datadog-proxy.example"),
        ("ftp://proxy.example", "not an address"),
        ("https://me@proxy.example", "not an address"),
        ("https://proxy.example/?a=b", "not an address"),
        ("https://", "not an address"),
        ("https://proxy.example:99999", "not an address"),
        ("https://[::1", "not an address"),
    ],
)
def test_keys_are_not_sent_to_an_invalid_or_unencrypted_address(url, reason):
    with pytest.raises(UsageError, match="--api-url: ") as raised:
        read_account(KEYS, url)
    assert reason in str(raised.value)


@pytest.mark.parametrize("url", ["https://me:secret@proxy.example", "http://me:secret@proxy.example"])
def test_a_password_in_an_address_is_not_shown(url):
    with pytest.raises(UsageError) as raised:
        read_account(KEYS, url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("proxy", ["proxy:3128", "socks5://proxy.example:1080", "http://me:secret@"])
def test_a_proxy_that_cannot_be_used_is_an_error(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageError) as raised:
        read_account(KEYS)
    assert str(raised.value) == "HTTPS_PROXY: not an address such as http://proxy.example:3128"


def test_the_proxy_is_used_except_for_hosts_that_bypass_it(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    account = read_account(KEYS)
    assert account.proxy == "http://me:secret@proxy.example:3128"
    assert "secret" not in repr(account)
    assert read_account(KEYS, "http://127.0.0.1:8080").proxy is None
    monkeypatch.setenv("NO_PROXY", "datadoghq.com")
    assert read_account(KEYS).proxy is None


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "DD_API_KEY and DD_APP_KEY: not set. Create keys in Datadog, under Organization Settings."),
        ({"DD_API_KEY": API_KEY}, "DD_APP_KEY: not set. Create keys in Datadog, under Organization Settings."),
        (
            {**KEYS, "DD_API_KEY": f"{API_KEY}\n"},
            "DD_API_KEY: contains characters that no key has (blanks, quotes, line breaks?)",
        ),
        ({**KEYS, "DD_SITE": "example.com"}, "DD_SITE: 'example.com' is not a site of Datadog. The sites:"),
    ],
)
def test_wrong_usage_is_explained_in_one_line(capsys, environment, line):
    assert main([], environment) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1
    assert API_KEY not in captured.err
    assert captured.out == ""


def test_unknown_options_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--aply"], KEYS)
    assert raised.value.code == 2
    assert "--aply" in capsys.readouterr().err


def test_help_names_options_variables_and_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"], KEYS)
    text = capsys.readouterr().out
    for word in ("--apply", "--remove", "--overwrite", "--api-url", "DD_API_KEY", "DD_APP_KEY", "DD_SITE", "130"):
        assert word in text
