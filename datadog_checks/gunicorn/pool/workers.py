"""What each worker of a server is doing, for `status --workers`."""

from collections.abc import Iterator
from typing import NamedTuple

from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.by_worker import read_accepted

from .states import is_working
from .watched import Watched


class Worker(NamedTuple):
    """One worker in the last run; None for unknown values.

    `age` and `heartbeat`, the time since its last one, are in seconds, `cpu` is in percent of one core between the two
    looks, `rss` in bytes. `accepted` counts its open connections.
    """

    pid: int
    age: float
    working: bool
    cpu: float | None
    rss: int
    threads: int
    accepted: int | None
    heartbeat: float | None


def list_workers(server: Watched) -> Iterator[Worker]:
    """List the workers of a server, as the last run saw them, the oldest first."""
    sample = server.last
    if sample is None:
        return
    listeners = server.connections.found_by.keys() if server.connections else ()
    held = read_accepted(server.masters, sample.workers, listeners) if listeners else {}
    for worker, usage in sorted(sample.usage[Role.WORKER].items(), key=lambda item: item[0].create_time):
        used = sample.workers[worker]
        yield Worker(
            pid=worker.pid,
            age=max(0.0, sample.at - worker.create_time),
            working=is_working(used),
            cpu=100 * used / sample.seconds if sample.seconds else None,
            rss=usage.rss,
            threads=usage.threads,
            accepted=held.get(worker),
            heartbeat=sample.heartbeats.get(worker),
        )
