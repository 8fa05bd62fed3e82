"""The network namespaces of servers, and the sockets in each. For one run."""

import os
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

from datadog_checks.gunicorn.host.processes import attempt, is_still
from datadog_checks.gunicorn.host.procfs import path_of
from datadog_checks.gunicorn.host.values import Identity

from .addresses import Address, Family
from .netlink import NetlinkError
from .sock_diag import read_at, read_listening
from .tables import Socket, parse_at, parse_listening, read_table


class Expected:
    """The sockets of our own network namespace at the known addresses of several servers, read at once. For one run.

    For one address, the kernel walks through all sockets, as for twenty.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = frozenset(addresses)
        # By family, then by port or name.
        self._found: dict[Family, dict[int | str, list[Socket]]] = {}

    def read_at(self, family: Family, addresses: Collection[Address]) -> list[Socket]:
        """Find the listening and accepted sockets at the ports or names of some addresses. Raises NetlinkError."""
        if not self._addresses.issuperset(addresses):
            return read_at(family, addresses)
        if family not in self._found:
            found: dict[int | str, list[Socket]] = {}
            for socket in read_at(family, {address for address in self._addresses if address.family is family}):
                found.setdefault(socket.address.port or socket.address.host, []).append(socket)
            self._found[family] = found
        places = {address.port or address.host for address in addresses}
        return [socket for place in places for socket in self._found[family].get(place, ())]


class Namespace:
    """The sockets of one network namespace, as seen by the masters in it.

    In our own namespace, sock_diag lists them quickly. In others, or if that fails, each table in procfs is read at
    most once, because that takes milliseconds.
    """

    def __init__(self, masters: Sequence[Identity], *, own: bool) -> None:
        self.masters = masters
        self.own = own
        self._tables: dict[Family, list[bytes]] = {}

    def sockets_at(self, addresses: Collection[Address], expected: Expected | None = None) -> list[Socket]:
        """Read the listening and accepted sockets at these addresses; the result may hold others.

        What is `expected` may have been read a moment ago, for another server.
        """
        sockets: list[Socket] = []
        for family in sorted({address.family for address in addresses}):
            sockets += self._read(family, {address for address in addresses if address.family is family}, expected)
        return sockets

    @cached_property
    def listening(self) -> dict[int, Address]:
        """The addresses of all listening sockets, by inode."""
        return {socket.inode: socket.address for family in Family for socket in self._read(family)}

    def _read(
        self, family: Family, addresses: Collection[Address] = (), expected: Expected | None = None
    ) -> list[Socket]:
        if self.own:
            try:
                if expected:
                    return expected.read_at(family, addresses)
                return read_at(family, addresses) if addresses else read_listening(family)
            except NetlinkError:
                self.own = False
        if family not in self._tables:
            self._tables[family] = self._read_table(family)
        rows = self._tables[family]
        return list(parse_at(rows, family, addresses) if addresses else parse_listening(rows, family))

    def _read_table(self, family: Family) -> list[bytes]:
        for master in self.masters:
            table = attempt(read_table, master.pid, family)
            if isinstance(table, list) and is_still(master):
                return table
        return []


def find_namespaces(masters: Iterable[Identity]) -> list[Namespace]:
    """Group masters by network namespace, without those that have vanished."""
    own = _read_number("/proc/self")
    groups: dict[int, list[Identity]] = {}
    for master in masters:
        number = _read_number(path_of(master.pid))
        if number is not None:
            groups.setdefault(number, []).append(master)
    return [Namespace(group, own=number == own) for number, group in groups.items()]


def _read_number(process: str) -> int | None:
    # Any user may stat this file, unlike ns/net. Its inode number is the same in all mounts of procfs.
    stat = attempt(os.stat, f"{process}/net/tcp")
    return stat.st_ino if isinstance(stat, os.stat_result) else None
