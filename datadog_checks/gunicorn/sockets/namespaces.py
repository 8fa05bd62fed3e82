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


class Tables:
    """What a run has read of sockets, for all of its servers.

    `rows` holds the tables in procfs, by network namespace and family.
    """

    def __init__(self, expected: Iterable[Address] = ()) -> None:
        """Read the `expected` addresses in our own network namespace at once.

        The kernel walks through all sockets for one address, as for twenty.
        """
        self.rows: dict[tuple[int, Family], list[bytes]] = {}
        self._expected = frozenset(expected)
        # By family, then by port or name.
        self._found: dict[Family, dict[int | str, list[Socket]]] = {}

    def read_at(self, family: Family, addresses: Collection[Address]) -> list[Socket]:
        """Read the sockets at the ports or names of some addresses, in our own network namespace.

        Raises NetlinkError.
        """
        if not self._expected.issuperset(addresses):
            return read_at(family, addresses)
        if family not in self._found:
            found: dict[int | str, list[Socket]] = {}
            for socket in read_at(family, {address for address in self._expected if address.family is family}):
                found.setdefault(socket.address.port or socket.address.host, []).append(socket)
            self._found[family] = found
        places = {address.port or address.host for address in addresses}
        return [socket for place in places for socket in self._found[family].get(place, ())]


class Namespace:
    """The sockets of one network namespace, as seen by the masters in it.

    In our own namespace, sock_diag lists them quickly. In others, or if that fails, each table in procfs is read at
    most once, because that takes milliseconds.
    """

    def __init__(self, number: int, masters: Sequence[Identity], tables: Tables, *, own: bool) -> None:
        self.masters = masters
        self.number = number
        self.own = own
        self._tables = tables

    def sockets_at(self, addresses: Collection[Address]) -> list[Socket]:
        """Read the listening and accepted sockets at these addresses; the result may hold others."""
        sockets: list[Socket] = []
        for family in sorted({address.family for address in addresses}):
            sockets += self._read(family, {address for address in addresses if address.family is family})
        return sockets

    @cached_property
    def listening(self) -> dict[int, Address]:
        """The addresses of all listening sockets, by inode."""
        return {socket.inode: socket.address for family in Family for socket in self._read(family)}

    def _read(self, family: Family, addresses: Collection[Address] = ()) -> list[Socket]:
        if self.own:
            try:
                return self._tables.read_at(family, addresses) if addresses else read_listening(family)
            except NetlinkError:
                self.own = False
        rows = self._tables.rows.get((self.number, family))
        if rows is None:
            rows = self._read_table(family)
            if rows is None:
                return []
            self._tables.rows[self.number, family] = rows
        return list(parse_at(rows, family, addresses) if addresses else parse_listening(rows, family))

    def _read_table(self, family: Family) -> list[bytes] | None:
        for master in self.masters:
            table = attempt(read_table, master.pid, family)
            if isinstance(table, list) and is_still(master):
                return table
        return None


def find_namespaces(masters: Iterable[Identity], tables: Tables) -> list[Namespace]:
    """Group masters by network namespace, without those that have vanished. `tables` holds what the run has read."""
    own = _read_number("/proc/self")
    groups: dict[int, list[Identity]] = {}
    for master in masters:
        number = _read_number(path_of(master.pid))
        if number is not None:
            groups.setdefault(number, []).append(master)
    return [Namespace(number, group, tables, own=number == own) for number, group in groups.items()]


def _read_number(process: str) -> int | None:
    # Any user may stat this file, unlike ns/net. Its inode number is the same in all mounts of procfs.
    stat = attempt(os.stat, f"{process}/net/tcp")
    return stat.st_ino if isinstance(stat, os.stat_result) else None
