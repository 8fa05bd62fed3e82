"""Worker states from the CPU used between two looks. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

# Measured in windows of 0.1 s: idle workers of most classes use at most 0.4 ms (tornado's up to 1 ms, once a second),
# and a worker that serves even a trivial request uses at least 0.5 ms.
WORKING_SECONDS = 0.0005


class States(NamedTuple):
    """How many workers were working and how many were idle."""

    idle: int
    working: int


def is_working(used: float) -> bool:
    """Whether a worker that used these seconds of CPU between two looks was working."""
    return used >= WORKING_SECONDS


def count_states(used: Iterable[float]) -> States:
    """Count workers by state; `used` holds the seconds of CPU of each worker between two looks."""
    working = [is_working(seconds) for seconds in used]
    return States(idle=working.count(False), working=working.count(True))
