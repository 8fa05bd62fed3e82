"""The number of accepted and of queued connections of each listener of an application."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from datadog_checks.gunicorn.host.descriptors import read_sockets
from datadog_checks.gunicorn.host.processes import Absence, attempt, is_alive
from datadog_checks.gunicorn.host.values import LINUX, Identity
from datadog_checks.gunicorn.servers.applications import Candidate

from .addresses import Address, Counts
from .binds import parse_binds
from .by_group import read_by_group
from .counting import count_connections
from .listeners import Found, Listeners, are_held, read_listeners
from .namespaces import Namespace, Tables, read_namespaces
from .obstacles import Obstacle, Reason, name_shared, name_unclear
from .sharing import find_shared, leave_out_others, read_held


class Way(StrEnum):
    """How an address was found to be a server's. The first one that applies is used."""

    SOCKETS = "by the sockets of its processes"
    ARGUMENTS = "by its arguments"
    BIND = "by the option `bind`"
    CONTROL_GROUP = "by control group"


class _Known(NamedTuple):
    """What is known of the listeners of one server: the sockets themselves, or only configured addresses."""

    listeners: Listeners = MappingProxyType({})
    configured: Mapping[Address, Way] = MappingProxyType({})
    unclear: Collection[Address] = ()
    # Its sockets may not be read.
    hidden: bool = False
    # It listens on descriptors that it was given.
    inherited: bool = False


class Connections:
    """The connections of one application, as one check instance knows it.

    Every result is verified at the time of the look; remembering listeners only saves finding them again. `bind` lists
    the addresses of servers whose listeners appear neither in their sockets nor in their arguments.
    """

    def __init__(self, bind: tuple[Address, ...]) -> None:
        self.bind = bind
        # The addresses of the last look that are only configured, each with the number of its network namespace.
        self.configured: set[tuple[int, Address]] = set()
        # How the last look found each address that it counted, and why it found none for some server.
        self.found_by: dict[Address, Way] = {}
        self.obstacles: tuple[Obstacle, ...] = ()
        # Whether the sockets of a master might not be read.
        self.is_hidden = False
        # The addresses in our own network namespace: the next look will probably read the same ones.
        self.expected: AbstractSet[Address] = frozenset()
        self._found: dict[Identity, Found] = {}

    def look(
        self, masters: Mapping[Identity, Candidate], workers: Collection[Identity], tables: Tables | None = None
    ) -> dict[Address, Counts]:
        """Count the connections by listener address, over all network namespaces; empty if no listener is known.

        `tables` holds what the run has read for other servers. Skips an address that other servers listen on, too, if
        their connections cannot be told apart.
        """
        self.configured, self.found_by, self.obstacles = set(), {}, ()
        self.expected, self.is_hidden = frozenset(), False
        self._found = {master: found for master, found in self._found.items() if master in masters}
        total: dict[Address, Counts] = {}
        unclear: set[Address] = set()
        for namespace in read_namespaces(masters, tables or Tables()) if LINUX else ():
            counted, shared = self._read_counts(namespace, masters, workers)
            unclear |= shared - counted.keys()
            for address, counts in counted.items():
                total[address] = total.get(address, Counts()).plus(counts)
        if unclear:
            self.obstacles += (name_shared(unclear),)
        clear = {address: counts for address, counts in total.items() if address not in unclear}
        self.found_by = {address: way for address, way in self.found_by.items() if address in clear}
        return clear

    def _read_counts(
        self, namespace: Namespace, masters: Mapping[Identity, Candidate], workers: Collection[Identity]
    ) -> tuple[dict[Address, Counts], set[Address]]:
        """Read the counts of one network namespace; also return the addresses that others listen on there."""
        own, configured = self._recall(namespace), set[Address]()
        sockets = namespace.read_at(set(own.values()))
        listening = {socket.inode: socket.address for socket in sockets if socket.listening}
        for master, found in list(self._found.items()):
            if master in namespace.masters and not are_held(master, found, own, listening):
                del self._found[master]
        unknown = [master for master in namespace.masters if master not in self._found]
        if unknown:
            own, configured = self._read_all(namespace, unknown, masters, workers)
            sockets = namespace.read_at(configured.union(own.values()))
        else:
            self.found_by |= dict.fromkeys(own.values(), Way.SOCKETS)
        if namespace.own:
            self.expected = configured.union(own.values())
        self.configured |= {(namespace.number, address) for address in configured}
        shared = find_shared(sockets, own, configured)
        if shared:
            held = read_held(workers)
            sockets = leave_out_others(sockets, shared, () if held is None else held.union(own))
        return count_connections(sockets, configured.union(own.values())), shared

    def _recall(self, namespace: Namespace) -> dict[int, Address]:
        known: dict[int, Address] = {}
        for master in namespace.masters:
            known |= self._found.get(master, Found()).listeners
        return known

    def _read_all(
        self,
        namespace: Namespace,
        unknown: Iterable[Identity],
        masters: Mapping[Identity, Candidate],
        workers: Collection[Identity],
    ) -> tuple[dict[int, Address], set[Address]]:
        """Read the listeners of all masters in a network namespace; also return addresses that are only configured."""
        found = {master: self._read_known(namespace, masters[master], workers) for master in unknown}
        own, configured = self._recall(namespace), dict[Address, Way]()
        for known in found.values():
            own |= known.listeners
            configured |= known.configured
            self.is_hidden |= known.hidden
            if known.inherited:
                self.obstacles += (Obstacle(Reason.DESCRIPTOR),)
            if known.unclear:
                self.obstacles += (name_unclear(known.unclear),)
        hidden = [master for master, known in found.items() if known.hidden and not known.inherited]
        grouped = read_by_group(namespace, hidden, masters, workers)
        self.obstacles += grouped.obstacles
        self.found_by |= dict.fromkeys(grouped.listeners.values(), Way.CONTROL_GROUP)
        self.found_by |= configured | dict.fromkeys(own.values(), Way.SOCKETS)
        return {**grouped.listeners, **own}, set(configured)

    def _read_known(self, namespace: Namespace, master: Candidate, workers: Collection[Identity]) -> _Known:
        """Read the listeners of one server, and remember them; otherwise return its configured addresses.

        Returns neither if it has vanished. Without workers, a server's own sockets at its configured addresses count.
        """
        binds = parse_binds(master.arguments or ())
        configured = dict.fromkeys(binds.addresses, Way.ARGUMENTS)
        if not binds.complete:
            configured = dict.fromkeys(self.bind, Way.BIND) | configured
        descriptors = attempt(read_sockets, master.identity.pid)
        if isinstance(descriptors, Absence):
            if not is_alive(master.identity):
                return _Known()
            is_hidden = descriptors is Absence.UNREADABLE and not configured
            # Another program created the socket of a descriptor, perhaps in another control group.
            return _Known(configured=configured, hidden=is_hidden, inherited=is_hidden and binds.inherited)
        listening = namespace.listening
        found = read_listeners(master.identity, descriptors, workers, listening, configured)
        if not is_alive(master.identity):
            return _Known()
        if found.listeners and found.settled:
            self._found[master.identity] = found
        own = {inode: listening[inode].address for inode in descriptors.values() if inode in listening}
        at_configured = {inode: address for inode, address in own.items() if address in configured}
        return _Known(found.listeners or at_configured, unclear=found.unclear)
