"""Human-readable values, by the units of their metrics. Pure."""

import math
from collections.abc import Callable, Mapping

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


# By unit in metadata.csv; plain numbers are not listed.
_FORMATS: Mapping[str, Callable[[float], str]] = {
    "byte": format_bytes,
    "percent": format_percent,
    "second": format_seconds,
}


def format_in_unit(value: float, unit: str) -> str:
    """Format a value in its unit; empty for a plain number."""
    return _FORMATS[unit](value) if unit in _FORMATS else ""
