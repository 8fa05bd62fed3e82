"""What all instances of one Agent process know about the Gunicorn servers of this host."""

import math
import threading
import time
from collections.abc import Callable

from datadog_checks.gunicorn.host.processes import scan_host
from datadog_checks.gunicorn.servers.applications import (
    Assignment,
    Candidate,
    Identity,
    Scan,
    assign_application,
    assign_applications,
)


class Host:
    """The last scan of the process table and what it told, shared: instances run in several threads."""

    def __init__(self, scan: Callable[[], Scan] = scan_host) -> None:
        self._scan = scan
        self._scanned = -math.inf
        self._last = Scan()
        self._assigned: dict[Identity, Assignment] = {}
        self._lock = threading.Lock()

    def masters_of(self, application: str, newer_than: float) -> list[Candidate]:
        """List an application's masters by a scan that began after `newer_than` (`time.monotonic`); they may have gone.

        Scans only where no instance has done so since: many instances cost one scan.
        """
        with self._lock:
            if self._scanned <= newer_than:
                began = time.monotonic()
                self._last = self._scan()
                self._assigned = assign_applications(self._last.candidates, self._assigned)
                self._scanned = began
            return [was.seen for was in self._assigned.values() if was.application == application]

    def learn(self, process: Candidate, parent: Identity | None = None) -> str | None:
        """Tell the application of a candidate that was met outside of a scan, and remember it."""
        with self._lock:
            assignment = assign_application(
                process,
                parent=self._assigned.get(parent) if parent else None,
                earlier=self._assigned.get(process.identity),
            )
            self._assigned[process.identity] = assignment
            return assignment.application

    def last_seen(self) -> tuple[Scan, list[Assignment]]:
        """Give the last scan and the application of every master on the host."""
        with self._lock:
            return self._last, [was for was in self._assigned.values() if was.application is not None]


# The Agent makes one check object of every instance, all in one interpreter.
HOST = Host()
