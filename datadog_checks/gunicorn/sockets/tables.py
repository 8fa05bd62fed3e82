"""The socket tables of a network namespace in procfs. Pure."""

import functools
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from .addresses import Address, Family, Listener, inet_address, unix_address, unix_pattern

# From include/net/tcp_states.h: the listening state, and the states of an accepted socket that a process may hold:
# ESTABLISHED, CLOSE_WAIT (closed by the client), and FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING (shut down by the server).
ESTABLISHED, LISTEN = 1, 10
ACCEPTED = frozenset([ESTABLISHED, 4, 5, 8, 9, 11])


# Their names in /proc/PID/net.
FILES = {Family.INET: "tcp", Family.INET6: "tcp6", Family.UNIX: "unix"}


class Socket(NamedTuple):
    """A socket that listens on `address`, or was accepted there; `inode` is 0 if no process has accepted it yet.

    `queued` is the number of connections that wait to be accepted. It is None for a listener whose waiting connections
    have rows of their own, without the listener's inode.
    """

    address: Address
    listening: bool
    inode: int
    queued: int | None


def parse_inet(rows: Iterable[bytes]) -> Iterator[Socket]:
    """Parse /proc/net/tcp or tcp6 (proc_pid_net(5)); skips the header, other states and malformed rows.

    >>> row = b" 0: 0100007F:1F40 00000000:0000 0A 00000000:00000004 00:00000000 00000000 0 0 987 1 0"
    >>> [(address, listening, inode, queued)] = parse_inet([row])
    >>> str(address), listening, inode, queued
    ('127.0.0.1:8000', True, 987, 4)

    The receive queue of a listener is its accept queue, counted in connections.
    """
    for row in rows:
        try:
            _, local, _, hex_state, queues, _, _, _, _, inode, *_ = row.split(None, 10)
            state = int(hex_state, 16)
            if state == LISTEN:
                yield Socket(_parse_address(local), True, int(inode), int(queues.partition(b":")[2], 16))
            elif state in ACCEPTED and inode != b"0":
                yield Socket(_parse_address(local), False, int(inode), 0)
        except ValueError:
            continue


# The connections to a listener have few different local addresses.
@functools.lru_cache(maxsize=1024)
def _parse_address(text: bytes) -> Address:
    host, _, port = text.decode().partition(":")
    packed = bytes.fromhex(host)
    if sys.byteorder == "little":
        # procfs prints each 32-bit group as an integer in host byte order.
        packed = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))
    return inet_address(packed, int(port, 16))


_UNIX = re.compile(rb"\S+: \S+ \S+ (?P<flags>\S+) 0001 (?P<state>\S+) +(?P<inode>\d+) (?P<name>.+?)\n?", re.DOTALL)
# __SO_ACCEPTCON and two socket states, from include/uapi/linux/net.h.
_ACCEPTS, _CONNECTING, _CONNECTED = b"00010000", b"02", b"03"


def parse_unix(rows: Iterable[bytes]) -> Iterator[Socket]:
    """Parse the named stream sockets in /proc/net/unix (proc_pid_net(5)).

    >>> row = b"0000000000000000: 00000002 00000000 00010000 0001 01   987 /run/app.sock"
    >>> [(address, listening, inode, queued)] = parse_unix([row])
    >>> str(address), listening, inode, queued
    ('unix:/run/app.sock', True, 987, None)

    A connection that waits to be accepted has its own row.
    """
    for row in rows:
        match = _UNIX.fullmatch(row)
        if match:
            address, inode = unix_address(match["name"]), int(match["inode"])
            if match["flags"] == _ACCEPTS:
                yield Socket(address, True, inode, None)
            elif match["state"] == _CONNECTED:
                yield Socket(address, False, inode, 0)
            elif match["state"] == _CONNECTING:
                yield Socket(address, False, 0, 1)


def parse_listening(rows: Iterable[bytes], family: Family) -> Iterator[Listener]:
    """Parse the listening sockets in the rows of a table; skips all others.

    >>> row = b" 0: 0100007F:1F40 00000000:0000 0A 00000000:00000004 00:00000000 00000000 0 0 987 1 0"
    >>> [(listener.inode, str(listener.address)) for listener in parse_listening([row], Family.INET)]
    [(987, '127.0.0.1:8000')]
    """
    if family is Family.UNIX:
        sockets = parse_unix(filter(re.compile(rb" %b 0001 " % _ACCEPTS).search, rows))
    else:
        sockets = parse_inet(filter(re.compile(rb" *\d+: \S+ \S+ 0A ").match, rows))
    for socket in sockets:
        if socket.listening:
            yield Listener(socket.inode, socket.address)


def parse_at(rows: Iterable[bytes], family: Family, addresses: Collection[Address]) -> Iterator[Socket]:
    """Parse the listening and accepted sockets at the ports or names of some addresses.

    >>> row = b" 0: 0100007F:1F40 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000 0 0 988 1 0"
    >>> [str(socket.address) for socket in parse_at([row], Family.INET, [inet_address(bytes(4), 8000)])]
    ['127.0.0.1:8000']

    There may be thousands of other rows: filtering them first is ten times as fast as parsing them.
    """
    if family is Family.UNIX:
        names = b"|".join(map(unix_pattern, addresses))
        return parse_unix(filter(re.compile(rb" (?:%b)\n?\Z" % names).search, rows))
    ports = b"|".join({b"%04X" % address.port for address in addresses})
    return parse_inet(filter(re.compile(rb" *\d+: [0-9A-F]+:(?:%b) " % ports).match, rows))
