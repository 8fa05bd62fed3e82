"""The connections to each address, counted from the sockets at it. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable

from .addresses import Address, Counts, wildcard_of
from .tables import Socket


def count_connections(sockets: Iterable[Socket], listeners: Collection[Address]) -> dict[Address, Counts]:
    """Count the connections to each address in `listeners` that has a listening socket.

    `sockets` holds the listening and accepted sockets at the listeners' ports in one network namespace. A connection
    belongs to the listener on its exact address, otherwise to the one on the wildcard address.
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
