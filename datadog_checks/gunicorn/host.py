"""What all instances of one Agent process know about the masters of this host."""

import math
import threading
import time
from collections.abc import Callable, Iterable

from .processes import scan_master_titles
from .servers import Assignment, Identity, MasterTitle, assign_application, assign_applications


class Host:
    """The last scan of the process table and what it told, shared: instances run in several threads."""

    def __init__(self, scan: Callable[[], Iterable[MasterTitle]] = scan_master_titles) -> None:
        self._scan = scan
        self._scanned = -math.inf
        self._assigned: dict[Identity, Assignment] = {}
        self._lock = threading.Lock()

    def masters_of(self, application: str, newer_than: float) -> list[MasterTitle]:
        """List an application's masters by a scan that began after `newer_than` (`time.monotonic`); they may have gone.

        Scans only where no instance has done so since: many instances cost one scan.
        """
        with self._lock:
            if self._scanned <= newer_than:
                began = time.monotonic()
                self._assigned = assign_applications(self._scan(), self._assigned)
                self._scanned = began
            return [was.seen for was in self._assigned.values() if was.application == application]

    def learn(self, process: MasterTitle, parent: Identity | None = None) -> str | None:
        """Tell the application of a process titled as a master that was met outside of a scan, and remember it."""
        with self._lock:
            assignment = assign_application(
                process, self._assigned.get(parent) if parent else None, self._assigned.get(process.identity), ()
            )
            self._assigned[process.identity] = assignment
            return assignment.application


# The Agent makes one check object of every instance, all in one interpreter.
HOST = Host()
