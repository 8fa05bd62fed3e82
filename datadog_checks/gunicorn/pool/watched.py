"""One application over many runs: its masters, workers, connections and version, and the last look at them."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple, TypeVar

from datadog_checks.gunicorn.host.cpu import CpuSource, Reading, choose_source, compute_used, read_cpu
from datadog_checks.gunicorn.host.identity import Identity
from datadog_checks.gunicorn.host.processes import Absence, attempt, read_children, read_process, read_rss, read_stat
from datadog_checks.gunicorn.host.procfs import Stat, read_clock
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.roles import Sighting, find_role, is_dirty_worker, recognize
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import Address
from datadog_checks.gunicorn.sockets.connections import Connections, Counts

from .churn import Churn, count_churn
from .looks import FirstLook, Sample
from .shared import Host, build_candidate, read_candidate
from .states import States, count_states
from .usage import Usage, compute_cpu_percent
from .version import read_version

T = TypeVar("T")

# The maximum age of the last look at the host while an application's masters are known and alive.
FRESH_SECONDS = 10.0
# A pool with one sync worker that is replaced after each request has no worker for up to 0.08 s (measured).
SEARCH_SECONDS = 0.1
_SEARCH_PAUSE = 0.002


class Health(Enum):
    """The result of the two looks of a run at an application."""

    # It has workers.
    WELL = auto()
    # Its masters have no workers.
    WITHOUT_WORKERS = auto()
    # Its workers vanished during the run, or could not be read.
    UNCLEAR = auto()
    # Its masters have exited.
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Pool:
    """The results of one run for an application; None for unknown values.

    `ages` and `uptime` are in seconds, `cpu` in percent of one core.
    """

    health: Health
    states: States | None = None
    dirty_workers: int | None = None
    uptime: float | None = None
    churn: Churn | None = None
    ages: Sequence[float] = ()
    usage: Mapping[Role, Sequence[Usage]] | None = None
    cpu: Mapping[Role, float | None] | None = None
    connections: Mapping[Address, Counts] | None = None


class _Child(NamedTuple):
    """A child of a master whose role is known for the rest of its life."""

    identity: Identity
    role: Role


class _Measured(NamedTuple):
    """The resources of the current owner of a pid; its identity was read last."""

    identity: Identity
    reading: Reading
    usage: Usage


class Watched:
    """The servers of one name, as one check instance knows them.

    Every result is verified at the time of the look; the state kept between runs only saves further reads.
    """

    def __init__(
        self, name: str, host: Host, connections: Connections | None = None, masters: Iterable[Candidate] = ()
    ) -> None:
        """Watch the servers called `name`, and their connections if `connections` is given.

        `masters` are those already known to be alive.
        """
        self.name = name
        self.connections = connections
        # The masters that were alive in the last run, as last seen.
        self.masters: dict[Identity, Candidate] = {master.identity: master for master in masters}
        self.host = host
        # By pid: the masters' children of the last run whose roles are final.
        self._children: dict[int, _Child] = {}
        self._last: Sample | None = None
        self._version_of: Identity | None = None
        self._version: str | None = None

    @cached_property
    def cpu_source(self) -> CpuSource:
        """The source of the CPU times of its workers."""
        return choose_source()

    def find(self) -> list[Identity]:
        """List the masters that are alive, the oldest first."""
        began = time.monotonic()
        known = self.masters
        self.masters = dict(self._find_alive(known.values()))
        # A new master, or the successor of a lost one, may be younger than the last look at the host.
        is_missing = not self.masters or len(self.masters) < len(known)
        newer_than = began if is_missing else began - FRESH_SECONDS
        named = self.host.masters_of(self.name, newer_than, urgent=is_missing)
        self.masters |= self._find_alive(master for master in named if master.identity not in self.masters)
        return sorted(self.masters, key=lambda master: master.create_time)

    def _find_alive(self, masters: Iterable[Candidate]) -> Iterator[tuple[Identity, Candidate]]:
        for master in masters:
            now = read_candidate(master.identity.pid)
            if now is Absence.UNREADABLE:
                yield master.identity, master
            elif isinstance(now, Candidate) and now.identity == master.identity:
                yield from [(now.identity, now)] if now.is_same(master) else self._learn(now)

    def _learn(self, candidate: Candidate, parent: Identity | None = None) -> Iterator[tuple[Identity, Candidate]]:
        if self.host.learn(candidate, parent) == self.name:
            yield candidate.identity, candidate

    def look(self) -> FirstLook:
        """Take the first look, before the wait, at the CPU time of each worker so far."""
        look = FirstLook(read_clock())
        # A new master by USR2 that is younger than the last look at the host is found as a child of the old one.
        masters = list(self.masters.values())
        for master in masters:
            for pid in self._noted(attempt(read_children, master.identity.pid), look) or ():
                child = self._children.get(pid)
                if child is None or not look.has_workers:
                    # Read one worker in full, to make sure that it is no zombie; the second look checks the others.
                    stat = self._noted(attempt(read_stat, pid), look)
                    child = self._identify(pid, master, look, masters, stat and stat.started)
                    look.has_workers |= child is not None and child.role is Role.WORKER
                if child and child.role is Role.WORKER:
                    reading = self._noted(attempt(read_cpu, self.cpu_source, pid), look)
                    if reading is not None:
                        look.workers[child.identity] = reading
        return look

    def _noted(self, answer: T | Absence, look: FirstLook | Sample) -> T | None:
        look.complete &= answer is not Absence.UNREADABLE
        return None if isinstance(answer, Absence) else answer

    def _identify(
        self, pid: int, master: Candidate, look: FirstLook | Sample, masters: list[Candidate], started: float | None
    ) -> _Child | None:
        """Find the role of a master's child, and read it in full unless its role is known already.

        `started` is the start time of the pid's current owner, or None if it has ended. A child that is a master of
        this application is added to `masters`.
        """
        known = self._children.get(pid)
        if started is None or (known and known.identity.create_time == started):
            return known if started is not None else None
        process = self._noted(attempt(read_process, pid), look)
        if process is None:
            return None
        seen = recognize(process)
        role = find_role(seen, master.arguments, lambda: self._leads(seen))
        if role is Role.MASTER and process.identity not in self.masters:
            candidate = build_candidate(seen)
            born = dict(self._learn(candidate, master.identity)) if candidate else {}
            masters += born.values()
            self.masters |= born
        if role not in (Role.WORKER, Role.DIRTY_ARBITER):
            # A new worker may look like a helper for some milliseconds: do not remember it.
            return None
        child = self._children[pid] = _Child(process.identity, role)
        return child

    def _leads(self, seen: Sighting) -> bool:
        children = attempt(read_children, seen.process.identity.pid)
        found = (attempt(read_process, pid) for pid in children) if isinstance(children, list) else ()
        return any(recognize(child).arguments == seen.arguments for child in found if not isinstance(child, Absence))

    def sample(self, first: FirstLook) -> Pool:
        """Take the second look, after the wait, and compare it with the first and with the previous run."""
        masters = set(self.masters)
        sample = self._search(first)
        health = self._judge(first, sample, masters)
        last, self._last = self._last, sample
        return Pool(
            health=health,
            states={
                Health.WELL: count_states(sample.workers.values()),
                Health.WITHOUT_WORKERS: States(idle=0, working=0),
            }.get(health),
            dirty_workers=sample.dirty_workers,
            uptime=max((max(0.0, sample.at - master.create_time) for master in self.masters), default=None),
            churn=self._count_churn(last, first, sample) if last else None,
            # Not negative for a worker that started during the look.
            ages=[max(0.0, sample.at - worker.create_time) for worker in sample.workers] if sample.complete else (),
            usage={role: [*usage.values()] for role, usage in sample.usage.items()} if sample.complete else {},
            cpu=self._compute_cpu(last, sample) if last and sample.complete else {},
            connections=self.connections.look(self.masters, sample.workers) if self.connections else {},
        )

    def _search(self, first: FirstLook) -> Sample:
        """Take the second look; if neither look sees a worker, repeat it for SEARCH_SECONDS."""
        sample = self._take_sample(first)
        end = time.monotonic() + SEARCH_SECONDS
        while not (sample.workers or first.has_workers) and time.monotonic() < end:
            time.sleep(_SEARCH_PAUSE)
            sample = self._take_sample(first)
        return sample

    def _judge(self, first: FirstLook, sample: Sample, masters: Collection[Identity]) -> Health:
        if sample.workers:
            return Health.WELL
        if first.has_workers or not (first.complete and sample.complete):
            return Health.UNCLEAR
        now = self.find()
        if not now:
            return Health.GONE
        return Health.WITHOUT_WORKERS if set(now) == masters else Health.UNCLEAR

    def _take_sample(self, first: FirstLook) -> Sample:
        sample = Sample(read_clock())
        seen: dict[int, _Child] = {}
        masters = list(self.masters.values())
        for master in masters:
            # Read before the master itself, whose workers are reparented when it exits.
            children = self._noted(attempt(read_children, master.identity.pid), sample) or ()
            measured = self._measure(master.identity.pid, sample)
            if not measured or measured.identity != master.identity:
                continue
            sample.usage[Role.MASTER][master.identity] = measured.usage
            for pid in children:
                measured = self._measure(pid, sample)
                child = measured and self._identify(pid, master, sample, masters, measured.identity.create_time)
                if measured and child and child.identity == measured.identity:
                    seen[pid] = child
                    self._note_child(child, master, measured, first, sample)
        self._children = seen
        for orphan in first.workers.keys() - sample.workers.keys():
            measured = self._measure(orphan.pid, sample)
            if measured and measured.identity == orphan:
                self._note_worker(measured, first, sample)
        if not sample.complete:
            known = self._last.workers.keys() | self._last.missed if self._last else set()
            lost = (known | first.workers.keys()) - sample.workers.keys()
            sample.missed = {worker for worker in lost if _may_live(worker)}
        return sample

    def _note_child(
        self, child: _Child, master: Candidate, measured: _Measured, first: FirstLook, sample: Sample
    ) -> None:
        match child.role:
            case Role.WORKER:
                self._note_worker(measured, first, sample)
            case Role.DIRTY_ARBITER:
                sample.dirty_workers = (sample.dirty_workers or 0) + self._count_dirty_workers(child, master)

    def _count_dirty_workers(self, arbiter: _Child, master: Candidate) -> int:
        # What cannot be read here does not affect the worker counts.
        children = attempt(read_children, arbiter.identity.pid)
        found = [attempt(read_process, pid) for pid in children] if isinstance(children, list) else []
        return sum(
            is_dirty_worker(recognize(child), master.arguments) for child in found if not isinstance(child, Absence)
        )

    def _note_worker(self, measured: _Measured, first: FirstLook, sample: Sample) -> None:
        worker = measured.identity
        # A worker that the first look missed counts as idle if it is older: lists of children are unreliable while
        # siblings exit.
        unseen: Reading | None = None if worker.create_time > first.at else {}
        sample.workers[worker] = compute_used(first.workers.get(worker, unseen), measured.reading)
        sample.usage[Role.WORKER][worker] = measured.usage

    def _measure(self, pid: int, sample: Sample) -> _Measured | None:
        """Read the resources of the current owner of a pid."""
        reading = self._noted(attempt(read_cpu, self.cpu_source, pid), sample)
        rss = self._noted(attempt(read_rss, pid), sample)
        # Read last, to prove that the readings belong to this process.
        stat = self._noted(attempt(read_stat, pid), sample)
        if reading is None or rss is None or stat is None:
            return None
        cpu_seconds = reading[0] / 1e9 if self.cpu_source is CpuSource.CLOCK else stat.cpu_seconds
        return _Measured(Identity(pid, stat.started), reading, Usage(cpu_seconds, rss, stat.threads))

    def _count_churn(self, last: Sample, first: FirstLook, sample: Sample) -> Churn:
        seen = first.workers.keys() | sample.workers.keys()
        before = last.workers.keys() | {worker for worker in seen | last.missed if last.overlooked(worker)}
        return count_churn(before, seen, sample.workers.keys() | sample.missed)

    def _compute_cpu(self, last: Sample, sample: Sample) -> Mapping[Role, float | None]:
        return {
            role: compute_cpu_percent(last.usage[role], usage, last.at, sample.at)
            for role, usage in sample.usage.items()
            if usage
        }

    def miss(self) -> None:
        """Record a run without a master; workers started and exited meanwhile count when a master is back."""
        self._last = replace(self._last or Sample(read_clock(), complete=False), usage=Sample(0.0).usage)

    def ask_version(self, master: Identity, command: Sequence[str]) -> str | None:
        """Return the version of a master's Gunicorn. `command` runs once for each master, and the result is cached.

        A failure raises VersionError in the first call only; later calls return None.
        """
        if self._version_of != master:
            self._version_of, self._version = master, None
            self._version = read_version(command)
        return self._version


def _may_live(worker: Identity) -> bool:
    stat = attempt(read_stat, worker.pid)
    return stat is Absence.UNREADABLE or (isinstance(stat, Stat) and stat.started == worker.create_time)
