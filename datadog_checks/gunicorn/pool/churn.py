"""How many workers started and exited between two runs. Pure."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Identity


class Churn(NamedTuple):
    """How many workers started and exited, without those that did both between two looks."""

    started: int
    exited: int


class Roster(NamedTuple):
    """The workers that were alive `at` the end of a run, as far as they are known.

    `missed` are those that seem to have been alive but could not be read. If it is not `complete`, there may have been
    others.
    """

    at: float
    workers: AbstractSet[Identity] = frozenset()
    missed: AbstractSet[Identity] = frozenset()
    complete: bool = False

    def list_alive(self, seen: AbstractSet[Identity]) -> AbstractSet[Identity]:
        """List the workers that were alive then: its own, and those `seen` since that it may lack."""
        return self.workers | {worker for worker in seen | self.missed if self._may_lack(worker)}

    def _may_lack(self, worker: Identity) -> bool:
        return worker in self.missed or (not self.complete and worker.create_time <= self.at)


def count_churn(before: AbstractSet[Identity], seen: AbstractSet[Identity], alive: AbstractSet[Identity]) -> Churn:
    """Count the workers that started and exited between two runs.

    `before` were alive at the end of the previous run, `seen` are all that this run saw, and `alive` those that were
    alive at its end.
    """
    return Churn(started=len(seen - before), exited=len((before | seen) - alive))
