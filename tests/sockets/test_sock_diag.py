"""sock_diag on literal bytes and on the real kernel, whose answers match procfs."""

import contextlib
import os
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.network import read_table
from datadog_checks.gunicorn.sockets import sock_diag
from datadog_checks.gunicorn.sockets.addresses import Address, Family, Listener, parse_bind, unix_address
from datadog_checks.gunicorn.sockets.netlink import NetlinkError
from datadog_checks.gunicorn.sockets.sock_diag import (
    format_filter,
    parse_inet,
    parse_inet_listener,
    parse_unix,
    parse_unix_listener,
    read_at,
    read_listening,
)
from datadog_checks.gunicorn.sockets.tables import FILES, Socket, parse_at, parse_listening
from tests.gunicorn_server import temporary_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")

LOCALHOST = bytes([127, 0, 0, 1]) + bytes(12)
MAPPED = bytes(10) + b"\xff\xff" + LOCALHOST[:4]


def inet_answer(family, state, host, queued, inode, **attributes):
    identity = struct.pack("!HH", 8000, 40000) + host + bytes(16) + bytes(12)
    fixed = struct.pack("=BBBB", family, state, 0, 0) + identity + struct.pack("=IIIII", 0, queued, 128, 0, inode)
    return fixed + format_attributes(attributes)


def format_attributes(attributes):
    """Format attributes like those of the kernel: {"a4": b"value"} is one of type 4."""
    return b"".join(
        struct.pack("=HH", 4 + len(value), int(name[1:])) + value + bytes(-len(value) % 4)
        for name, value in attributes.items()
    )


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (inet_answer(2, 10, LOCALHOST, 4, 987), Socket(parse_bind("127.0.0.1:8000"), True, 987, 4)),
        (inet_answer(2, 1, LOCALHOST, 39, 988), Socket(parse_bind("127.0.0.1:8000"), False, 988, 0)),
        (inet_answer(10, 8, MAPPED, 1, 989), Socket(parse_bind("[::ffff:127.0.0.1]:8000"), False, 989, 0)),
        (inet_answer(10, 10, bytes(16), 0, 990), Socket(parse_bind("[::]:8000"), True, 990, 0)),
        (inet_answer(2, 1, LOCALHOST, 39, 0), None),
    ],
    ids=["a listener", "a connection", "closed by the client, IPv4 on IPv6", "on any address", "not accepted yet"],
)
def test_inet(answer, found):
    assert parse_inet(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            inet_answer(2, 10, LOCALHOST, 4, 987, a8=b"\0", a21=struct.pack("=Q", 1 << 40 | 7), a22=b"new"),
            Listener(987, parse_bind("127.0.0.1:8000"), limit=128, group=1 << 40 | 7),
        ),
        (inet_answer(10, 10, bytes(16), 0, 990), Listener(990, parse_bind("[::]:8000"), limit=128)),
        (inet_answer(2, 1, LOCALHOST, 39, 988, a21=struct.pack("=Q", 7)), None),
    ],
    ids=["with its control group", "of an older kernel", "a connection"],
)
def test_inet_listeners(answer, found):
    assert parse_inet_listener(answer) == found


def unix_answer(state, name, queued=0, kind=1, **attributes):
    fixed = struct.pack("=BBBxIII", 1, kind, state, 987, 0, 0)
    return fixed + format_attributes({"a0": name, "a4": struct.pack("=II", queued, 128), **attributes})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (unix_answer(10, b"/run/app.sock\0", 2), Socket(parse_bind("unix:/run/app.sock"), True, 987, 2)),
        (unix_answer(1, b"/run/app.sock\0", 2), Socket(parse_bind("unix:/run/app.sock"), False, 987, 0)),
        (unix_answer(10, b"\0an app\0"), Socket(parse_bind("unix:@an app@"), True, 987, 0)),
        (unix_answer(10, b"/run/\xff"), Socket(Address(Family.UNIX, "/run/\\xff"), True, 987, 0)),
        (unix_answer(1, b""), None),
        (unix_answer(10, b"/run/app.sock\0", kind=5), None),
    ],
    ids=["a listener", "a connection", "an abstract name", "not UTF-8", "a client", "not a stream"],
)
def test_unix(answer, found):
    assert parse_unix(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            unix_answer(10, b"/run/app.sock\0", 2, a7=struct.pack("=I", 65534)),
            Listener(987, parse_bind("unix:/run/app.sock"), limit=128, uid=65534),
        ),
        (unix_answer(10, b"\0app", a7=struct.pack("=I", 0)), Listener(987, parse_bind("unix:@app"), 128, uid=0)),
        (unix_answer(10, b"/run/app.sock\0"), Listener(987, parse_bind("unix:/run/app.sock"), limit=128)),
        (unix_answer(1, b"/run/app.sock\0", a7=struct.pack("=I", 0)), None),
        (unix_answer(10, b"/run/app.sock\0", kind=5), None),
    ],
    ids=["with its owner", "an abstract name of root's", "of an older kernel", "a connection", "not a stream"],
)
def test_unix_listeners(answer, found):
    assert parse_unix_listener(answer) == found


@given(st.lists(st.binary(max_size=100)))
def test_answers_with_an_unknown_layout_raise_an_error(answers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sock_diag, "dump", lambda *_: (some for some in [answers]))
        for family in Family:
            with contextlib.suppress(NetlinkError):
                assert len(read_listening(family)) <= len(answers)
            with contextlib.suppress(NetlinkError):
                assert len(read_at(family, [Address(family, "a", 1)])) <= len(answers)


def run_filter(steps, port):
    """Whether a filter accepts a port, run as in the kernel (inet_diag_bc_run of net/ipv4/inet_diag.c)."""
    place = 0
    while place < len(steps):
        code, yes, no = struct.unpack_from("=BBH", steps, place)
        compared = struct.unpack_from("=BBH", steps, place + 4)[2] if code in (2, 3) else 0
        place += yes if {1: False, 2: port >= compared, 3: port <= compared}[code] else no
    return place == len(steps)


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=20))
def test_a_filter_accepts_its_ports_and_no_others(ports):
    steps = format_filter(ports)
    for port in {port + step for port in ports for step in (-1, 0, 1)}:
        assert run_filter(steps, port) == (port in ports)


@pytest.fixture
def held():
    """Listeners of each family, with three connections each: one is accepted, and its client has exited."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())

        def keep(opened):
            return stack.enter_context(opened)

        def fill(listener):
            clients = [keep(socket.socket(listener.family)) for _ in range(3)]
            for client in clients:
                client.connect(listener.getsockname())
            keep(listener.accept()[0])
            clients[0].close()
            return listener

        paths = [str(folder / "a socket"), f"\0abstract-{os.getpid()}\0"]
        for path in paths:
            listener = keep(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen()
            fill(listener)
        ports = {}
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listeners = [fill(keep(socket.create_server((host, 0), family=family))) for _ in range(3)]
            ports[family] = [listener.getsockname()[1] for listener in listeners]
        yield {
            Family.INET: [Address(Family.INET, "127.0.0.1", port) for port in ports[socket.AF_INET]],
            Family.INET6: [Address(Family.INET6, "::1", port) for port in ports[socket.AF_INET6]],
            Family.UNIX: [unix_address(path.encode()) for path in paths],
        }


def totals(sockets, chosen):
    """Sum by address: the two sources show queued UNIX connections in different rows."""
    sums = {}
    for address, listening, inode, queued in sockets:
        if address in chosen:
            inodes, waiting = sums.get(address, (frozenset(), 0))
            sums[address] = inodes | ({(inode, listening)} if inode else set()), waiting + (queued or 0)
    return sums


@pytest.mark.parametrize("family", Family)
def test_sock_diag_and_procfs_agree(family, held):
    chosen, rows = held[family], read_table(os.getpid(), FILES[family])
    found = totals(read_at(family, chosen), chosen)
    assert found == totals(parse_at(rows, family, chosen), chosen)
    assert len(found) == len(chosen)
    for inodes, queued in found.values():
        assert (sorted(listening for _, listening in inodes), queued) == ([False, True], 2)
    listening = {(each.inode, each.address) for each in read_listening(family) if each.address in chosen}
    assert listening == {
        (inode, address) for address, (inodes, _) in found.items() for inode, is_listening in inodes if is_listening
    }
    assert listening == {(each.inode, each.address) for each in parse_listening(rows, family) if each.address in chosen}


@pytest.mark.parametrize("family", Family)
def test_sock_diag_returns_nothing_else(family, held):
    one, other, *_ = held[family]
    assert {socket.address for socket in read_at(family, [one, other])} == {one, other}
    assert {socket.address for socket in read_at(family, [other])} == {other}
    if other.port:
        around = {port for port in (other.port - 1, other.port + 1) if port not in {each.port for each in held[family]}}
        found = read_at(family, [other._replace(port=port) for port in around])
        assert {socket.address.port for socket in found} <= around
    else:
        around = [other._replace(host=host) for host in (one.host + "a", one.host[1:], other.host + "a")]
        assert read_at(family, around) == []


def test_the_kernel_accepts_a_filter_of_many_ports(held):
    addresses = {parse_bind(f":{port}") for port in range(1, 3000)}
    found = read_at(Family.INET, addresses.union(held[Family.INET]))
    assert {socket.address for socket in found} >= set(held[Family.INET])
    with pytest.raises(NetlinkError):
        read_at(Family.INET, {parse_bind(f":{port}") for port in range(1, 65536)})
