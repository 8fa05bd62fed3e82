"""`status --workers`: a row for each worker. Pure."""

from collections.abc import Iterator

from datadog_checks.gunicorn.host.cgroups import shorten_id
from datadog_checks.gunicorn.pool.looks import Worker
from datadog_checks.gunicorn.standalone.runs import WatchedServer
from datadog_checks.gunicorn.text import shorten

from .table import format_table
from .units import format_in_unit

_HEADER = ("pid", "age", "state", "CPU", "memory", "threads", "accepted", "heartbeat")
_UNKNOWN = "-"


def format_workers(server: WatchedServer) -> Iterator[str]:
    """Format a table of a server's workers, if they were asked for; unknown values are dashes."""
    if server.workers is None:
        return
    where = f" in container {shorten_id(server.container)}" if server.container else ""
    yield f"Workers of {shorten(server.name)}{where}:"
    yield from format_table([_HEADER, *map(_format_row, server.workers)], "  ") if server.workers else ["  none"]


def _format_row(worker: Worker) -> tuple[str, ...]:
    return (
        str(worker.pid),
        format_in_unit(worker.age, "second"),
        "working" if worker.working else "idle",
        _UNKNOWN if worker.cpu is None else format_in_unit(worker.cpu, "percent"),
        format_in_unit(worker.rss, "byte"),
        str(worker.threads),
        _UNKNOWN if worker.accepted is None else str(worker.accepted),
        _UNKNOWN if worker.heartbeat is None else format_in_unit(worker.heartbeat, "second"),
    )
