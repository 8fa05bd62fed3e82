"""What each worker of a server is doing, for `status --workers`."""

from collections.abc import Iterator

from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.by_worker import read_accepted

from .looks import Worker
from .states import is_working
from .watched import Watched


def list_workers(server: Watched) -> Iterator[Worker]:
    """List the workers of a server, as the last run saw them, the oldest first."""
    last = server.last
    if last is None:
        return
    listeners = server.connections.found_by.keys() if server.connections else ()
    held = read_accepted(server.masters, last.workers, listeners) if listeners else {}
    for worker, usage in sorted(last.usage[Role.WORKER].items(), key=lambda item: item[0].create_time):
        used = last.workers[worker]
        yield Worker(
            pid=worker.pid,
            age=max(0.0, last.at - worker.create_time),
            working=is_working(used),
            cpu=100 * used / last.seconds if last.seconds else None,
            rss=usage.rss,
            threads=usage.threads,
            accepted=held.get(worker),
            heartbeat=last.heartbeats.get(worker),
        )
