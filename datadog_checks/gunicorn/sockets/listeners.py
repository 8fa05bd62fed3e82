"""Which sockets a server listens on, told by the descriptors of its processes; root and the same user may read them."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datadog_checks.gunicorn.host.identity import Identity
from datadog_checks.gunicorn.host.processes import attempt
from datadog_checks.gunicorn.host.procfs import Stat, path_of, read_stat

from .addresses import Address

# Address by inode, of sockets that listen.
Listeners = Mapping[int, Address]


class Found(NamedTuple):
    """A server's listeners.

    `descriptors` are the master's that they are, with their inodes; there are none where workers alone hold them.
    `settled` is false where a worker has yet to make its own.
    """

    listeners: Listeners = MappingProxyType({})
    descriptors: Mapping[int, int] = MappingProxyType({})
    settled: bool = False


def read_sockets(pid: int) -> dict[int, int]:
    """Read the inodes of a process's sockets, by descriptor. Raises OSError."""
    sockets = {}
    for name in os.listdir(path_of(pid, "fd")):
        with contextlib.suppress(FileNotFoundError):
            inode = read_inode(pid, int(name))
            if inode is not None:
                sockets[int(name)] = inode
    return sockets


def read_inode(pid: int, descriptor: int) -> int | None:
    """Read the inode of the socket that a descriptor is; None where it is something else. Raises OSError."""
    link = os.readlink(path_of(pid, "fd", str(descriptor)))
    return int(link[len("socket:[") : -1]) if link.startswith("socket:[") else None


def parse_inheritable(text: str) -> bool:
    r"""Tell from /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)) whether what a process executes inherits a descriptor.

    >>> parse_inheritable("pos:\t0\nflags:\t02000002\n")
    False
    """
    flags = re.search(r"^flags:\s*([0-7]+)", text, re.MULTILINE)
    return flags is not None and not int(flags[1], 8) & os.O_CLOEXEC


def read_inheritable(pid: int, descriptor: int) -> bool:
    """Read whether what a process executes inherits a descriptor. Raises OSError."""
    with open(path_of(pid, "fdinfo", str(descriptor))) as file:
        return parse_inheritable(file.read())


def find_listeners(
    master: Identity, descriptors: Mapping[int, int], workers: Collection[Identity], listening: Listeners
) -> Found:
    """Find a server's listeners among the sockets of its network namespace that listen.

    `descriptors` are the master's sockets. Its listeners can be inherited, for USR2 (seen in 19.9 to 27.0). Sockets of
    other origin cannot, though workers may hold them: the control socket of Gunicorn 25.1, what a hook or an
    application listens on. A worker has a listener at the same descriptor as the master that forked it.
    """
    own = {descriptor: inode for descriptor, inode in descriptors.items() if inode in listening}
    shared = {
        descriptor: inode
        for descriptor, inode in own.items()
        if attempt(read_inheritable, master.pid, descriptor) is True
        and any(attempt(read_inode, worker.pid, descriptor) == inode for worker in workers)
    }
    if shared:
        return Found({inode: listening[inode] for inode in shared.values()}, shared, settled=True)
    others = {inode: address for inode, address in listening.items() if inode not in own.values()}
    return _find_common(list(_read_each(master, workers, others)))


def are_held(master: Identity, found: Found, known: Collection[int], listening: Listeners) -> bool:
    """Whether listeners that were found are the server's still, and all that it has.

    Workers that finish their requests after a HUP still hold the ones that their master has closed. Where workers alone
    hold them, workers come and go: each address is to have one of its sockets still, and none that is not `known`.
    """
    if found.descriptors:
        return all(attempt(read_inode, master.pid, number) == inode for number, inode in found.descriptors.items())
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


def _find_common(of_workers: Collection[Listeners]) -> Found:
    """Find the addresses that all workers listen on, each by a socket of its own.

    So it is under --reuse-port, since 24.1; the sockets of older releases are their master's there, too.
    """
    telling = [listeners for listeners in of_workers if listeners]
    common = set[Address].intersection(*(set(listeners.values()) for listeners in telling)) if telling else set()
    return Found(
        {inode: address for listeners in telling for inode, address in listeners.items() if address in common},
        settled=len(telling) == len(of_workers),
    )
