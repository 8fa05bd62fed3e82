"""The addresses in literal arguments."""

import pytest

from datadog_checks.gunicorn.sockets.binds import parse_binds


@pytest.mark.parametrize(
    ("arguments", "binds"),
    [
        (["-b", "127.0.0.1:8001", "app:app"], ["127.0.0.1:8001"]),
        (["-b:8001", "app:app"], ["0.0.0.0:8001"]),
        (["app:app", "--bind", "[::1]:8001", "--bind=unix:/run/app.sock"], ["[::1]:8001", "unix:/run/app.sock"]),
        (["--bi", "localhost", "app:app"], ["127.0.0.1:8000"]),
        (["-Db", "127.0.0.1:8001", "app:app"], ["127.0.0.1:8001"]),
        (["-b", ":0", "-b", "web:80", "-b", "", "-b", "nonsense:", "-b", ":8001"], ["0.0.0.0:8001"]),
        (["-b", ":8001", "-b", "fd://3"], []),
        (["app:app"], []),
        (["-n", "-b", "app:app"], []),
        (["--", "-b", ":8001"], []),
        (["-b"], []),
    ],
    ids=" ".join,
)
def test_the_addresses_that_arguments_give(arguments, binds):
    parsed = parse_binds(tuple(arguments))
    assert [str(address) for address in parsed.addresses] == binds
    assert parsed.complete == (bool(binds) and ":0" not in arguments)
