"""One application over many runs: its masters, workers, connections and version, and the last look at them."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from datadog_checks.gunicorn.host.cpu import CpuSource
from datadog_checks.gunicorn.host.processes import Absence
from datadog_checks.gunicorn.host.procfs import read_clock
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.roles import Sighting
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import Address
from datadog_checks.gunicorn.sockets.connections import Connections, Counts

from .candidates import build_candidate, read_candidate
from .churn import Churn, count_churn
from .looks import FirstLook, Sample
from .registry import Host
from .sampling import Sampler
from .states import States, count_states
from .usage import Usage, compute_cpu_percent
from .version import read_version

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
        self._sampler = Sampler(self._adopt)
        self._last: Sample | None = None
        # When the last run looked, also if it found no master.
        self._ran = 0.0
        self._version_of: Identity | None = None
        self._version: str | None = None

    @property
    def cpu_source(self) -> CpuSource:
        """The source of its workers' CPU times."""
        return self._sampler.cpu_source

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
            elif (
                isinstance(now, Candidate)
                and now.identity == master.identity
                and (now.is_same(master) or self.host.learn(now) == self.name)
            ):
                yield now.identity, now

    def _adopt(self, seen: Sighting, parent: Candidate) -> Iterator[Candidate]:
        """Add a child of a master that is a master of this application itself: USR2 started it after the last look."""
        candidate = build_candidate(seen)
        if candidate and self.host.learn(candidate, parent.identity) == self.name:
            self.masters[candidate.identity] = candidate
            yield candidate

    def look(self) -> FirstLook:
        """Take the first look, before the wait."""
        return self._sampler.look(self.masters.values())

    def sample(self, first: FirstLook) -> Pool:
        """Take the second look, after the wait, and compare it with the first and with the previous run."""
        masters = set(self.masters)
        sample = self._search(first)
        health = self._judge(first, sample, masters)
        last = self._last
        if health is not Health.GONE:
            self._last = sample
        since, self._ran = self._ran, sample.at
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
            cpu=self._compute_cpu(last, since, sample) if last and sample.complete else {},
            connections=self.connections.look(self.masters, sample.workers) if self.connections else {},
        )

    def _search(self, first: FirstLook) -> Sample:
        """Take the second look; if neither look sees a worker, repeat it for SEARCH_SECONDS."""
        before = self._last.workers.keys() | self._last.missed if self._last else set[Identity]()
        sample = self._sampler.sample(self.masters.values(), first, before)
        end = time.monotonic() + SEARCH_SECONDS
        while not (sample.workers or first.has_workers) and time.monotonic() < end:
            time.sleep(_SEARCH_PAUSE)
            sample = self._sampler.sample(self.masters.values(), first, before)
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

    def _count_churn(self, last: Sample, first: FirstLook, sample: Sample) -> Churn:
        seen = first.workers.keys() | sample.workers.keys()
        before = last.workers.keys() | {worker for worker in seen | last.missed if last.overlooked(worker)}
        return count_churn(before, seen, sample.workers.keys() | sample.missed)

    def _compute_cpu(self, last: Sample, since: float, sample: Sample) -> Mapping[Role, float | None]:
        return {
            role: compute_cpu_percent(last.usage[role], usage, since, sample.at)
            for role, usage in sample.usage.items()
            if usage
        }

    def miss(self) -> None:
        """Record a run without a master; workers started and exited meanwhile count when a master is back."""
        self._ran = read_clock()
        self._last = replace(self._last or Sample(self._ran, complete=False), usage=Sample(0.0).usage)

    def ask_version(self, master: Identity, command: Sequence[str]) -> str | None:
        """Return the version of a master's Gunicorn. `command` runs once for each master, and the result is cached.

        A failure raises VersionError in the first call only; later calls return None.
        """
        if self._version_of != master:
            self._version_of, self._version = master, None
            self._version = read_version(command)
        return self._version
