"""The network namespaces of servers, and the sockets in each. For one run."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

from datadog_checks.gunicorn.host.cgroup_v2 import ControlGroup
from datadog_checks.gunicorn.host.network import read_namespace, read_own_namespace, read_table
from datadog_checks.gunicorn.host.processes import attempt, is_alive
from datadog_checks.gunicorn.host.values import Identity

from .addresses import Address, Family, Listener
from .netlink import NetlinkError
from .obstacles import Member
from .sock_diag import read_at, read_listening
from .tables import FILES, Socket, parse_at, parse_listening

T = TypeVar("T")


@dataclass(frozen=True)
class Tables:
    """What one run has read, for all servers.

    `rows` are those of the socket tables in procfs, `listening` the listening sockets, both by the number of a network
    namespace. `mounts` has the mount point of cgroup v2 once it was read, None if there is none; `groups` are control
    groups by path, `members` their processes by pid. `found` are the sockets at the `expected` addresses in our own
    network namespace, by family, then by port or name. These are read at once, because the kernel walks through all
    sockets for twenty addresses as it does for one.
    """

    expected: AbstractSet[Address] = frozenset()
    rows: dict[tuple[int, Family], list[bytes]] = field(default_factory=dict)
    listening: dict[int, Mapping[int, Listener]] = field(default_factory=dict)
    mounts: list[str | None] = field(default_factory=list)
    groups: dict[str, ControlGroup] = field(default_factory=dict)
    members: dict[int, Member | None] = field(default_factory=dict)
    found: dict[Family, dict[int | str, list[Socket]]] = field(default_factory=dict)

    def read_at(self, family: Family, addresses: AbstractSet[Address]) -> list[Socket]:
        """Read the sockets at the ports or names of some addresses, in our own network namespace.

        Raises NetlinkError.
        """
        if not addresses <= self.expected:
            return read_at(family, addresses)
        if family not in self.found:
            found: dict[int | str, list[Socket]] = {}
            for socket in read_at(family, {address for address in self.expected if address.family is family}):
                found.setdefault(socket.address.port or socket.address.host, []).append(socket)
            self.found[family] = found
        places = {address.port or address.host for address in addresses}
        return [socket for place in places for socket in self.found[family].get(place, ())]


class Namespace:
    """The sockets of one network namespace, as seen by the masters in it.

    In our own namespace, sock_diag lists them quickly. In others, or if that fails, each table in procfs is read at
    most once, because that takes milliseconds.
    """

    def __init__(self, number: int, masters: Sequence[Identity], tables: Tables, *, own: bool) -> None:
        self.masters = masters
        self.number = number
        self.own = own
        self.tables = tables
        self._uses_sock_diag = own

    def read_at(self, addresses: Collection[Address]) -> list[Socket]:
        """Read the listening and accepted sockets at these addresses; the result may hold others."""
        sockets: list[Socket] = []
        for family in sorted({address.family for address in addresses}):
            some = {address for address in addresses if address.family is family}
            query, parse = partial(self.tables.read_at, family, some), partial(_list_at, family, some)
            sockets += self._read(family, query, parse) or ()
        return sockets

    @cached_property
    def listening(self) -> Mapping[int, Listener]:
        """All listening sockets, by inode; empty if those of one family could not be read."""
        listeners: dict[int, Listener] = {}
        for family in Family:
            some = self._read(family, partial(read_listening, family), partial(_list_listening, family))
            if some is None:
                return {}
            listeners |= {listener.inode: listener for listener in some}
        return listeners

    @property
    def listening_in_run(self) -> Mapping[int, Listener]:
        """All listening sockets, as first read in this run, for whichever server."""
        if self.number not in self.tables.listening:
            self.tables.listening[self.number] = self.listening
        return self.tables.listening[self.number]

    def _read(
        self, family: Family, query: Callable[[], list[T]], parse: Callable[[list[bytes]], list[T]]
    ) -> list[T] | None:
        if self._uses_sock_diag:
            try:
                return query()
            except NetlinkError:
                self._uses_sock_diag = False
        rows = self.tables.rows.get((self.number, family))
        if rows is None:
            rows = self._read_table(family)
            if rows is None:
                return None
            self.tables.rows[self.number, family] = rows
        return parse(rows)

    def _read_table(self, family: Family) -> list[bytes] | None:
        for master in self.masters:
            table = attempt(read_table, master.pid, FILES[family])
            if isinstance(table, list) and is_alive(master):
                return table
        return None


def _list_at(family: Family, addresses: Collection[Address], rows: list[bytes]) -> list[Socket]:
    return list(parse_at(rows, family, addresses))


def _list_listening(family: Family, rows: list[bytes]) -> list[Listener]:
    return list(parse_listening(rows, family))


def read_namespaces(masters: Iterable[Identity], tables: Tables) -> list[Namespace]:
    """Group masters by network namespace, without those that have vanished. `tables` holds what the run has read."""
    own = attempt(read_own_namespace)
    groups: dict[int, list[Identity]] = {}
    for master in masters:
        number = attempt(read_namespace, master.pid)
        if isinstance(number, int):
            groups.setdefault(number, []).append(master)
    return [Namespace(number, group, tables, own=number == own) for number, group in groups.items()]
