"""How many accepted connections each worker holds, from its descriptors."""

from collections.abc import Collection, Iterable, Mapping

from datadog_checks.gunicorn.host.descriptors import read_sockets
from datadog_checks.gunicorn.host.processes import attempt, is_alive
from datadog_checks.gunicorn.host.values import Identity

from .addresses import Address, wildcard_of
from .namespaces import Tables, read_namespaces


def read_accepted(
    masters: Iterable[Identity], workers: Iterable[Identity], listeners: Collection[Address]
) -> Mapping[Identity, int]:
    """Count the accepted connections to these listeners by worker, without workers whose descriptors are unreadable."""
    accepted = {
        socket.inode
        for namespace in read_namespaces(masters, Tables())
        for socket in namespace.read_at(listeners)
        if not socket.listening and (socket.address in listeners or wildcard_of(socket.address) in listeners)
    }
    held = {}
    for worker in workers:
        sockets = attempt(read_sockets, worker.pid)
        if isinstance(sockets, dict) and is_alive(worker):
            held[worker] = len(accepted.intersection(sockets.values()))
    return held
