"""Whose sockets are whose where several servers listen at one address, in one network namespace.

Two can have a TCP port in common by --reuse-port, and the name of a UNIX socket where it is relative to another folder,
or a path in another mount namespace.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from datadog_checks.gunicorn.host.identity import Identity
from datadog_checks.gunicorn.host.processes import Absence, attempt, is_still

from .addresses import Address, Family, wildcard_of
from .listeners import Listeners, read_sockets
from .tables import Socket


def find_shared(sockets: Iterable[Socket], own: Listeners, told: Collection[Address]) -> set[Address]:
    """Find the addresses that others listen at as well. Pure.

    `own` are the application's listeners as far as descriptors tell. At the addresses that were only `told`, nobody
    knows whose a listener is: several of one UNIX name are of several servers, as far as anyone can tell, several of
    one TCP address are the workers of one under --reuse-port.
    """
    listening = [socket for socket in sockets if socket.listening]
    foreign = {socket.address for socket in listening if socket.inode not in own}
    several = {address for address, number in Counter(socket.address for socket in listening).items() if number > 1}
    return ((foreign & set(own.values())) - set(told)) | {
        address for address in several.intersection(told) if address.family is Family.UNIX
    }


def leave_out_others(sockets: Iterable[Socket], shared: Collection[Address], ours: Collection[int]) -> list[Socket]:
    """Leave out, of what is at shared addresses, what is not among our inodes. Pure.

    Where it is not known which connections wait for which listener, that leaves no listener.
    """
    return [
        socket
        for socket in sockets
        if (socket.inode in ours and socket.queued is not None)
        or (socket.address not in shared and wildcard_of(socket.address) not in shared)
    ]


def read_held(processes: Iterable[Identity]) -> set[int] | None:
    """Read the inodes of all sockets that processes hold; None where one of them does not tell."""
    held: set[int] = set()
    for process in processes:
        sockets = attempt(read_sockets, process.pid)
        if isinstance(sockets, dict) and is_still(process):
            held.update(sockets.values())
        elif sockets is Absence.UNREADABLE:
            return None
    return held
