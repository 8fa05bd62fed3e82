"""Two readings of CPU times to worker states. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from .servers import Identity

CpuSeconds = Mapping[Identity, float]


class States(NamedTuple):
    """How many workers were at work and how many were not."""

    idle: int
    working: int


def count_states(first: CpuSeconds, second: CpuSeconds) -> States:
    """Tell workers that used CPU between two readings from those that did not.

    A reading is the CPU seconds of each worker's own process since its start, user and system. Counted are the
    workers of the second; one that the first did not see yet is working when it has used any.
    """
    working = sum(cpu > first.get(worker, 0.0) for worker, cpu in second.items())
    return States(idle=len(second) - working, working=working)
