"""The listening sockets of a server, from its processes' descriptors, which root and the same user may read."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datadog_checks.gunicorn.host.processes import attempt
from datadog_checks.gunicorn.host.procfs import path_of, read_stat
from datadog_checks.gunicorn.host.values import Identity, Stat

from .addresses import Address

# Listening sockets: inode to address.
Listeners = Mapping[int, Address]


class Found(NamedTuple):
    """A server's listeners.

    `descriptors` maps the master's descriptors of them to inodes; it is empty if only workers hold them. `settled` is
    false if a worker has yet to create its own.
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
    """Read the inode of a descriptor's socket; None if it is not a socket. Raises OSError."""
    link = os.readlink(path_of(pid, "fd", str(descriptor)))
    return int(link[len("socket:[") : -1]) if link.startswith("socket:[") else None


def parse_inheritable(text: str) -> bool:
    r"""Parse from /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)) whether a descriptor survives an exec.

    >>> parse_inheritable("pos:\t0\nflags:\t02000002\n")
    False
    """
    flags = re.search(r"^flags:\s*([0-7]+)", text, re.MULTILINE)
    return flags is not None and not int(flags[1], 8) & os.O_CLOEXEC


def read_inheritable(pid: int, descriptor: int) -> bool:
    """Read whether a descriptor survives an exec. Raises OSError."""
    with open(path_of(pid, "fdinfo", str(descriptor))) as file:
        return parse_inheritable(file.read())


def find_listeners(
    master: Identity, descriptors: Mapping[int, int], workers: Collection[Identity], listening: Listeners
) -> Found:
    """Find a server's listeners among the listening sockets of its network namespace.

    `descriptors` are the master's sockets. Gunicorn makes its listeners inheritable, for USR2 (seen in 19.9 to 27.0).
    Other sockets are not, although workers may hold them: the control socket of Gunicorn 25.1, listeners of a hook or
    of the application. A worker holds a listener at the same descriptor as its master.
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
    """Whether the listeners found earlier are still all that the server has.

    After a HUP, workers that finish their requests still hold listeners that the master has closed. If only workers
    hold listeners, workers may come and go: each address must still have one of its sockets, and no unknown one.
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
    """Find the addresses that all workers listen on, each with a socket of its own.

    This is the case with --reuse-port since 24.1; in older releases, the master holds them, too.
    """
    telling = [listeners for listeners in of_workers if listeners]
    common = set[Address].intersection(*(set(listeners.values()) for listeners in telling)) if telling else set()
    return Found(
        {inode: address for listeners in telling for inode, address in listeners.items() if address in common},
        settled=len(telling) == len(of_workers),
    )
