"""The number of accepted and of queued connections of each listener of an application."""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import psutil

from datadog_checks.gunicorn.host.processes import Absence, attempt, is_alive
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.command_line import parse_arguments

from .addresses import Address, Counts, parse_bind, wildcard_of
from .by_group import find_by_group
from .control_group import Obstacle, Reason, name_shared, name_unclear
from .listeners import Found, Listeners, are_held, find_listeners, read_sockets
from .namespaces import Namespace, Tables, find_namespaces
from .ownership import find_shared, leave_out_others, read_held
from .tables import Socket


def count_connections(sockets: Iterable[Socket], listeners: Collection[Address]) -> dict[Address, Counts]:
    """Count the connections to each address in `listeners` that has a listening socket.

    `sockets` holds the listening and accepted sockets at the listeners' ports in one network namespace. A connection
    belongs to the listener on its exact address, otherwise to the one on the wildcard address. Pure.
    """
    listening = set()
    seen: set[int] = set()
    accepted: Counter[Address] = Counter()
    queued: Counter[Address] = Counter()
    for socket in sockets:
        if socket.inode in seen:
            # procfs may show a socket twice if sockets are added while the table is read.
            continue
        if socket.inode:
            seen.add(socket.inode)
        if socket.listening:
            listening.add(socket.address)
        elif socket.inode:
            accepted[socket.address] += 1
        queued[socket.address] += socket.queued or 0
    counts = {address: Counts(0, queued[address]) for address in listeners if address in listening}
    for address, number in accepted.items():
        owner = address if address in listening else wildcard_of(address)
        if owner in counts:
            counts[owner] = counts[owner]._replace(accepted=counts[owner].accepted + number)
    return counts


class Told(NamedTuple):
    """The addresses in a server's arguments. `complete` if it listens on no others, `inherited` if on descriptors."""

    addresses: tuple[Address, ...]
    complete: bool
    inherited: bool = False


def parse_binds(arguments: tuple[str, ...]) -> Told:
    """Parse the addresses in a server's arguments, skipping those that `parse_bind` rejects. Pure.

    With a descriptor among them, Gunicorn ignores the addresses (`gunicorn.sock.create_sockets`, 20.1 to 27.0).

    >>> told = parse_binds(("-b", ":8000", "--bind=:0", "app:app"))
    >>> [str(address) for address in told.addresses], told.complete
    (['0.0.0.0:8000'], False)
    """
    given = parse_arguments(arguments)
    binds = given.binds if given else ()
    if any(text.strip().startswith("fd://") for text in binds):
        return Told((), complete=False, inherited=True)
    addresses = []
    for text in binds:
        with contextlib.suppress(ValueError):
            addresses.append(parse_bind(text))
    return Told(tuple(addresses), complete=bool(addresses) and len(addresses) == len(binds))


class Way(StrEnum):
    """How an address was found to be a server's. The first one that applies is used."""

    SOCKETS = "by the sockets of its processes"
    ARGUMENTS = "by its arguments"
    BIND = "by the option `bind`"
    CONTROL_GROUP = "by control group"


class _Known(NamedTuple):
    """What is known of the listeners of one server: its own sockets, or only addresses."""

    listeners: Listeners = MappingProxyType({})
    told: Mapping[Address, Way] = MappingProxyType({})
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
        self.told: set[tuple[int, Address]] = set()
        # How the last look found each address that it counted, and why it found none for some server.
        self.found_by: dict[Address, Way] = {}
        self.obstacles: tuple[Obstacle, ...] = ()
        # Whether the sockets of a master might not be read.
        self.is_hidden = False
        # The addresses in our own network namespace, which the next look will probably read again.
        self.known: AbstractSet[Address] = frozenset()
        self._found: dict[Identity, Found] = {}

    def look(
        self, masters: Mapping[Identity, Candidate], workers: Collection[Identity], tables: Tables | None = None
    ) -> dict[Address, Counts]:
        """Count by listener address, over all network namespaces; empty if no listener is known.

        `tables` holds what the run has read for other servers.

        Skips an address that other servers listen on, too, if their connections cannot be told apart.
        """
        self.told, self.found_by, self.obstacles = set(), {}, ()
        self.known, self.is_hidden = frozenset(), False
        self._found = {master: found for master, found in self._found.items() if master in masters}
        total: dict[Address, Counts] = {}
        unclear: set[Address] = set()
        for namespace in find_namespaces(masters, tables or Tables()) if psutil.LINUX else ():
            counted, shared = self._count(namespace, masters, workers)
            unclear |= shared - counted.keys()
            for address, counts in counted.items():
                total[address] = total.get(address, Counts()).plus(counts)
        if unclear:
            self.obstacles += (name_shared(unclear),)
        clear = {address: counts for address, counts in total.items() if address not in unclear}
        self.found_by = {address: way for address, way in self.found_by.items() if address in clear}
        return clear

    def _count(
        self, namespace: Namespace, masters: Mapping[Identity, Candidate], workers: Collection[Identity]
    ) -> tuple[dict[Address, Counts], set[Address]]:
        """Count in one network namespace; also return the addresses that others listen on there."""
        own, told = self._recall(namespace), set[Address]()
        sockets = namespace.sockets_at(set(own.values()))
        listening = {socket.inode: socket.address for socket in sockets if socket.listening}
        for master, found in list(self._found.items()):
            if master in namespace.masters and not are_held(master, found, own, listening):
                del self._found[master]
        unknown = [master for master in namespace.masters if master not in self._found]
        if unknown:
            own, told = self._find_all(namespace, unknown, masters, workers)
            sockets = namespace.sockets_at(told.union(own.values()))
        else:
            self.found_by |= dict.fromkeys(own.values(), Way.SOCKETS)
        if namespace.own:
            self.known = told.union(own.values())
        self.told |= {(namespace.number, address) for address in told}
        shared = find_shared(sockets, own, told)
        if shared:
            held = read_held(workers)
            sockets = leave_out_others(sockets, shared, () if held is None else held.union(own))
        return count_connections(sockets, told.union(own.values())), shared

    def _recall(self, namespace: Namespace) -> dict[int, Address]:
        known: dict[int, Address] = {}
        for master in namespace.masters:
            known |= self._found.get(master, Found()).listeners
        return known

    def _find_all(
        self,
        namespace: Namespace,
        unknown: Iterable[Identity],
        masters: Mapping[Identity, Candidate],
        workers: Collection[Identity],
    ) -> tuple[dict[int, Address], set[Address]]:
        """Find the listeners of all masters in a network namespace; also return addresses that are only configured."""
        found = {master: self._find(namespace, masters[master], workers) for master in unknown}
        own, told = self._recall(namespace), dict[Address, Way]()
        for one in found.values():
            own |= one.listeners
            told |= one.told
            self.is_hidden |= one.hidden
            if one.inherited:
                self.obstacles += (Obstacle(Reason.DESCRIPTOR),)
            if one.unclear:
                self.obstacles += (name_unclear(one.unclear),)
        hidden = [master for master, one in found.items() if one.hidden and not one.inherited]
        grouped = find_by_group(namespace, hidden, masters, workers)
        self.obstacles += grouped.obstacles
        self.found_by |= dict.fromkeys(grouped.listeners.values(), Way.CONTROL_GROUP)
        self.found_by |= told | dict.fromkeys(own.values(), Way.SOCKETS)
        return {**grouped.listeners, **own}, set(told)

    def _find(self, namespace: Namespace, master: Candidate, workers: Collection[Identity]) -> _Known:
        """Find the listeners of one server, and remember them; otherwise return its configured addresses.

        Returns neither if it has vanished. Without workers, a server's own sockets at its configured addresses count.
        """
        given = parse_binds(master.arguments or ())
        told = dict.fromkeys(given.addresses, Way.ARGUMENTS)
        if not given.complete:
            told = dict.fromkeys(self.bind, Way.BIND) | told
        descriptors = attempt(read_sockets, master.identity.pid)
        if isinstance(descriptors, Absence):
            if not is_alive(master.identity):
                return _Known()
            is_hidden = descriptors is Absence.UNREADABLE and not told
            # Another program made the socket of a descriptor, perhaps in another control group.
            return _Known(told=told, hidden=is_hidden, inherited=is_hidden and given.inherited)
        listening = namespace.listening
        found = find_listeners(master.identity, descriptors, workers, listening, told)
        if not is_alive(master.identity):
            return _Known()
        if found.listeners and found.settled:
            self._found[master.identity] = found
        own = {inode: listening[inode].address for inode in descriptors.values() if inode in listening}
        at_told = {inode: address for inode, address in own.items() if address in told}
        return _Known(found.listeners or at_told, unclear=found.unclear)
