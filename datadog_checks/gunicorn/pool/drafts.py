"""The two looks of a run at each server, before they are compared with those of the previous run."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Identity

from .looks import FirstLook, SecondLook
from .results import Health
from .watched import Key, Watched

# A pool with one sync worker that is replaced after each request has no worker for up to 0.08 s (measured).
SEARCH_SECONDS = 0.1
_SEARCH_PAUSE = 0.002
# A fork that is not a worker may be a helper, or a worker that does not look like one yet, if it is as young as this.
_BOOT_SECONDS = 1.0


class Draft(NamedTuple):
    """The two looks at a server, and the masters that it had between them."""

    server: Watched
    masters: frozenset[Identity]
    first: FirstLook
    second: SecondLook

    @property
    def is_empty(self) -> bool:
        return not (self.second.workers or self.first.has_workers)

    def look_again(self) -> "Draft":
        """Take another second look."""
        second = self.server.sample(self.first)
        second.last_fork = max(second.last_fork, self.second.last_fork)
        return self._replace(second=second)

    def judge(self) -> Health:
        """Judge the server by both looks, and by the masters that it has now."""
        if self.second.workers:
            return Health.WELL
        if not (self.first.complete and self.second.complete):
            return Health.UNCLEAR
        if self.first.has_workers:
            return Health.VANISHED
        if not self.server.masters:
            return Health.GONE
        if max(self.first.last_fork, self.second.last_fork) > self.first.at - _BOOT_SECONDS:
            # It may have been a worker between two looks.
            return Health.UNCLEAR
        return Health.WITHOUT_WORKERS if self.masters == self.server.masters.keys() else Health.UNCLEAR


def take_drafts(servers: Mapping[Key, Watched], looks: Mapping[Key, FirstLook]) -> dict[Key, Draft]:
    """Take the second look at each server that had a first one."""
    drafts = {key: _take_draft(servers[key], first) for key, first in looks.items()}
    _search(drafts)
    return drafts


def _take_draft(server: Watched, first: FirstLook) -> Draft:
    masters = frozenset(server.masters)
    return Draft(server, masters, first, server.sample(first))


def _search(drafts: dict[Key, Draft]) -> None:
    """Look again at the servers of which neither look saw a worker, for SEARCH_SECONDS."""
    end = time.monotonic() + SEARCH_SECONDS
    while (empty := [key for key, draft in drafts.items() if draft.is_empty]) and time.monotonic() < end:
        time.sleep(_SEARCH_PAUSE)
        for key in empty:
            drafts[key] = drafts[key].look_again()
