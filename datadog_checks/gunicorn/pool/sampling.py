"""The two looks at an application's processes: whatever is read of them is read here."""

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

from datadog_checks.gunicorn.host.cpu import CpuSource, compute_used, read_cpu
from datadog_checks.gunicorn.host.processes import Absence, attempt, read_children, read_process, read_rss, read_stat
from datadog_checks.gunicorn.host.procfs import read_clock
from datadog_checks.gunicorn.host.values import Identity, Reading, Stat
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.roles import Sighting, find_role, is_dirty_worker, recognize
from datadog_checks.gunicorn.servers.titles import Role

from .heartbeats import Heartbeats
from .looks import FirstLook, SecondLook
from .usage import Usage

T = TypeVar("T")


class _Child(NamedTuple):
    """A child of a master whose role is known for the rest of its life."""

    identity: Identity
    role: Role


class _Measured(NamedTuple):
    """The resources of the current owner of a pid; its identity was read last."""

    identity: Identity
    reading: Reading
    usage: Usage


class Sampler:
    """Looks at the processes of some masters, and remembers the roles of their children from look to look."""

    def __init__(self, adopt: Callable[[Sighting, Candidate], Iterable[Candidate]], cpu_source: CpuSource) -> None:
        """Take a function that decides about a child of a master that is a master itself (USR2).

        It gives the child as a candidate if it belongs to the same application, otherwise nothing.
        """
        self._adopt = adopt
        self._cpu_source = cpu_source
        # The children of the last look whose roles are known, by pid.
        self._children: dict[int, _Child] = {}
        self._heartbeats = Heartbeats()

    def look(self, masters: Iterable[Candidate]) -> FirstLook:
        """Take the first look, before the wait, at the CPU time of each worker so far."""
        look = FirstLook(read_clock(), time.monotonic())
        # Grows during the loop: a new master by USR2 that is younger than the last look at the host is found as a child
        # of the old one.
        growing = list(masters)
        for master in growing:
            for pid in self._unwrap(attempt(read_children, master.identity.pid), look) or ():
                child = self._children.get(pid)
                if child is None or not look.has_workers:
                    # Read one worker in full, to make sure that it is no zombie; the second look checks the others.
                    stat = self._unwrap(attempt(read_stat, pid), look)
                    child = self._identify(pid, master, look, growing, stat and stat.started)
                    look.has_workers |= child is not None and child.role is Role.WORKER
                if child and child.role is Role.WORKER:
                    reading = self._unwrap(attempt(read_cpu, self._cpu_source, pid), look)
                    if reading is not None:
                        look.workers[child.identity] = reading
        return look

    def _unwrap(self, answer: T | Absence, look: FirstLook | SecondLook) -> T | None:
        """Return the value that was read, or None; an unreadable process makes the look incomplete."""
        look.complete &= answer is not Absence.UNREADABLE
        return None if isinstance(answer, Absence) else answer

    def _identify(
        self, pid: int, master: Candidate, look: FirstLook | SecondLook, masters: list[Candidate], started: float | None
    ) -> _Child | None:
        """Find the role of a master's child; reads the child in full unless its role is known already.

        `started` is the start time of the pid's current owner, or None if it has ended. A child that is a master of
        this application is added to `masters`.
        """
        if started is None:
            return None
        known = self._children.get(pid)
        if known and known.identity.create_time == started:
            return known
        process = self._unwrap(attempt(read_process, pid), look)
        if process is None:
            return None
        sighting = recognize(process)
        role = find_role(sighting, master.arguments, lambda: self._leads(sighting))
        if role is Role.MASTER and not any(other.identity == process.identity for other in masters):
            masters += self._adopt(sighting, master)
        if role not in (Role.WORKER, Role.DIRTY_ARBITER):
            # A new worker may look like a helper for some milliseconds: do not remember it.
            if process.stat.forked and (sighting.title or sighting.arguments is not None):
                look.last_fork = max(look.last_fork, process.identity.create_time)
            return None
        child = self._children[pid] = _Child(process.identity, role)
        return child

    def _leads(self, sighting: Sighting) -> bool:
        children = attempt(read_children, sighting.process.identity.pid)
        found = (attempt(read_process, pid) for pid in children) if isinstance(children, list) else ()
        own = sighting.arguments
        return any(recognize(child).arguments == own for child in found if not isinstance(child, Absence))

    def sample(self, masters: Iterable[Candidate], first: FirstLook, before: AbstractSet[Identity]) -> SecondLook:
        """Take the second look. `before` are the workers of the previous run that may be alive."""
        second = SecondLook(read_clock(), seconds=time.monotonic() - first.began)
        known: dict[int, _Child] = {}
        growing = list(masters)
        for master in growing:
            # Read before the master itself, whose workers are reparented when it exits.
            children = self._unwrap(attempt(read_children, master.identity.pid), second) or ()
            measured = self._measure(master.identity.pid, second)
            if not measured or measured.identity != master.identity:
                continue
            second.usage[Role.MASTER][master.identity] = measured.usage
            for pid in children:
                measured = self._measure(pid, second)
                child = measured and self._identify(pid, master, second, growing, measured.identity.create_time)
                if measured and child and child.identity == measured.identity:
                    known[pid] = child
                    self._record_child(child, master, measured, first, second)
        self._children = known
        # Workers whose master exited after the first look, and those that the list of its children lacked.
        for orphan in first.workers.keys() - second.workers.keys():
            measured = self._measure(orphan.pid, second)
            if measured and measured.identity == orphan:
                self._record_worker(measured, first, second)
        self._heartbeats.keep_only(second.workers)
        if not second.complete:
            lost = (before | first.workers.keys()) - second.workers.keys()
            second.missed = {worker for worker in lost if _may_live(worker)}
        return second

    def _record_child(
        self, child: _Child, master: Candidate, measured: _Measured, first: FirstLook, second: SecondLook
    ) -> None:
        match child.role:
            case Role.WORKER:
                self._record_worker(measured, first, second)
            case Role.DIRTY_ARBITER:
                second.dirty_workers = (second.dirty_workers or 0) + self._count_dirty_workers(child, master)

    def _count_dirty_workers(self, arbiter: _Child, master: Candidate) -> int:
        # What cannot be read here does not affect the worker counts.
        children = attempt(read_children, arbiter.identity.pid)
        found = [attempt(read_process, pid) for pid in children] if isinstance(children, list) else []
        return sum(
            is_dirty_worker(recognize(child), master.arguments) for child in found if not isinstance(child, Absence)
        )

    def _record_worker(self, measured: _Measured, first: FirstLook, second: SecondLook) -> None:
        worker = measured.identity
        # A worker that the first look missed counts as idle if it is older: lists of children are unreliable while
        # siblings exit.
        unseen: Reading | None = None if worker.create_time > first.at else {}
        second.workers[worker] = compute_used(first.workers.get(worker, unseen), measured.reading)
        second.usage[Role.WORKER][worker] = measured.usage
        heartbeat = self._heartbeats.read_age(worker, second.at)
        if heartbeat is not None:
            second.heartbeats[worker] = heartbeat

    def _measure(self, pid: int, second: SecondLook) -> _Measured | None:
        """Read the resources of the current owner of a pid."""
        reading = self._unwrap(attempt(read_cpu, self._cpu_source, pid), second)
        rss = self._unwrap(attempt(read_rss, pid), second)
        # Read last, to prove that the readings belong to this process.
        stat = self._unwrap(attempt(read_stat, pid), second)
        if reading is None or rss is None or stat is None:
            return None
        cpu_seconds = reading[0] / 1e9 if self._cpu_source is CpuSource.CLOCK else stat.cpu_seconds
        return _Measured(Identity(pid, stat.started), reading, Usage(cpu_seconds, rss, stat.threads))


def _may_live(worker: Identity) -> bool:
    stat = attempt(read_stat, worker.pid)
    return stat is Absence.UNREADABLE or (isinstance(stat, Stat) and stat.started == worker.create_time)
