"""One application's masters and workers: found once, looked at on every run, found again when one is lost."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .host import Host
from .processes import Absence, Processes, Sighting, read_master_title
from .servers import Identity, MasterTitle
from .titles import Role

# How old knowledge of the host may be while an application's masters are known and alive.
RESCAN_SECONDS = 45.0


@dataclass(slots=True)
class Look:
    """One look at an application's processes.

    `workers` gives the CPU seconds of each worker since its start. `dirty_workers` is None where there is no dirty
    arbiter. `complete` is false when a process was there that could not be read: it may have been a worker.
    """

    workers: dict[Identity, float] = field(default_factory=dict)
    dirty_workers: int | None = None
    complete: bool = True


class Application:
    """The servers of one name, as one check instance knows them.

    Every answer is right at the moment of the look; what is kept between runs only saves looking elsewhere.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self._host = host
        self._processes = Processes()
        # The name in each master's title: NAME, or NAME.2 during an upgrade.
        self._masters: dict[Identity, str] = {}
        # When the last run knew what the host knew (`time.monotonic`).
        self._found: float | None = None

    def find(self) -> list[Identity]:
        """List the masters that are alive, the oldest first."""
        began = time.monotonic()
        self._processes.forget_unseen()
        known = self._masters
        self._masters = dict(self._alive(known.items()))
        if len(self._masters) < len(known) or self._found is None:
            # The successor of a lost master can be younger than the last scan.
            newer_than = began
        else:
            newer_than = began - RESCAN_SECONDS if self._masters else self._found
        named = self._host.masters_of(self.name, newer_than)
        self._found = time.monotonic()
        self._masters |= self._alive((was.identity, was.name) for was in named if was.identity not in self._masters)
        return sorted(self._masters, key=lambda master: master.create_time)

    def _alive(self, masters: Iterable[tuple[Identity, str]]) -> Iterator[tuple[Identity, str]]:
        for master, name in masters:
            seen = self._processes.look_at(master.pid)
            if seen is Absence.UNREADABLE:
                yield master, name
            elif isinstance(seen, Sighting) and seen.identity == master:
                yield from [(master, name)] if seen.title == (Role.MASTER, name) else self._titled_anew(seen)

    def _titled_anew(self, seen: Sighting, parent: Identity | None = None) -> Iterator[tuple[Identity, str]]:
        process = read_master_title(seen.identity.pid)
        if isinstance(process, MasterTitle) and self._host.learn(process, parent) == self.name:
            yield process.identity, process.name

    def look(self, also: Iterable[Identity] = ()) -> Look:
        """Look at the workers of all masters, and at those in `also`, whose master may have gone since.

        A master that USR2 started after the last scan is found here, among the children of the old one.
        """
        look = Look()
        masters = list(self._masters)
        for master in masters:
            for child in self._children_of(master, look):
                match child.title and child.title.role:
                    case Role.WORKER:
                        look.workers[child.identity] = child.cpu_seconds
                    case Role.DIRTY_ARBITER:
                        look.dirty_workers = (look.dirty_workers or 0) + self._count_dirty_workers(child.identity)
                    case Role.MASTER if child.identity not in self._masters:
                        born = dict(self._titled_anew(child, master))
                        self._masters |= born
                        masters += born
        for child in self._look_at((worker.pid for worker in also if worker not in look.workers), look):
            if child.identity in also:
                look.workers[child.identity] = child.cpu_seconds
        return look

    def _children_of(self, parent: Identity, look: Look) -> Iterator[Sighting]:
        children = self._processes.children_of(parent)
        look.complete &= children is not Absence.UNREADABLE
        if isinstance(children, list):
            yield from self._look_at(children, look)

    def _look_at(self, pids: Iterable[int], look: Look) -> Iterator[Sighting]:
        for pid in pids:
            seen = self._processes.look_at(pid)
            look.complete &= seen is not Absence.UNREADABLE
            if isinstance(seen, Sighting):
                yield seen

    def _count_dirty_workers(self, arbiter: Identity) -> int:
        # Nothing that they lack makes the workers' numbers wrong, so what is missing here is not missing there.
        children = self._children_of(arbiter, Look())
        return sum(child.title is not None and child.title.role is Role.DIRTY_WORKER for child in children)
