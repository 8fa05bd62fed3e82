"""The listening sockets of a server, from its processes' descriptors, which root and the same user may read."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datadog_checks.gunicorn.host.descriptors import read_inheritable, read_socket, read_sockets
from datadog_checks.gunicorn.host.network import read_somaxconn
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.host.procfs import read_caught, read_stat
from datadog_checks.gunicorn.host.values import Identity, Stat
from datadog_checks.gunicorn.servers.roles import Handlers, judge_handlers

from .addresses import Address, Listener

# Listening sockets: inode to address.
Listeners = Mapping[int, Address]

# The default of Gunicorn's option `backlog` (19.9 to 27.0).
_BACKLOG = 2048
# The default of Python's socket.listen().
_PYTHONS_BACKLOG = 128


class Found(NamedTuple):
    """A server's listeners.

    `descriptors` maps the master's descriptors of them to inodes; it is empty if only workers hold them. `settled` is
    false if there may be more, because a worker is not ready. `unclear` are addresses that may be an application's own.
    """

    listeners: Listeners = MappingProxyType({})
    descriptors: Mapping[int, int] = MappingProxyType({})
    settled: bool = False
    unclear: Collection[Address] = ()


def default_limit(somaxconn: int) -> int | None:
    """Compute the limit of the accept queues of a server without the option `backlog`.

    None if other programs have the same limit by default.
    """
    limit = min(_BACKLOG, somaxconn)
    return limit if limit > _PYTHONS_BACKLOG else None


def read_default_limit() -> int | None:
    """Read the `default_limit` of our own network namespace; None if it is unknown."""
    somaxconn = attempt(read_somaxconn)
    return None if isinstance(somaxconn, Absence) else default_limit(somaxconn)


def read_listeners(
    master: Identity,
    descriptors: Mapping[int, int],
    workers: Collection[Identity],
    listening: Mapping[int, Listener],
    configured: Collection[Address] = (),
) -> Found:
    """Find a server's listeners among the listening sockets of its network namespace.

    `descriptors` are the master's sockets, `configured` the addresses in its arguments and in the option `bind`. The
    master makes its listeners inheritable, for USR2, and each worker makes the same descriptors close on exec (19.9 to
    27.0). Any other socket is equally inheritable in both: one that the master has inherited is inheritable, the
    control socket of Gunicorn 25.1 and the listeners of hooks and of the application are not.
    """
    own = {descriptor: inode for descriptor, inode in descriptors.items() if inode in listening}
    ready = {worker: _is_ready(worker) for worker in workers}
    judged = {descriptor: _is_listener(master, descriptor, inode, ready) for descriptor, inode in own.items()}
    shared = {descriptor: inode for descriptor, inode in own.items() if judged[descriptor]}
    settled = None not in judged.values()
    if shared or not settled:
        return Found({inode: listening[inode].address for inode in shared.values()}, shared, settled)
    others = {inode: listener.address for inode, listener in listening.items() if inode not in own.values()}
    found = _read_common(list(_read_each(master, workers, others)), listening, configured)
    return found._replace(settled=found.settled and all(ready.values()))


def _is_ready(worker: Identity) -> bool:
    """Whether a worker has made its listeners close on exec; it installs its signal handlers after that."""
    caught = attempt(read_caught, worker.pid)
    return caught is None or (not isinstance(caught, Absence) and judge_handlers(caught) is not Handlers.MASTER)


def _is_listener(master: Identity, descriptor: int, inode: int, ready: Mapping[Identity, bool]) -> bool | None:
    """Whether a listening socket of the master is one of the server's listeners; None if it is too early to say."""
    inheritable = attempt(read_inheritable, master.pid, descriptor)
    if inheritable is False:
        return False
    leaked = False
    for worker, is_ready in ready.items():
        if attempt(read_socket, worker.pid, descriptor) == inode:
            in_worker = attempt(read_inheritable, worker.pid, descriptor)
            if inheritable is True and in_worker is False:
                return True
            leaked |= is_ready and in_worker is True
    return False if leaked else None


def are_held(master: Identity, found: Found, known: Collection[int], listening: Listeners) -> bool:
    """Whether the listeners found earlier are still all that the server has.

    After a HUP, workers that finish their requests still hold listeners that the master has closed. If only workers
    hold listeners, workers may come and go: each address must still have one of its sockets, and no unknown one.
    """
    if found.descriptors:
        return all(attempt(read_socket, master.pid, number) == inode for number, inode in found.descriptors.items())
    addresses = set(found.listeners.values())
    there = {address for inode, address in found.listeners.items() if listening.get(inode) == address}
    new = {address for inode, address in listening.items() if inode not in known}
    return there == addresses and addresses.isdisjoint(new)


def _read_each(master: Identity, workers: Iterable[Identity], listening: Listeners) -> Iterable[Listeners]:
    for worker in workers:
        stat = attempt(read_stat, worker.pid)
        if isinstance(stat, Stat) and stat.parent == master.pid:
            sockets = attempt(read_sockets, worker.pid)
            if isinstance(sockets, dict):
                yield {inode: listening[inode] for inode in sockets.values() if inode in listening}


def _read_common(
    of_workers: Collection[Listeners], listening: Mapping[int, Listener], configured: Collection[Address]
) -> Found:
    """Find the addresses that all workers listen on, each with a socket of its own.

    This is the case with --reuse-port since 24.1; in older releases, the master holds them, too.
    """
    nonempty = [listeners for listeners in of_workers if listeners]
    common = set[Address].intersection(*(set(listeners.values()) for listeners in nonempty)) if nonempty else set()
    chosen = common
    if len(common) > 1:
        sockets = [listening[inode] for listeners in nonempty for inode in listeners]
        chosen = choose(common, sockets, configured, several=len(nonempty) > 1, default=read_default_limit())
    return Found(
        {inode: address for listeners in nonempty for inode, address in listeners.items() if address in chosen},
        settled=len(nonempty) == len(of_workers),
        unclear=() if chosen else tuple(common),
    )


def choose(
    common: Collection[Address],
    sockets: Iterable[Listener],
    configured: Collection[Address],
    *,
    several: bool,
    default: int | None,
) -> set[Address]:
    """Choose the server's addresses among those that all workers listen on: some may be the application's own. Pure.

    `several` is true if more than one worker holds listeners: an application that opens its own in each worker rarely
    does so at one address. All accept queues of a server have the same limit, and those with the `default` limit are
    Gunicorn's.
    """
    known = set(configured).intersection(common)
    if known:
        return known
    limits = {address: set[int | None]() for address in common}
    for socket in sockets:
        if socket.address in limits:
            limits[socket.address].add(socket.limit)
    together = set[int | None].union(*limits.values())
    if len(together) == 1 and (several or max(limit or 0 for limit in together) > _PYTHONS_BACKLOG):
        return set(common)
    return {address for address, some in limits.items() if some == {default} and default is not None}
