"""The resources that a server's processes use. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Identity


class Usage(NamedTuple):
    """The resources of one process: CPU seconds (user and system) since its start, resident bytes, threads."""

    cpu_seconds: float
    rss: int
    threads: int


def compute_cpu_percent(
    before: Mapping[Identity, Usage], now: Mapping[Identity, Usage], since: float, until: float
) -> float | None:
    """Compute the CPU usage of the processes in `now` between two looks, in percent of one core.

    A process that started in between counts from its start. None if unknown: no time has passed, or an older process
    is not in `before`. `since` and `until` are the times of the looks, by the clock of `procfs.read_clock`.
    """
    if until <= since or any(process not in before and process.create_time < since for process in now):
        return None
    used = sum(
        usage.cpu_seconds - (before[process].cpu_seconds if process in before else 0.0)
        for process, usage in now.items()
    )
    return max(0.0, 100 * used / (until - since))
