import importlib.util

import pytest

# Only the environment `loader` in hatch.toml has Datadog's client library.
if importlib.util.find_spec("datadog_api_client") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from .datadog import Datadog, serve
    from .local_account import LocalAccount


@pytest.fixture
def datadog():
    """An account, which fails the test if a body that it received does not match the client library's model."""
    datadog = Datadog()
    yield datadog
    assert datadog.faults == []


@pytest.fixture
def whole_account(datadog, tmp_path, monkeypatch):
    """The command with all files of the checkout, and the account that it works on."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(datadog) as url:
        yield LocalAccount(datadog, url, tmp_path)


@pytest.fixture
def account(whole_account):
    """The command with fewer metrics and widgets, and the account that it works on."""
    whole_account.shorten_files()
    return whole_account
