"""What metrics are about, by their names: where the status page shows them, and in which unit. Pure."""

import math
from collections.abc import Callable
from typing import NamedTuple

_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_MINUTE = 60


def format_bytes(value: float) -> str:
    """Format a size in the largest unit that it fills.

    >>> format_bytes(46242202)
    '44.1 MiB'
    """
    unit = next((unit for unit, size in _BYTES.items() if value >= size), "KiB")
    return f"{value / _BYTES[unit]:.1f} {unit}"


def format_seconds(value: float) -> str:
    """Format a duration in its two largest units.

    >>> format_seconds(3783.2), format_seconds(1.44)
    ('1h 3m', '1.4s')
    """
    if not _MINUTE <= value < math.inf:
        return f"{value:.1f}s"
    minutes, seconds = divmod(int(value), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {seconds}s"


def format_percent(value: float) -> str:
    """Format a percentage.

    >>> format_percent(95.654)
    '95.7%'
    """
    return f"{value:.1f}%"


class Subject(NamedTuple):
    """What the metrics of one name, or whose names go on after it with a dot, have in common.

    `format_unit` makes their values readable; it is None where they are numbers of something.
    """

    prefix: str
    group: str
    format_unit: Callable[[float], str] | None = None


# In the order of the page.
_SUBJECTS = (
    Subject("gunicorn.workers", "Workers"),
    Subject("gunicorn.dirty_workers", "Workers"),
    Subject("gunicorn.connections", "Connections"),
    Subject("gunicorn.workers.started", "Churn and age"),
    Subject("gunicorn.workers.exited", "Churn and age"),
    Subject("gunicorn.worker.age", "Churn and age", format_seconds),
    Subject("gunicorn.uptime", "Churn and age", format_seconds),
    Subject("gunicorn.cpu.percent", "Resources", format_percent),
    Subject("gunicorn.memory", "Resources", format_bytes),
    Subject("gunicorn.threads", "Resources"),
)
_OTHER = Subject("", "Other metrics")


def find_subject(name: str) -> Subject:
    """Find what a metric is about; the longest prefix tells."""
    found = [subject for subject in _SUBJECTS if f"{name}.".startswith(f"{subject.prefix}.")]
    return max(found, key=lambda subject: len(subject.prefix), default=_OTHER)


def place_on_page(name: str) -> int:
    """Rank a metric by its subject, in the order of the page."""
    return (*_SUBJECTS, _OTHER).index(find_subject(name))
