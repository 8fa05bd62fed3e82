"""How many workers started and exited between two runs. Pure."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Identity


class Churn(NamedTuple):
    """How many workers started and exited, without those that did both between two looks."""

    started: int
    exited: int


def count_churn(before: AbstractSet[Identity], seen: AbstractSet[Identity], alive: AbstractSet[Identity]) -> Churn:
    """Count the workers that started and exited between two runs.

    `before` were alive at the end of the previous run, `seen` are all that this run saw, and `alive` those that were
    alive at its end.
    """
    return Churn(started=len(seen - before), exited=len((before | seen) - alive))
