"""The socket tables of a network namespace as procfs shows them: rows to sockets."""

import functools
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from datadog_checks.gunicorn.host.procfs import path_of

from .addresses import Address, Family, inet_address, unix_address, unix_pattern

# Of include/net/tcp_states.h: a socket that listens, and those that a process may hold after it has accepted them.
# In CLOSE_WAIT only the client has closed, in the others of FIN_WAIT1 and later the server has shut down as well.
ESTABLISHED, LISTEN = 1, 10
ACCEPTED = frozenset([ESTABLISHED, 4, 5, 8, 9, 11])


class Socket(NamedTuple):
    """A socket that listens at `address`, or was accepted there; an `inode` of 0 is one that no process has taken.

    `queued` is how many connections it tells of that wait to be accepted; None where they have rows of their own, which
    do not tell whose they are.
    """

    address: Address
    listening: bool
    inode: int
    queued: int | None


def parse_inet(rows: Iterable[bytes]) -> Iterator[Socket]:
    """Parse /proc/net/tcp or tcp6 (proc_pid_net(5)); rows that are neither, and what is none, are left out.

    >>> row = b" 0: 0100007F:1F40 00000000:0000 0A 00000000:00000004 00:00000000 00000000 0 0 987 1 0"
    >>> [(address, listening, inode, queued)] = parse_inet([row])
    >>> str(address), listening, inode, queued
    ('127.0.0.1:8000', True, 987, 4)

    A listener has the length of its accept queue where others have the bytes to be read.
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


# All connections to a listener have the same few.
@functools.lru_cache(maxsize=1024)
def _parse_address(words: bytes) -> Address:
    host, _, port = words.decode().partition(":")
    packed = bytes.fromhex(host)
    if sys.byteorder == "little":
        # Each 32 bits are printed as the number that they are to this machine.
        packed = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))
    return inet_address(packed, int(port, 16))


_UNIX = re.compile(rb"\S+: \S+ \S+ (?P<flags>\S+) 0001 (?P<state>\S+) +(?P<inode>\d+) (?P<name>.+?)\n?", re.DOTALL)
# __SO_ACCEPTCON of include/uapi/linux/net.h, and two of the states there.
_ACCEPTS, _CONNECTING, _CONNECTED = b"00010000", b"02", b"03"


def parse_unix(rows: Iterable[bytes]) -> Iterator[Socket]:
    """Parse /proc/net/unix (proc_pid_net(5)); only stream sockets that have a name.

    >>> row = b"0000000000000000: 00000002 00000000 00010000 0001 01   987 /run/app.sock"
    >>> [(address, listening, inode, queued)] = parse_unix([row])
    >>> str(address), listening, inode, queued
    ('unix:/run/app.sock', True, 987, None)

    A connection that waits has a row of its own.
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


def parse_listening(rows: Iterable[bytes], family: Family) -> Iterator[Socket]:
    """Parse what listens, of a table's rows."""
    if family is Family.UNIX:
        return parse_unix(filter(re.compile(rb" %b 0001 " % _ACCEPTS).search, rows))
    return parse_inet(filter(re.compile(rb" *\d+: \S+ \S+ 0A ").match, rows))


def parse_at(rows: Iterable[bytes], family: Family, addresses: Collection[Address]) -> Iterator[Socket]:
    """Parse what listens and what was accepted at the ports or names of some addresses.

    There may be thousands of others: parsing a row takes ten times as long as telling that it is none of these.
    """
    if family is Family.UNIX:
        names = b"|".join(map(unix_pattern, addresses))
        return parse_unix(filter(re.compile(rb" (?:%b)\n?\Z" % names).search, rows))
    ports = b"|".join({b"%04X" % address.port for address in addresses})
    return parse_inet(filter(re.compile(rb" *\d+: [0-9A-F]+:(?:%b) " % ports).match, rows))


_TABLES = {Family.INET: "tcp", Family.INET6: "tcp6", Family.UNIX: "unix"}


def read_table(pid: int, family: Family) -> list[bytes]:
    """Read the rows of a table of the network namespace that a process is in; any user may.

    Empty where there is none: without IPv6, say. Raises OSError.
    """
    try:
        with open(path_of(pid, "net", _TABLES[family]), "rb") as table:
            return table.readlines()
    except FileNotFoundError:
        return []
