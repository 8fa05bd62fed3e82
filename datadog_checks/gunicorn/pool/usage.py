"""What the processes of a server use, at one look and between two runs. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from datadog_checks.gunicorn.host.identity import Identity


class Usage(NamedTuple):
    """What one process uses: CPU seconds since its start, user and system, its resident bytes, and its threads."""

    cpu_seconds: float
    rss: int
    threads: int


def compute_cpu_percent(
    before: Mapping[Identity, Usage], now: Mapping[Identity, Usage], since: float, until: float
) -> float | None:
    """Compute the CPU that the processes of `now` used between two looks, in percent of one core.

    One that has started since counts from its start. None when it is unknown: no time has passed, or a process was
    there before and had not been read. `since` and `until` are seconds by the clock that tells when a process started.
    """
    if until <= since or any(process not in before and process.create_time < since for process in now):
        return None
    used = sum(
        usage.cpu_seconds - (before[process].cpu_seconds if process in before else 0.0)
        for process, usage in now.items()
    )
    return max(0.0, 100 * used / (until - since))
