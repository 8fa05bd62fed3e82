"""One server over many runs: its masters, workers, connections and version, and the last look at them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from datadog_checks.gunicorn.host.cpu import CpuSource, choose_source
from datadog_checks.gunicorn.host.processes import Absence
from datadog_checks.gunicorn.host.procfs import read_clock
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.scanning.candidates import build_candidate, read_candidate
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.roles import Sighting
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.namespaces import Tables

from .churn import Churn, Roster, count_churn
from .heartbeats import list_known
from .looks import FirstLook, SecondLook
from .results import Health, Pool
from .sampling import Sampler
from .states import States, count_states
from .usage import compute_cpu_percent
from .version import read_version


class Key(NamedTuple):
    """Identifies servers within an instance: their name and the id of their container, None outside of containers."""

    name: str
    container: str | None = None


class PreviousRun(NamedTuple):
    """When an instance last ran, and when the look at the host that the run used began.

    Both are by the clock of `procfs.read_clock`. Instances share looks, so they may be seconds apart.
    """

    ran: float
    looked: float


class Watched:
    """The servers of one application in one container, or outside of containers, as an instance knows them.

    Every result is verified at the time of the look; the state kept between runs only saves further reads.
    """

    def __init__(
        self,
        key: Key,
        host: Host,
        connections: Connections | None = None,
        *,
        cpu_source: CpuSource | None = None,
        previous: PreviousRun | None = None,
    ) -> None:
        """Watch the servers of a `key`, and their connections if `connections` is given.

        `previous` is the instance's previous run, if there was one: it did not know these servers yet.
        """
        self.name, self.container = key
        self.connections = connections
        # The masters that were alive in the last run, as last seen.
        self.masters: dict[Identity, Candidate] = {}
        self.host = host
        self._sampler = Sampler(self._adopt, cpu_source or choose_source())
        # The second look of the last run; None if that did not look.
        self.last: SecondLook | None = None
        # Without a previous run, churn and CPU are unknown. With one, workers that are older than its look at the host
        # were alive then, in a server that was moved, renamed or left out; younger ones have started since.
        self._roster = Roster(previous.looked) if previous else None
        # When the last run looked, also if it found no master.
        self._ran = previous.ran if previous else 0.0
        # Workers that the last run counted for other servers of the instance.
        self.moved: AbstractSet[Identity] = frozenset()
        self._version_of: Identity | None = None
        self._version: str | None = None

    @property
    def workers(self) -> AbstractSet[Identity]:
        """The workers of the last look."""
        return self._roster.workers if self._roster else frozenset()

    def refresh(self) -> bool:
        """Read the known masters again, forget those that are gone, and return whether any were."""
        known = self.masters
        self.masters = dict(self._find_alive(known.values()))
        return len(self.masters) < len(known)

    def join(self, masters: Iterable[Candidate]) -> None:
        """Add those of these masters that are alive."""
        self.masters |= self._find_alive(master for master in masters if master.identity not in self.masters)

    def _find_alive(self, masters: Iterable[Candidate]) -> Iterator[tuple[Identity, Candidate]]:
        for master in masters:
            current = read_candidate(master.identity.pid)
            if current is Absence.UNREADABLE:
                yield master.identity, master
            elif isinstance(current, Candidate) and current.identity == master.identity and self._contains(current):
                application = self.name if current.is_same(master) else self.host.learn(current)
                if application == self.name:
                    yield current.identity, current

    def _contains(self, candidate: Candidate) -> bool:
        return candidate.groups.container == self.container

    def _adopt(self, sighting: Sighting, parent: Candidate) -> Iterator[Candidate]:
        """Add a child of a master that is a master of this application itself: USR2 started it after the last look."""
        candidate = build_candidate(sighting)
        if candidate is None or not self._contains(candidate):
            return
        application = self.host.learn(candidate, parent.identity)
        if application == self.name:
            self.masters[candidate.identity] = candidate
            yield candidate

    def look(self) -> FirstLook:
        """Take the first look, before the wait."""
        return self._sampler.look(self.masters.values())

    def sample(self, first: FirstLook) -> SecondLook:
        """Take the second look, after the wait."""
        before = self._roster.workers | self._roster.missed if self._roster else frozenset()
        return self._sampler.sample(self.masters.values(), first, before)

    def conclude(self, first: FirstLook, second: SecondLook, health: Health, tables: Tables) -> Pool:
        """Compare the second look with the first and with the previous run, and count the connections.

        `tables` holds what the run has read for other servers.
        """
        seen, alive = first.workers.keys() | second.workers.keys(), second.workers.keys() | second.missed
        churn, cpu = self._count_churn(seen, alive), self._compute_cpu(second)
        self.last, self._ran = second, second.at
        self._roster = Roster(second.at, second.workers.keys(), second.missed, second.complete)
        return Pool(
            health=health,
            states={
                Health.WELL: count_states(second.workers.values()),
                Health.WITHOUT_WORKERS: States(idle=0, working=0),
            }.get(health),
            dirty_workers=second.dirty_workers,
            uptime=max((max(0.0, second.at - master.create_time) for master in self.masters), default=None),
            churn=churn,
            # Not negative for a worker that started during the look.
            ages=[max(0.0, second.at - worker.create_time) for worker in second.workers] if second.complete else None,
            heartbeats=list_known(second.heartbeats, second.workers, second.at) if second.complete else None,
            usage={role: [*usage.values()] for role, usage in second.usage.items()} if second.complete else None,
            cpu=cpu,
            connections=self.connections.look(self.masters, second.workers, tables) if self.connections else {},
            configured=self.connections.configured if self.connections else frozenset(),
        )

    def end(self, first: FirstLook | None, elsewhere: AbstractSet[Identity]) -> Pool:
        """Conclude a run in which the last master is gone: its workers have exited, unless they are `elsewhere` now."""
        seen = first.workers.keys() if first else frozenset()
        return Pool(Health.GONE, churn=self._count_churn(seen, elsewhere))

    def _count_churn(self, seen: AbstractSet[Identity], alive: AbstractSet[Identity]) -> Churn | None:
        if self._roster is None:
            return None
        return count_churn(self._roster.list_alive(seen) | (self.moved & seen), seen, alive)

    def _compute_cpu(self, second: SecondLook) -> Mapping[Role, float | None] | None:
        if self._roster is None or not second.complete:
            return None
        return {
            role: compute_cpu_percent(self.last.usage[role] if self.last else {}, usage, self._ran, second.at)
            for role, usage in second.usage.items()
            if usage
        }

    def skip_run(self) -> None:
        """Record a run without a master to look at; workers that start or exit meanwhile count in a later run."""
        self.last, self._ran = None, read_clock()
        self._roster = self._roster or Roster(self._ran)

    def ask_version(self, master: Identity, command: Sequence[str]) -> str | None:
        """Return the version of a master's Gunicorn. `command` runs once for each master, and the result is cached.

        A failure raises VersionError in the first call only; later calls return None.
        """
        if self._version_of != master:
            self._version_of, self._version = master, None
            self._version = read_version(command)
        return self._version
