"""One application's masters and workers: found once, looked at on every run, found again when one is lost."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from datadog_checks.gunicorn.host.processes import Absence, Processes, Sighting, read_candidate
from datadog_checks.gunicorn.host.procfs import read_clock
from datadog_checks.gunicorn.servers.applications import Candidate, Identity
from datadog_checks.gunicorn.servers.titles import Role

from .shared import Host
from .usage import Usage

T = TypeVar("T")

# How old knowledge of the host may be while an application's masters are known and alive.
RESCAN_SECONDS = 45.0


@dataclass(slots=True)
class Look:
    """One look at an application's processes, which began at `at` by the clock of `procfs.read_clock`.

    `workers` gives the CPU seconds of each worker since its start. `dirty_workers` is None where there is no dirty
    arbiter. `complete` is false when a process was there that could not be read: it may have been a worker.

    The second of two looks is `verified`: each process was known to be the one that had its pid in the run before.
    It has the `usage` of masters and workers as well, and `missed`: workers of the run before that are there as far as
    anyone can tell, though they could not be read.
    """

    at: float = field(default_factory=read_clock)
    workers: dict[Identity, float] = field(default_factory=dict)
    dirty_workers: int | None = None
    complete: bool = True
    verified: bool = True
    usage: dict[Role, dict[Identity, Usage]] = field(default_factory=lambda: {Role.MASTER: {}, Role.WORKER: {}})
    missed: set[Identity] = field(default_factory=set)

    def overlooked(self, worker: Identity) -> bool:
        """Whether a worker was there at this look, or may have been, though it is not among `workers`."""
        return worker in self.missed or (not self.complete and worker.create_time <= self.at)


class Application:
    """The servers of one name, as one check instance knows them.

    Every answer is right at the moment of the look; what is kept between runs only saves looking elsewhere.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        # Those of the last run that were alive, as they were seen last.
        self.masters: dict[Identity, Candidate] = {}
        self._host = host
        self._processes = Processes()
        # Those of the last run, and by pid those of them that have titles.
        self._workers: set[Identity] = set()
        self._titled_workers: dict[int, Identity] = {}

    def find(self) -> list[Identity]:
        """List the masters that are alive, the oldest first."""
        began = time.monotonic()
        self._processes.forget_unseen()
        known = self.masters
        self.masters = dict(self._alive(known.values()))
        # The successor of a lost master can be younger than the last scan, and so can the first one.
        all_known = self.masters and len(self.masters) == len(known)
        named = self._host.masters_of(self.name, newer_than=began - RESCAN_SECONDS if all_known else began)
        self.masters |= self._alive(master for master in named if master.identity not in self.masters)
        return sorted(self.masters, key=lambda master: master.create_time)

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

        A master that USR2 started after the last scan is found here, among the children of the old one.
        """
        look = Look(verified=before is not None)
        masters = list(self.masters.values())
        for master in masters:
            children = self._children_of(master.identity, look)
            if look.verified and not self._measure(master.identity, Role.MASTER, look):
                continue
            for pid in children:
                born = dict(self._look_at_child(pid, master, look))
                masters += born.values()
                self.masters |= born
        if before:
            for orphan in before.workers.keys() - look.workers.keys():
                seen = self._look_at(orphan.pid, look)
                roles = (self._role_of(seen, master.arguments) for master in masters if seen)
                if seen and seen.identity == orphan and Role.WORKER in roles:
                    self._count_worker(orphan, look)
            self._remember(before, look)
        return look

    def _children_of(self, parent: Identity, look: Look) -> list[int]:
        return self._noted(self._processes.children_of(parent), look) or []

    def _look_at(self, pid: int, look: Look) -> Sighting | None:
        return self._noted(self._processes.look_at(pid, verify=look.verified), look)

    def _noted(self, answer: T | Absence, look: Look) -> T | None:
        look.complete &= answer is not Absence.UNREADABLE
        return None if isinstance(answer, Absence) else answer

    def _look_at_child(self, pid: int, master: Candidate, look: Look) -> Iterator[tuple[Identity, Candidate]]:
        """Count a child of a master as what it is; give it where it is a master that was not known."""
        known = self._titled_workers.get(pid)
        # A title tells a worker for the rest of its life. The first look reads one in full, to tell workers from
        # zombies; whether the others live, the second tells.
        if known and (look.verified or look.workers) and self._count_worker(known, look):
            return
        child = self._look_at(pid, look)
        match child and self._role_of(child, master.arguments):
            case Role.WORKER if child and self._count_worker(child.identity, look):
                if child.title:
                    self._titled_workers[pid] = child.identity
            case Role.DIRTY_ARBITER if child:
                look.dirty_workers = (look.dirty_workers or 0) + self._count_dirty_workers(child, look)
            case Role.MASTER if child and child.identity not in self.masters:
                yield from self._assigned_anew(child, master.identity)

    def _count_worker(self, worker: Identity, look: Look) -> bool:
        cpu_seconds: float | None
        if look.verified:
            usage = self._measure(worker, Role.WORKER, look)
            cpu_seconds = usage and usage.cpu_seconds
        else:
            cpu_seconds = self._noted(self._processes.cpu_seconds(worker), look)
        if cpu_seconds is None:
            return False
        look.workers[worker] = cpu_seconds
        return True

    def _measure(self, process: Identity, role: Role, look: Look) -> Usage | None:
        usage = self._noted(self._processes.measure(process), look)
        if usage:
            look.usage[role][process] = usage
        return usage

    def _remember(self, before: Look, look: Look) -> None:
        lost = (self._workers | before.workers.keys()) - look.workers.keys()
        if not look.complete:
            look.missed = {worker for worker in lost if self._may_live(worker)}
        self._workers = look.workers.keys() | look.missed
        self._titled_workers = {pid: worker for pid, worker in self._titled_workers.items() if worker in look.workers}

    def _may_live(self, worker: Identity) -> bool:
        seen = self._processes.look_at(worker.pid)
        return seen is Absence.UNREADABLE or (isinstance(seen, Sighting) and seen.identity == worker)

    def _role_of(self, process: Sighting, arguments: tuple[str, ...] | None) -> Role | None:
        """Tell the role of a child of a master, which has `arguments` where it has no title; None for a helper."""
        if process.title:
            return process.title.role
        if arguments is None or process.arguments != arguments:
            return None
        if process.identity in self.masters:
            return Role.MASTER
        if process.forked is False or (process.forked is None and self._forks(process)):
            # USR2: it has exec'ed the words of its parent.
            return Role.MASTER
        if any(word.startswith("--dirty-") for word in arguments) and self._forks(process):
            return Role.DIRTY_ARBITER
        return Role.WORKER

    def _forks(self, process: Sighting) -> bool:
        return any(child.arguments == process.arguments for child in self._sightings_of_children(process, Look()))

    def _count_dirty_workers(self, arbiter: Sighting, look: Look) -> int:
        # What is unreadable here makes no number of the workers' wrong.
        children = self._sightings_of_children(arbiter, Look(verified=look.verified))
        if arbiter.title:
            return sum(child.title is not None and child.title.role is Role.DIRTY_WORKER for child in children)
        return sum(child.arguments == arbiter.arguments for child in children)

    def _sightings_of_children(self, parent: Sighting, look: Look) -> Iterator[Sighting]:
        for pid in self._children_of(parent.identity, look):
            child = self._look_at(pid, look)
            if child:
                yield child
