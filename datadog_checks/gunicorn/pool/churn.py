"""Workers of two runs to those that started and exited in between. Pure."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from datadog_checks.gunicorn.host.identity import Identity


class Churn(NamedTuple):
    """How many workers started and exited; those that did both between two looks are in neither."""

    started: int
    exited: int


def count_churn(before: AbstractSet[Identity], seen: AbstractSet[Identity], alive: AbstractSet[Identity]) -> Churn:
    """Count the workers that came and went between two runs.

    `before` were alive at the end of the run before, `seen` are all that this run saw, and `alive` those of them that
    were alive at its end.
    """
    return Churn(started=len(seen - before), exited=len((before | seen) - alive))
