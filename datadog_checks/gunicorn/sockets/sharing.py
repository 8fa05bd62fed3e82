"""Which sockets belong to which server, if several listen on one address in one network namespace.

Two servers can share a TCP port with --reuse-port. They can share the name of a UNIX socket if it is relative to
different directories, or a path in different mount namespaces.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from datadog_checks.gunicorn.host.descriptors import read_sockets
from datadog_checks.gunicorn.host.processes import Absence, attempt, is_alive
from datadog_checks.gunicorn.host.values import Identity

from .addresses import Address, Family, wildcard_of
from .listeners import Listeners
from .tables import Socket


def find_shared(sockets: Iterable[Socket], own: Listeners, configured: Collection[Address]) -> set[Address]:
    """Find the addresses that others listen on, too. Pure.

    `own` are the application's listeners, known from its descriptors. The owner of a listener at a `configured` address
    is unknown: several with one UNIX name are taken for different servers, several on one TCP address for the workers
    of one server with --reuse-port.
    """
    listening = [socket for socket in sockets if socket.listening]
    foreign = {socket.address for socket in listening if socket.inode not in own}
    several = {address for address, number in Counter(socket.address for socket in listening).items() if number > 1}
    return ((foreign & set(own.values())) - set(configured)) | {
        address for address in several.intersection(configured) if address.family is Family.UNIX
    }


def leave_out_others(sockets: Iterable[Socket], shared: Collection[Address], ours: Collection[int]) -> list[Socket]:
    """Drop the sockets at shared addresses that are not ours by inode. Pure.

    Also drops listeners whose queued connections are unknown.
    """
    return [
        socket
        for socket in sockets
        if (socket.inode in ours and socket.queued is not None)
        or (socket.address not in shared and wildcard_of(socket.address) not in shared)
    ]


def read_held(processes: Iterable[Identity]) -> set[int] | None:
    """Read the inodes of all sockets that processes hold; None if one of them cannot be read."""
    held: set[int] = set()
    for process in processes:
        sockets = attempt(read_sockets, process.pid)
        if isinstance(sockets, dict) and is_alive(process):
            held.update(sockets.values())
        elif sockets is Absence.UNREADABLE:
            return None
    return held
