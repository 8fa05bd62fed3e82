"""All servers that an instance watches, from run to run: those of one name, of one container, or of the whole host."""

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from datadog_checks.gunicorn.host.cpu import CpuSource, choose_source
from datadog_checks.gunicorn.host.processes import is_alive
from datadog_checks.gunicorn.host.procfs import read_clock
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.servers.applications import Assignment, Candidate
from datadog_checks.gunicorn.servers.selection import Selection
from datadog_checks.gunicorn.sockets.addresses import Address
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.namespaces import Tables

from .container_option import ContainerPid, require_one
from .departures import Departures
from .drafts import take_drafts
from .looks import FirstLook
from .results import Application, Health, Pool
from .watched import Key, PreviousRun, Watched

# The maximum age of the last look at the host while every known master is alive.
FRESH_SECONDS = 10.0


class Fleet:
    """The servers of one instance."""

    def __init__(self, selection: Selection, host: Host, bind: tuple[Address, ...] | None = None) -> None:
        """Watch the selected servers of a host.

        `bind` lists the addresses of servers whose listeners cannot be found; None counts no connections.
        """
        # A pid of the option `container` is replaced by the id of its container.
        self.selection = selection
        self.host = host
        self._bind = bind
        self.servers: dict[Key, Watched] = {}
        # How many applications the limit of `discovery` left out.
        self.left_out = 0
        # The last run; None if there was none, or if the first look at the host was not over yet.
        self._last: PreviousRun | None = None
        # When the look at the host that this run uses began.
        self._looked: float | None = None
        self._container_pid = ContainerPid()
        self._departures = Departures(selection.discovery.limit if selection.discovery else 0)

    @cached_property
    def cpu_source(self) -> CpuSource:
        """The source of the workers' CPU times."""
        return choose_source()

    @property
    def has_unclear_bind(self) -> bool:
        """Whether the option `bind` may belong to any of several applications."""
        return bool(self._bind) and len({key.name for key in self.alive}) > 1

    def find_oldest(self, *, in_containers: bool) -> tuple[Watched, Identity] | tuple[None, None]:
        """Find the oldest master, and its server, for the version.

        Without `in_containers`, only outside of containers. Returns (None, None) if there is none, and with the option
        `discovery`, for which no version is submitted.
        """
        servers = [server for key, server in self.alive.items() if in_containers or key.container is None]
        masters = [(server, master) for server in servers for master in server.masters]
        if not masters or self.selection.discovery:
            return None, None
        return min(masters, key=lambda found: found[1].create_time)

    def ask_version(self, command: Sequence[str], *, in_containers: bool) -> str | None:
        """Return the version of the oldest master; None if it is unknown. Raises VersionError, once for each master."""
        server, master = self.find_oldest(in_containers=in_containers)
        return server.ask_version(master, command) if server and master else None

    @property
    def alive(self) -> Mapping[Key, Watched]:
        """The servers that have a master."""
        return {key: server for key, server in self.servers.items() if server.masters}

    def find(self) -> None:
        """Find the masters that are alive. Raises ProcessTableError and ContainerError."""
        began = time.monotonic()
        self.selection = self._container_pid.resolve(self.selection)
        losses = [server.refresh() for server in self.servers.values()]
        # A server may also have lost its masters in the last run, after the looks.
        has_lost = any(losses) or len(self.alive) < len(self.servers)
        # A new master, or the successor of a lost one, may be younger than the last look at the host.
        is_missing = has_lost or not (self.alive or self.selection.discovery)
        found = self.host.find_masters(
            began if is_missing else began - FRESH_SECONDS,
            urgent=is_missing,
            # With `discovery`, finding nothing is normal, and the successor of a lost server is a new process.
            full=is_missing and self.selection.discovery is None,
        )
        self._looked = self.host.looked_at()
        self._join(master for master in found if self.selection.has(master.application, master.candidate.groups))

    def _join(self, found: Iterable[Assignment]) -> None:
        masters: dict[Key, list[Candidate]] = {}
        for candidate, application, _ in found:
            masters.setdefault(Key(str(application), candidate.groups.container), []).append(candidate)
        container = self.selection.container
        if container:
            require_one(container, (master.groups for each in masters.values() for master in each))
        names = self._limit({key.name for key in masters})
        for key, candidates in masters.items():
            if key.name in names:
                server = self.servers.get(key) or self._build(key)
                server.join(candidates)
                if server.masters:
                    self.servers[key] = server
        for server in self.servers.values():
            if server.connections:
                server.connections.bind = () if self.has_unclear_bind else self._bind or ()
        for key, candidates in masters.items():
            if key.name in self._departures.names and _is_any_alive(candidates):
                self._departures.forget(key.name)

    def _build(self, key: Key) -> Watched:
        connections = None if self._bind is None else Connections(self._bind)
        server = Watched(key, self.host, connections, cpu_source=self.cpu_source, previous=self._last)
        # In the last run, its workers may have counted under another name or container.
        server.moved = {worker for other in self.servers.values() for worker in other.workers}
        return server

    def _limit(self, names: set[str]) -> set[str]:
        discovery = self.selection.discovery
        if discovery is None:
            return names
        selected = discovery.select(sorted(names))
        # An application keeps its place through a restart and a move to another container.
        watched = {key.name for key, server in self.servers.items() if server.masters or key.name in names}
        new = sorted(selected - watched)
        room = max(0, discovery.limit - len(watched))
        self.left_out = len(new[room:])
        return watched.union(new[:room])

    def look(self) -> Mapping[Key, FirstLook]:
        """Take the first look at every server, before the wait."""
        return {key: server.look() for key, server in self.alive.items()}

    def sample(self, looks: Mapping[Key, FirstLook]) -> list[Application] | None:
        """Take the second look, after the wait, and conclude the run. Raises what `find` does.

        Returns the results of each application; None if nothing is running of what should be.
        """
        drafts = take_drafts(self.servers, looks)
        if any(draft.is_empty for draft in drafts.values()):
            self.find()
        pools, tables = {}, self._prepare_tables()
        for key, draft in drafts.items():
            health = draft.judge()
            if health is not Health.GONE:
                pools[key] = draft.server.conclude(draft.first, draft.second, health, tables)
        applications = self._conclude(pools, looks)
        self._last = None if self._looked is None else PreviousRun(read_clock(), self._looked)
        return applications

    def _prepare_tables(self) -> Tables:
        """Prepare to read the sockets of several servers at once."""
        expected = [server.connections.expected for server in self.servers.values() if server.connections]
        has_several = sum(map(bool, expected)) > 1
        return Tables(frozenset(itertools.chain.from_iterable(expected)) if has_several else frozenset())

    def _conclude(self, pools: Mapping[Key, Pool], looks: Mapping[Key, FirstLook]) -> list[Application] | None:
        """Group the results by application, and conclude the servers that are gone."""
        alive = {key.name for key in [*self.alive, *pools]}
        elsewhere = {worker for key in pools for worker in self.servers[key].workers}
        is_missing = not alive and self.selection.discovery is None
        found: dict[str, list[tuple[str | None, Pool]]] = {name: [] for name in sorted(alive)}
        for key, server in list(self.servers.items()):
            if key in pools:
                found[key.name].append((key.container, pools[key]))
            elif is_missing:
                server.skip_run()
            elif server.masters:
                # It appeared during the run.
                server.skip_run()
                found[key.name].append((key.container, Pool(Health.NEW)))
            else:
                del self.servers[key]
                found.setdefault(key.name, []).append((key.container, server.end(looks.get(key), elsewhere)))
                if key.container is None and key.name not in alive:
                    self._departures.record(key.name)
        self._departures.forget_old()
        if is_missing:
            return None
        departed = self._departures.names
        names = dict.fromkeys([*found, *departed])
        return [Application(name, found.get(name, ()), missing=name in departed) for name in names]


def _is_any_alive(masters: Iterable[Candidate]) -> bool:
    return any(is_alive(master.identity) for master in masters)
