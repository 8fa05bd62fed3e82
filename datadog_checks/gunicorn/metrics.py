"""Names, and values to gauges. Pure; `metadata.csv` declares every metric named here."""

from collections.abc import Iterator
from typing import NamedTuple

from .workers import States

SERVICE_CHECK = "gunicorn.is_running"


class Gauge(NamedTuple):
    """A value to submit. `tags` go with the ones that every submission carries."""

    name: str
    value: float
    tags: tuple[str, ...] = ()


def format_workers(states: States) -> Iterator[Gauge]:
    """Both states, always: a graph that loses a line cannot be told from one that fell to zero."""
    yield Gauge("gunicorn.workers", states.idle, ("state:idle",))
    yield Gauge("gunicorn.workers", states.working, ("state:working",))


def format_dirty_workers(count: int | None) -> Iterator[Gauge]:
    """Nothing where there is no dirty arbiter (`count` is None)."""
    if count is not None:
        yield Gauge("gunicorn.dirty_workers", count)
