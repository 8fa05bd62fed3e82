"""How long each worker has been silent, from its heartbeat file (`workertmp.py` of Gunicorn 20.1 to 27.0).

Each worker regularly touches an unlinked file of its own. Its master holds the file, too, and kills a worker that has
not touched it for the time that the setting `timeout` allows.
"""

import math
import re
import time
from collections.abc import Collection, Mapping

from datadog_checks.gunicorn.host.descriptors import OpenFile, read_files, read_status
from datadog_checks.gunicorn.host.processes import Absence, attempt, is_alive
from datadog_checks.gunicorn.host.values import LINUX, Identity

_LINK = re.compile(r"/wgunicorn-[^/]+ \(deleted\)")

# A new worker closes the files of its siblings within moments.
_SETTLED_SECONDS = 5.0
# A heartbeat may seem older than its worker by this much: the file is created before the worker starts.
_CREATED_BEFORE_SECONDS = 1.0


class Heartbeats:
    """Reads the heartbeats of workers. The descriptor of each is found once, then a look is one `stat`."""

    def __init__(self) -> None:
        # None for a worker whose file cannot be found.
        self._files: dict[Identity, OpenFile | None] = {}

    def read_age(self, worker: Identity, now: float) -> float | None:
        """Read the seconds since a worker's last heartbeat; `now` is by the clock of its start time.

        None if unknown: on systems other than Linux, if its descriptors may not be read, and while a new worker still
        holds the files of its siblings.
        """
        if not LINUX:
            return None
        file = self._files[worker] if worker in self._files else self._read_file(worker, now)
        if file is None:
            return None
        status = attempt(read_status, worker.pid, file.descriptor)
        if not isinstance(status, Absence) and (status.st_dev, status.st_ino) == (file.device, file.inode):
            lifetime = now - worker.create_time
            return compute_age(status.st_mtime, status.st_ctime, time.monotonic(), time.time(), lifetime)
        self._files.pop(worker, None)
        return None

    def _read_file(self, worker: Identity, now: float) -> OpenFile | None:
        found = attempt(read_files, worker.pid, _LINK)
        if now - worker.create_time > _SETTLED_SECONDS:
            # Do not search all its descriptors again in every run.
            self._files[worker] = None
        # A new worker may still hold the files of its siblings: only a single file is certain to be its own.
        if isinstance(found, Absence) or len(found) != 1 or not is_alive(worker):
            return None
        self._files[worker] = found[0]
        return found[0]

    def keep_only(self, workers: Collection[Identity]) -> None:
        """Forget all other workers."""
        if len(self._files) > len(workers):
            self._files = {worker: file for worker, file in self._files.items() if worker in workers}


def compute_age(mtime: float, ctime: float, monotonic: float, wall: float, lifetime: float = math.inf) -> float:
    """Compute the age of a heartbeat from the times of its file, and the current times of both clocks. Pure.

    In 22.0.0, 23.0.0 and 27.0.1, the file's mtime holds the worker's monotonic clock, which cannot be set. In 20.1.0,
    and before the first heartbeat, it holds the time of day, which is later than any monotonic clock: then the age is
    computed from the ctime. The same applies if the age would exceed the worker's `lifetime`: then the worker has
    another monotonic clock (a time namespace).

    >>> compute_age(mtime=990.0, ctime=1.7e9, monotonic=1000.0, wall=1.7e9 + 3600)
    10.0
    >>> compute_age(mtime=1.6e9, ctime=1.7e9, monotonic=1000.0, wall=1.7e9 + 2)
    2.0
    """
    age = monotonic - mtime
    return max(0.0, age if 0 <= age <= lifetime + _CREATED_BEFORE_SECONDS else wall - ctime)


def list_known(ages: Mapping[Identity, float], workers: Collection[Identity], now: float) -> list[float] | None:
    """List the ages of all heartbeats, or None if the oldest one may be missing. Pure.

    A worker whose heartbeat is unknown cannot have been silent for longer than it has lived. `now` is by the clock of
    their start times.
    """
    oldest = max(ages.values(), default=0.0)
    if any(now - worker.create_time > oldest for worker in workers if worker not in ages):
        return None
    return list(ages.values())
