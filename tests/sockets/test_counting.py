"""Counts of connections, for literal sockets."""

import itertools

import pytest

from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.counting import count_connections
from datadog_checks.gunicorn.sockets.tables import Socket

_inodes = itertools.count(1)


def listens(text, queued=0, inode=None):
    return Socket(parse_bind(text), True, inode or next(_inodes), queued)


def accepted(text, inode=None):
    return Socket(parse_bind(text), False, inode or next(_inodes), 0)


def waits(text):
    return Socket(parse_bind(text), False, 0, 1)


@pytest.mark.parametrize(
    ("sockets", "listeners", "counts"),
    [
        pytest.param(
            [listens("127.0.0.1:80", 4), accepted("127.0.0.1:80"), accepted("127.0.0.1:80")],
            ["127.0.0.1:80"],
            {"127.0.0.1:80": (2, 4)},
            id="a listener counts what was accepted at its address",
        ),
        pytest.param(
            [*[listens("127.0.0.1:80", 4, inode=1)] * 2, *[accepted("127.0.0.1:80", inode=2)] * 2],
            ["127.0.0.1:80"],
            {"127.0.0.1:80": (1, 4)},
            id="a socket that is shown twice counts once",
        ),
        pytest.param(
            [listens("127.0.0.1:80", 4)], ["127.0.0.1:80"], {"127.0.0.1:80": (0, 4)}, id="nothing was accepted yet"
        ),
        pytest.param(
            [listens("127.0.0.1:80"), accepted("10.0.0.1:80"), accepted("127.0.0.1:81")],
            ["127.0.0.1:80"],
            {"127.0.0.1:80": (0, 0)},
            id="address and port both match",
        ),
        pytest.param(
            [listens("0.0.0.0:80"), accepted("10.0.0.1:80"), accepted("10.0.0.2:80"), accepted("10.0.0.1:81")],
            ["0.0.0.0:80"],
            {"0.0.0.0:80": (2, 0)},
            id="a wildcard listener counts every address",
        ),
        pytest.param(
            [listens("0.0.0.0:80", 1), listens("10.0.0.1:80", 2), accepted("10.0.0.1:80"), accepted("10.0.0.2:80")],
            ["0.0.0.0:80"],
            {"0.0.0.0:80": (1, 1)},
            id="a wildcard listener does not count an address that has its own listener",
        ),
        pytest.param(
            [listens("0.0.0.0:80", 1), listens("10.0.0.1:80", 2), accepted("10.0.0.1:80"), accepted("10.0.0.2:80")],
            ["10.0.0.1:80"],
            {"10.0.0.1:80": (1, 2)},
            id="a listener beside a wildcard listener counts only its own address",
        ),
        pytest.param(
            [listens("[::]:80"), accepted("[::ffff:10.0.0.1]:80"), accepted("[::1]:80"), accepted("10.0.0.1:80")],
            ["[::]:80"],
            {"[::]:80": (2, 0)},
            id="IPv4 clients of an IPv6 listener have mapped addresses",
        ),
        pytest.param(
            [listens("0.0.0.0:80"), accepted("[::1]:80")],
            ["0.0.0.0:80"],
            {"0.0.0.0:80": (0, 0)},
            id="a wildcard address covers its own family only",
        ),
        pytest.param(
            [listens("10.0.0.1:80", 2), listens("10.0.0.1:80", 3), accepted("10.0.0.1:80")],
            ["10.0.0.1:80"],
            {"10.0.0.1:80": (1, 5)},
            id="listeners of one address are summed",
        ),
        pytest.param(
            [accepted("10.0.0.1:80")], ["10.0.0.1:80", "0.0.0.0:80"], {}, id="an address that nothing listens on"
        ),
        pytest.param(
            [listens("unix:/a", None), waits("unix:/a"), waits("unix:/a"), accepted("unix:/a"), accepted("unix:/b")],
            ["unix:/a"],
            {"unix:/a": (1, 2)},
            id="queued UNIX connections have rows of their own",
        ),
        pytest.param(
            [listens("unix:/a", 2)],
            ["unix:/a"],
            {"unix:/a": (0, 2)},
            id="queued UNIX connections counted by the listener",
        ),
        pytest.param([listens("10.0.0.1:80")], [], {}, id="no listener is known"),
    ],
)
def test_count_connections(sockets, listeners, counts):
    found = count_connections(iter(sockets), set(map(parse_bind, listeners)))
    assert {str(address): tuple(count) for address, count in found.items()} == counts
    assert found == count_connections(reversed(sockets), [*map(parse_bind, listeners)] * 2)
