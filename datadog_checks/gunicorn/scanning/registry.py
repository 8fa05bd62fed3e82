"""The Gunicorn servers of this host, as known to all instances in an Agent process."""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from datadog_checks.gunicorn.host.processes import has_own_cgroups, is_of_container
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.applications import (
    Assignment,
    Candidate,
    Hint,
    Scan,
    assign_application,
    assign_applications,
)

from .scanner import BLOCKED_SECONDS, HostLook, Scanner


class Host:
    """The results of the last look at the host. Shared by instances, which run in several threads.

    Processes are read without holding the lock, so that one whose command line blocks delays only its reader.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # When the looks that are under way began.
        self._looking: list[float] = []
        self._last_look = HostLook(full=False)
        self._last = Scan()
        self._assigned: dict[Identity, Assignment] = {}
        self._scanner = Scanner()

    def find_masters(self, newer_than: float, *, urgent: bool = False, full: bool | None = None) -> list[Assignment]:
        """List all masters, as seen by a look that began after `newer_than` (`time.monotonic`), or by `learn`.

        Looks only if no instance has done so since then: many instances share one look. While another thread is
        looking, the last results are used, unless it is `urgent`. A `full` look reads every process; by default, only
        an urgent one is full.
        """
        full = urgent if full is None else full
        with self._lock:
            is_old = self._last_look.now <= newer_than or (full and not self._last_look.full)
            # Do not wait for ever for a look that is blocked.
            is_awaited = any(time.monotonic() - began < BLOCKED_SECONDS for began in self._looking)
        if is_old and (urgent or not is_awaited):
            self.scan(full=full)
        return self.applications()

    def scan(self, *, full: bool = True) -> Scan:
        """Look at the processes of the host: at all of them, or only at those that may have become Gunicorn since.

        Raises ProcessTableError.
        """
        began = time.monotonic()
        with self._lock:
            self._looking.append(began)
            before = self._last_look
        try:
            look = self._scanner.look(before, full=full)
        finally:
            with self._lock:
                self._looking.remove(began)
        seen = _summarize(look)
        with self._lock:
            if look.now < self._last_look.now:
                # Another thread has finished a look that began later.
                if self._last_look.full or not look.full:
                    return self._last
                look.add(self._last_look)
            self._last_look = look
            self._assigned = assign_applications(look.candidates, self._assigned)
            unrecognized = _list_unrecognized(self._assigned.values())
            self._last = replace(seen, mentions=(*seen.mentions, *unrecognized))
            return self._last

    def applications(self) -> list[Assignment]:
        """List every master of the host with its application, as known from the last look and from `learn`."""
        with self._lock:
            return [assignment for assignment in self._assigned.values() if assignment.application is not None]

    def looked_at(self) -> float | None:
        """Return when the last look began, by the clock of `procfs.read_clock`; None before the first one."""
        with self._lock:
            clock = self._last_look.clock
        return clock if math.isfinite(clock) else None

    def last_scan(self) -> Scan:
        """Return the results of the last look."""
        with self._lock:
            return self._last

    def learn(self, process: Candidate, parent: Identity | None = None) -> str | None:
        """Assign an application to a candidate that was found outside of a look at the host, and remember it.

        `parent` is given for a master's child that is a master itself. Without a title, and on a kernel that shows
        neither flags nor signals, only workers of its own prove that; a look from before it had any proves nothing.
        """
        with self._lock:
            leads = parent is not None and process.arguments is not None
            assignment = assign_application(
                process,
                parent=self._assigned.get(parent) if parent else None,
                earlier=None if leads else self._assigned.get(process.identity),
                leads=leads,
            )
            self._assigned[process.identity] = assignment
            return assignment.application


def _summarize(look: HostLook) -> Scan:
    return Scan(
        candidates=tuple(look.candidates),
        unreadable=len(look.unreadable),
        hides_others=look.hides_others,
        of_container=is_of_container(),
        has_own_groups=has_own_cgroups(),
        embedded=tuple(look.hints.embedded.values()),
        mentions=tuple(look.hints.mentions.values()),
    )


def _list_unrecognized(assigned: Iterable[Assignment]) -> Iterator[Hint]:
    """List processes with Gunicorn's arguments that are neither masters nor children of candidates."""
    for candidate, application, is_child in assigned:
        if application is None and candidate.arguments is not None and not is_child:
            yield Hint(f"gunicorn {candidate.name}", candidate.groups)


# Shared, because the Agent creates one check object for each instance in one interpreter.
HOST = Host()
