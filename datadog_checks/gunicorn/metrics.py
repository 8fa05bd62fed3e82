"""The table of the metrics, and what a run submits: samples, and the status of the service check. Pure.

A new metric is a row here, in `metadata.csv`, and in the table of README's "Data Collected"; tests compare them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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

    `unit` is as in metadata.csv, and `group` the subject, which heads it on the status page. `tags` are the further
    tags, each with the values that it may have, such as the roles of processes; none if any value is possible. `get`
    returns the values of a run, which are empty if unknown.
    """

    name: str
    type: Literal["gauge", "count"]
    unit: str
    group: str
    tags: Mapping[str, tuple[str, ...]]
    get: Callable[[Pool], Values]


class Sample(NamedTuple):
    """A value to submit. `tags` are added to those of every submission."""

    name: str
    value: float
    tags: tuple[str, ...] = ()
    type: Literal["gauge", "count"] = "gauge"


class ServiceCheckStatus(NamedTuple):
    """A status to submit with the service check, and its message."""

    value: int
    message: str = ""


def format_service_check(name: str, health: Health, *, missing: bool) -> ServiceCheckStatus | None:
    """Format the status of an application; None if it is gone and is not `missing`, as in `Application`."""
    if health is Health.WITHOUT_WORKERS:
        return ServiceCheckStatus(ServiceCheck.CRITICAL, f"0 working and 0 idle workers for {name}")
    if health is not Health.GONE:
        return ServiceCheckStatus(ServiceCheck.OK)
    return ServiceCheckStatus(ServiceCheck.CRITICAL, format_absence(name)) if missing else None


def format_samples(pool: Pool) -> Iterator[Sample]:
    """Yield every sample that a run submits for an application."""
    for metric in METRICS:
        for value, tags in metric.get(pool):
            yield Sample(metric.name, value, tags, metric.type)


def _get_workers(pool: Pool) -> Values:
    # Always submit both states: on a graph, a missing series is easily mistaken for 0.
    if pool.states:
        yield pool.states.idle, ("state:idle",)
        yield pool.states.working, ("state:working",)


def _get_dirty_workers(pool: Pool) -> Values:
    yield from _known(pool.dirty_workers)


def _get_connections(pool: Pool) -> Values:
    for address, (accepted, queued) in (pool.connections or {}).items():
        listener = f"listener:{escape(str(address))}"
        yield accepted, (listener, "state:accepted")
        yield queued, (listener, "state:queued")


def _get_started(pool: Pool) -> Values:
    yield from _known(pool.churn and pool.churn.started)


def _get_exited(pool: Pool) -> Values:
    yield from _known(pool.churn and pool.churn.exited)


def _get_age_min(pool: Pool) -> Values:
    yield from _known(min(pool.ages or (), default=None))


def _get_age_max(pool: Pool) -> Values:
    yield from _known(max(pool.ages or (), default=None))


def _get_heartbeat_age(pool: Pool) -> Values:
    yield from _known(max(pool.heartbeats or (), default=None))


def _get_uptime(pool: Pool) -> Values:
    yield from _known(pool.uptime)


def _get_cpu(pool: Pool) -> Values:
    for role, percent in (pool.cpu or {}).items():
        yield from _known(percent, _role_tag(role))


def _get_memory(pool: Pool) -> Values:
    return _sum_by_role(pool, lambda usage: usage.rss)


def _get_largest(pool: Pool) -> Values:
    workers = (pool.usage or {}).get(Role.WORKER, ())
    yield from _known(max((worker.rss for worker in workers), default=None), _role_tag(Role.WORKER))


def _get_threads(pool: Pool) -> Values:
    return _sum_by_role(pool, lambda usage: usage.threads)


def _sum_by_role(pool: Pool, get: Callable[[Usage], int]) -> Values:
    for role, processes in (pool.usage or {}).items():
        if processes:
            yield sum(map(get, processes)), (_role_tag(role),)


def _known(value: float | None, *tags: str) -> Values:
    return () if value is None else ((value, tags),)


def _role_tag(role: Role) -> str:
    return f"process_role:{role}"


_STATES = {"state": ("idle", "working")}
_CONNECTIONS: dict[str, tuple[str, ...]] = {"listener": (), "state": ("accepted", "queued")}
_WORKER = {"process_role": (Role.WORKER.value,)}
_ROLES = {"process_role": (Role.MASTER.value, Role.WORKER.value)}

# In the order in which the status page shows them.
METRICS = (
    Metric("gunicorn.workers", "gauge", "worker", "Workers", _STATES, _get_workers),
    Metric("gunicorn.dirty_workers", "gauge", "worker", "Workers", {}, _get_dirty_workers),
    Metric("gunicorn.connections", "gauge", "connection", "Connections", _CONNECTIONS, _get_connections),
    Metric("gunicorn.workers.started", "count", "worker", "Churn and age", {}, _get_started),
    Metric("gunicorn.workers.exited", "count", "worker", "Churn and age", {}, _get_exited),
    Metric("gunicorn.worker.age.min", "gauge", "second", "Churn and age", {}, _get_age_min),
    Metric("gunicorn.worker.age.max", "gauge", "second", "Churn and age", {}, _get_age_max),
    Metric("gunicorn.worker.heartbeat.age.max", "gauge", "second", "Churn and age", {}, _get_heartbeat_age),
    Metric("gunicorn.uptime", "gauge", "second", "Churn and age", {}, _get_uptime),
    Metric("gunicorn.cpu.percent", "gauge", "percent", "Resources", _ROLES, _get_cpu),
    Metric("gunicorn.memory.rss", "gauge", "byte", "Resources", _ROLES, _get_memory),
    Metric("gunicorn.memory.rss.max", "gauge", "byte", "Resources", _WORKER, _get_largest),
    Metric("gunicorn.threads", "gauge", "thread", "Resources", _ROLES, _get_threads),
)
