import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.sockets.addresses import Family, parse_bind, unix_address, unix_pattern, wildcard_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        (":8000", "0.0.0.0:8000"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("localhost:8000", "127.0.0.1:8000"),
        ("LOCALHOST:8000", "127.0.0.1:8000"),
        ("10.1.2.3", "10.1.2.3:8000"),
        ("tcp://10.1.2.3:80", "10.1.2.3:80"),
        (" 10.1.2.3:80\n", "10.1.2.3:80"),
        ("[::1]:8000", "[::1]:8000"),
        ("[::]:65535", "[::]:65535"),
        ("[0:0:0:0:0:0:0:1]", "[::1]:8000"),
        ("[FE80::1]:80", "[fe80::1]:80"),
        ("[::ffff:7f00:1]:80", "[::ffff:127.0.0.1]:80"),
        ("[127.0.0.1]:80", "127.0.0.1:80"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("unix:run/app.sock", "unix:run/app.sock"),
        ("unix://run/app.sock", "unix:run/app.sock"),
        ("unix:/run/an app:80", "unix:/run/an app:80"),
        ("unix:@app", "unix:@app"),
        ("unix:\0app", "unix:@app"),
        ("unix:/run/\N{SNOWMAN}\udc80", "unix:/run/\N{SNOWMAN}\\x80"),
    ],
)
def test_addresses_become_canonical(text, address):
    assert str(parse_bind(text)) == address
    assert parse_bind(address) == parse_bind(text)


@pytest.mark.parametrize(
    ("text", "what_to_do"),
    [
        ("fd://3", "use the address that this descriptor listens on"),
        ("127.0.0.1:0", "the port that the kernel chose"),
        ("web.example.org:80", "use the IP address instead of the name"),
        ("*:80", "use the IP address instead of the name"),
        ("[fe80::1%eth0]:80", "use the IP address instead of the name"),
        ("", "such as '127.0.0.1:8000'"),
        (":", "such as '127.0.0.1:8000'"),
        ("127.0.0.1:", "such as '127.0.0.1:8000'"),
        ("127.0.0.1:http", "such as '127.0.0.1:8000'"),
        ("127.0.0.1:65536", "such as '127.0.0.1:8000'"),
        ("127.0.0.1:-1", "such as '127.0.0.1:8000'"),
        ("127.0.0.1:80:80", "such as '127.0.0.1:8000'"),
        ("::1", "such as '127.0.0.1:8000'"),
        ("http://127.0.0.1:80", "such as '127.0.0.1:8000'"),
        ("unix:", "as in 'unix:/run/app.sock'"),
    ],
)
def test_errors_explain_what_to_write(text, what_to_do):
    with pytest.raises(ValueError, match="is not an address|has no path") as error:
        parse_bind(text)
    assert str(error.value).startswith(repr(text))
    assert what_to_do in str(error.value)


@given(st.text() | st.from_regex(r"(unix:|tcp://|fd://)?\[?[0-9a-f.:]*\]?:[0-9]*"))
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        address = parse_bind(text)
    except ValueError:
        return
    assert parse_bind(str(address)) == address or address.family is Family.UNIX


@given(st.binary())
def test_any_socket_name_becomes_a_valid_tag(name):
    str(unix_address(name)).encode()


@given(st.binary() | st.sampled_from([b"/run/\xff\\xff", b"\0a@b", "/run/\N{SNOWMAN} [a-z]*.sock".encode()]))
def test_the_pattern_matches_the_name(name):
    address = unix_address(name)
    assert re.fullmatch(unix_pattern(address), name)
    assert not re.fullmatch(unix_pattern(address), name + b".")


@pytest.mark.parametrize(
    ("text", "wildcard"),
    [
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::1]:80", "[::]:80"),
        ("[::ffff:127.0.0.1]:80", "[::]:80"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_the_wildcard_address(text, wildcard):
    assert str(wildcard_of(parse_bind(text))) == wildcard
