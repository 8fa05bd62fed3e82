"""The table of the metrics, and what a run submits: samples, and the status of the service check. Pure.

A new metric is a row here, in `metadata.csv`, and in the table of README's "Data Collected"; tests compare them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from datadog_checks.base.constants import ServiceCheck

from .pool.results import Health, Pool
from .pool.usage import Usage
from .servers.selection import format_absence
from .servers.titles import Role
from .text import escape

SERVICE_CHECK = "gunicorn.is_running"

# Each value with its further tags: those that are not on every submission.
Values = Iterable[tuple[float, tuple[str, ...]]]


class Metric(NamedTuple):
    """One metric.

    `unit` is as in metadata.csv, `group` the heading on the status page, `tags` the keys of the further tags. `read`
    returns the values of a run; it is empty if they are unknown.
    """

    name: str
    type: Literal["gauge", "count"]
    unit: str
    group: str
    tags: tuple[str, ...]
    read: Callable[[Pool], Values]


class Sample(NamedTuple):
    """A value to submit. `tags` are added to those of every submission."""

    name: str
    value: float
    tags: tuple[str, ...] = ()
    type: Literal["gauge", "count"] = "gauge"


class Status(NamedTuple):
    """A status to submit with the service check, and its message."""

    value: int
    message: str = ""


def format_status(name: str, health: Health, *, missing: bool) -> Status | None:
    """Judge an application, which is `missing` if it should be running; None if it is gone and should not."""
    if health is Health.WITHOUT_WORKERS:
        return Status(ServiceCheck.CRITICAL, f"0 working and 0 idle workers for {name}")
    if health is not Health.GONE:
        return Status(ServiceCheck.OK)
    return Status(ServiceCheck.CRITICAL, format_absence(name)) if missing else None


def format_samples(pool: Pool) -> Iterator[Sample]:
    """Yield every sample that a run submits for an application."""
    for metric in METRICS:
        for value, tags in metric.read(pool):
            yield Sample(metric.name, value, tags, metric.type)


def _read_workers(pool: Pool) -> Values:
    # Always submit both states: on a graph, a missing series is easily mistaken for 0.
    if pool.states:
        yield pool.states.idle, ("state:idle",)
        yield pool.states.working, ("state:working",)


def _read_dirty_workers(pool: Pool) -> Values:
    yield from _known(pool.dirty_workers)


def _read_connections(pool: Pool) -> Values:
    for address, (accepted, queued) in (pool.connections or {}).items():
        listener = f"listener:{escape(str(address))}"
        yield accepted, (listener, "state:accepted")
        yield queued, (listener, "state:queued")


def _read_started(pool: Pool) -> Values:
    yield from _known(pool.churn and pool.churn.started)


def _read_exited(pool: Pool) -> Values:
    yield from _known(pool.churn and pool.churn.exited)


def _read_age_min(pool: Pool) -> Values:
    yield from _known(min(pool.ages or (), default=None))


def _read_age_max(pool: Pool) -> Values:
    yield from _known(max(pool.ages or (), default=None))


def _read_heartbeat_age(pool: Pool) -> Values:
    yield from _known(max(pool.heartbeats or (), default=None))


def _read_uptime(pool: Pool) -> Values:
    yield from _known(pool.uptime)


def _read_cpu(pool: Pool) -> Values:
    for role, percent in (pool.cpu or {}).items():
        yield from _known(percent, _role_tag(role))


def _read_memory(pool: Pool) -> Values:
    return _sum_by_role(pool, lambda usage: usage.rss)


def _read_largest(pool: Pool) -> Values:
    workers = (pool.usage or {}).get(Role.WORKER, ())
    yield from _known(max((worker.rss for worker in workers), default=None), _role_tag(Role.WORKER))


def _read_threads(pool: Pool) -> Values:
    return _sum_by_role(pool, lambda usage: usage.threads)


def _sum_by_role(pool: Pool, read: Callable[[Usage], int]) -> Values:
    for role, processes in (pool.usage or {}).items():
        if processes:
            yield sum(map(read, processes)), (_role_tag(role),)


def _known(value: float | None, *tags: str) -> Values:
    return () if value is None else ((value, tags),)


def _role_tag(role: Role) -> str:
    return f"process_role:{role}"


_ROLE = ("process_role",)

# In the order in which the status page shows them.
METRICS = (
    Metric("gunicorn.workers", "gauge", "worker", "Workers", ("state",), _read_workers),
    Metric("gunicorn.dirty_workers", "gauge", "worker", "Workers", (), _read_dirty_workers),
    Metric("gunicorn.connections", "gauge", "connection", "Connections", ("listener", "state"), _read_connections),
    Metric("gunicorn.workers.started", "count", "worker", "Churn and age", (), _read_started),
    Metric("gunicorn.workers.exited", "count", "worker", "Churn and age", (), _read_exited),
    Metric("gunicorn.worker.age.min", "gauge", "second", "Churn and age", (), _read_age_min),
    Metric("gunicorn.worker.age.max", "gauge", "second", "Churn and age", (), _read_age_max),
    Metric("gunicorn.worker.heartbeat.age.max", "gauge", "second", "Churn and age", (), _read_heartbeat_age),
    Metric("gunicorn.uptime", "gauge", "second", "Churn and age", (), _read_uptime),
    Metric("gunicorn.cpu.percent", "gauge", "percent", "Resources", _ROLE, _read_cpu),
    Metric("gunicorn.memory.rss", "gauge", "byte", "Resources", _ROLE, _read_memory),
    Metric("gunicorn.memory.rss.max", "gauge", "byte", "Resources", _ROLE, _read_largest),
    Metric("gunicorn.threads", "gauge", "thread", "Resources", _ROLE, _read_threads),
)
