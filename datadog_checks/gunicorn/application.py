"""One application's masters and workers: found once, looked at on every run, found again when one is lost."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .host import Host
from .processes import Absence, Processes, Sighting, read_candidate
from .servers import Candidate, Identity
from .titles import Role

# How old knowledge of the host may be while an application's masters are known and alive.
RESCAN_SECONDS = 45.0


@dataclass(slots=True)
class Look:
    """One look at an application's processes.

    `workers` gives the CPU seconds of each worker since its start. `dirty_workers` is None where there is no dirty
    arbiter. `complete` is false when a process was there that could not be read: it may have been a worker. `verified`
    says whether each process was known to be the one that had its pid in the run before.
    """

    workers: dict[Identity, float] = field(default_factory=dict)
    dirty_workers: int | None = None
    complete: bool = True
    verified: bool = True


class Application:
    """The servers of one name, as one check instance knows them.

    Every answer is right at the moment of the look; what is kept between runs only saves looking elsewhere.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self._host = host
        self._processes = Processes()
        self._masters: dict[Identity, Candidate] = {}

    def find(self) -> list[Identity]:
        """List the masters that are alive, the oldest first."""
        began = time.monotonic()
        self._processes.forget_unseen()
        known = self._masters
        self._masters = dict(self._alive(known.values()))
        # The successor of a lost master can be younger than the last scan, and so can the first one.
        all_known = self._masters and len(self._masters) == len(known)
        named = self._host.masters_of(self.name, newer_than=began - RESCAN_SECONDS if all_known else began)
        self._masters |= self._alive(master for master in named if master.identity not in self._masters)
        return sorted(self._masters, key=lambda master: master.create_time)

    def _alive(self, masters: Iterable[Candidate]) -> Iterator[tuple[Identity, Candidate]]:
        for master in masters:
            seen = self._processes.look_at(master.identity.pid)
            if seen is Absence.UNREADABLE:
                yield master.identity, master
            elif isinstance(seen, Sighting) and seen.identity == master.identity:
                words = (seen.title, seen.arguments)
                same = words == ((Role.MASTER, master.name) if master.arguments is None else None, master.arguments)
                yield from [(master.identity, master)] if same else self._assigned_anew(seen)

    def _assigned_anew(self, seen: Sighting, parent: Identity | None = None) -> Iterator[tuple[Identity, Candidate]]:
        candidate = read_candidate(seen.identity.pid)
        if isinstance(candidate, Candidate) and self._host.learn(candidate, parent) == self.name:
            yield candidate.identity, candidate

    def look(self, before: Look | None = None) -> Look:
        """Look at the workers of all masters, and at those of the look `before`, whose master may have gone since.

        A master that USR2 started after the last scan is found here, among the children of the old one. Whether each
        process is still the same is asked at the second of two looks only: then it was so at the first as well.
        """
        look = Look(verified=before is not None)
        masters = list(self._masters.values())
        for master in masters:
            for child in self._children_of(master.identity, look):
                match self._role_of(child, master.arguments):
                    case Role.WORKER:
                        look.workers[child.identity] = child.cpu_seconds
                    case Role.DIRTY_ARBITER:
                        look.dirty_workers = (look.dirty_workers or 0) + self._count_dirty_workers(child, look)
                    case Role.MASTER if child.identity not in self._masters:
                        born = dict(self._assigned_anew(child, master.identity))
                        masters += born.values()
                        self._masters |= born
        orphans = before.workers.keys() - look.workers.keys() if before else ()
        for orphan in self._look_at((worker.pid for worker in orphans), look):
            roles = (self._role_of(orphan, master.arguments) for master in masters)
            if orphan.identity in orphans and Role.WORKER in roles:
                look.workers[orphan.identity] = orphan.cpu_seconds
        return look

    def _children_of(self, parent: Identity, look: Look) -> Iterator[Sighting]:
        children = self._processes.children_of(parent, verify=look.verified)
        look.complete &= children is not Absence.UNREADABLE
        if isinstance(children, list):
            yield from self._look_at(children, look)

    def _look_at(self, pids: Iterable[int], look: Look) -> Iterator[Sighting]:
        for pid in pids:
            seen = self._processes.look_at(pid, verify=look.verified)
            look.complete &= seen is not Absence.UNREADABLE
            if isinstance(seen, Sighting):
                yield seen

    def _role_of(self, process: Sighting, arguments: tuple[str, ...] | None) -> Role | None:
        """Tell the role of a child of a master, which has `arguments` where it has no title; None for a helper."""
        if process.title:
            return process.title.role
        if arguments is None or process.arguments != arguments:
            return None
        if process.identity in self._masters:
            return Role.MASTER
        if process.forked is False or (process.forked is None and self._forks(process)):
            # USR2: it has exec'ed the words of its parent.
            return Role.MASTER
        if any(word.startswith("--dirty-") for word in arguments) and self._forks(process):
            return Role.DIRTY_ARBITER
        return Role.WORKER

    def _forks(self, process: Sighting) -> bool:
        return any(child.arguments == process.arguments for child in self._children_of(process.identity, Look()))

    def _count_dirty_workers(self, arbiter: Sighting, look: Look) -> int:
        # What is unreadable here makes no number of the workers' wrong.
        children = self._children_of(arbiter.identity, Look(verified=look.verified))
        if arbiter.title:
            return sum(child.title is not None and child.title.role is Role.DIRTY_WORKER for child in children)
        return sum(child.arguments == arbiter.arguments for child in children)
