"""CPU used between two looks to worker states. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

# Measured in windows of 0.1 s: idle workers of every class use at most 0.4 ms, and one that answers a request that does
# next to nothing uses 0.6 ms and more.
WORKING_SECONDS = 0.0005


class States(NamedTuple):
    """How many workers were working and how many were not."""

    idle: int
    working: int


def count_states(used: Iterable[float]) -> States:
    """Count workers by the seconds of CPU that each of them used between two looks."""
    is_working = [seconds >= WORKING_SECONDS for seconds in used]
    return States(idle=is_working.count(False), working=is_working.count(True))
