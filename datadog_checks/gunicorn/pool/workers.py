"""Two readings of CPU times to worker states, two sets of workers to their churn. Pure."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from datadog_checks.gunicorn.servers.applications import Identity

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


class Churn(NamedTuple):
    """How many workers started and exited; those that did both while nobody looked are in neither."""

    started: int
    exited: int


def count_churn(before: AbstractSet[Identity], seen: AbstractSet[Identity], alive: AbstractSet[Identity]) -> Churn:
    """Tell the workers that came and went between two runs.

    `before` were alive at the end of the run before, `seen` is whoever this run saw at all, and `alive` those of them
    that were alive at its end.
    """
    return Churn(started=len(seen - before), exited=len((before | seen) - alive))
