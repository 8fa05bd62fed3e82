"""Names, and values to what is submitted. Pure; `metadata.csv` declares every metric named here."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from .pool.usage import Usage
from .pool.workers import Churn, States
from .servers.applications import Identity
from .servers.titles import Role
from .sockets.addresses import Address
from .sockets.connections import Counts
from .text import escape

SERVICE_CHECK = "gunicorn.is_running"


class Sample(NamedTuple):
    """A value to submit. `tags` go with the ones that every submission carries."""

    name: str
    value: float
    tags: tuple[str, ...] = ()
    type: Literal["gauge", "count"] = "gauge"


def format_workers(states: States) -> Iterator[Sample]:
    """Both states, always: a graph that loses a line cannot be told from one that fell to zero."""
    yield Sample("gunicorn.workers", states.idle, ("state:idle",))
    yield Sample("gunicorn.workers", states.working, ("state:working",))


def format_dirty_workers(count: int | None) -> Iterator[Sample]:
    """Nothing where there is no dirty arbiter (`count` is None)."""
    if count is not None:
        yield Sample("gunicorn.dirty_workers", count)


def format_uptime(masters: Collection[Identity], now: float) -> Iterator[Sample]:
    """Take the oldest master; `now` is by the clock of `create_time`, in seconds, as everywhere here."""
    yield Sample("gunicorn.uptime", max(_ages(masters, now)))


def format_churn(churn: Churn) -> Iterator[Sample]:
    """Zeros as well: a count that is missing cannot be told from a check that did not run."""
    yield Sample("gunicorn.workers.started", churn.started, type="count")
    yield Sample("gunicorn.workers.exited", churn.exited, type="count")


def format_ages(workers: Collection[Identity], now: float) -> Iterator[Sample]:
    """Nothing where there is no worker."""
    if workers:
        yield Sample("gunicorn.worker.age.min", min(_ages(workers, now)))
        yield Sample("gunicorn.worker.age.max", max(_ages(workers, now)))


def format_usage(role: Role, usage: Mapping[Identity, Usage]) -> Iterator[Sample]:
    """Add up what the processes of a role use, and tell the largest worker; nothing where there is no process."""
    if usage:
        tags = (_role_tag(role),)
        yield Sample("gunicorn.memory.rss", sum(each.rss for each in usage.values()), tags)
        yield Sample("gunicorn.threads", sum(each.threads for each in usage.values()), tags)
        if role is Role.WORKER:
            yield Sample("gunicorn.memory.rss.max", max(each.rss for each in usage.values()), tags)


def format_cpu(role: Role, percent: float | None) -> Iterator[Sample]:
    """Nothing where it cannot be told."""
    if percent is not None:
        yield Sample("gunicorn.cpu.percent", percent, (_role_tag(role),))


def format_connections(counts: Mapping[Address, Counts]) -> Iterator[Sample]:
    """Both states of each listener."""
    for address, (accepted, queued) in counts.items():
        listener = f"listener:{escape(str(address))}"
        yield Sample("gunicorn.connections", accepted, (listener, "state:accepted"))
        yield Sample("gunicorn.connections", queued, (listener, "state:queued"))


def _ages(processes: Iterable[Identity], now: float) -> Iterator[float]:
    # One that was born while the look went on has no age yet.
    return (max(0.0, now - process.create_time) for process in processes)


def _role_tag(role: Role) -> str:
    return f"process_role:{role}"
