"""A simulated server, which sends what the check, Gunicorn and its error log would send.

It simulates what the metrics show, not the processes. The connections in the pool at each look are drawn from the
stationary distribution of a queue with Poisson arrivals and exponential service (M/M/c), which is harsher than most
real traffic. Workers are born and end at exact times; ages, starts and exits follow from these. Heartbeats follow what
was measured for sync workers: an idle one has one every half of `timeout`, and one in a request has none
(docs/numbers.md, "Stuck workers").
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from .telemetry import Tags, Telemetry

INTERVAL = 15
DAY, HOUR = 86400.0, 3600.0
TIMEOUT = 30.0
MIB = 2**20


@dataclass
class ClientLoad:
    """What the clients do.

    Attributes:
        taken: Requests in flight for each worker, on average; from 1 on, the queue grows.
        cpu: CPU seconds that each worker uses in a second.
        requests: Requests per second.
        errors: Server errors per request.
        seconds: How long a request takes.
        held: Connections that clients keep open for long, at most one for each worker.
        open: Further connections, which workers of an asynchronous class keep open.

    """

    taken: float = 0.3
    cpu: float = 0.1
    requests: float = 50.0
    errors: float = 0.001
    seconds: float = 0.02
    held: int = 0
    open: int = 0


@dataclass(eq=False)
class StoryWorker:
    """A worker process: times in seconds, how long it has served requests, and how many bytes it has leaked."""

    born: float
    ends: float
    phase: float
    stuck: float | None = None
    served: float = 0.0
    leaked: float = 0.0


@dataclass
class StoryServer:
    """One server, and the settings that a story changes while time passes.

    Attributes:
        load: Maps the time in seconds to the load.
        lifetime: Seconds until a worker is replaced, as by --max-requests or by a crash; None for no limit.
        reports: Whether its host runs.
        idle_beat: Seconds between the heartbeats of an idle worker.
        leak: Bytes that each worker leaks in a second.
        loading: CPU seconds that a worker takes to load the application.
        cache: Bytes that a worker's caches hold when they are warm: they fill while it serves requests.
        exit_message: What the master logs when a worker reaches its lifetime, if anything.
        more_tags: Tags of the instance.
        stays_stuck: Whether a worker that replaces a stuck one is stuck, too.

    """

    name: str = "shop"
    host: str = "web-1"
    size: int = 4
    load: Callable[[float], ClientLoad] = lambda _: ClientLoad()
    lifetime: float | None = None
    # Waiting for half of the timeout takes a little longer than that.
    idle_beat: float = TIMEOUT / 2 + 0.02
    leak: float = 0.0
    loading: float = 2.0
    cache: float = 150 * MIB
    exit_message: str = ""
    more_tags: frozenset[str] = frozenset()
    reports: bool = True
    seed: int = 7
    now: float = 0.0
    queue: float = 0.0
    workers: list[StoryWorker] = field(default_factory=list)
    masters: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.seen: set[StoryWorker] | None = None
        self.stays_stuck = False
        self.start()
        # The story begins in the middle of a server's life.
        self.masters = [-DAY]
        for worker in self.workers:
            worker.born = -DAY if self.lifetime is None else -self.random.random() * self.lifetime
            worker.served = -worker.born * 0.3
            worker.ends = math.inf if self.lifetime is None else worker.born + self.draw_lifetime()

    @cached_property
    def tags(self) -> Tags:
        return frozenset({f"app:{self.name}", f"host:{self.host}", f"service:{self.name}", *self.more_tags})

    def draw_lifetime(self) -> float:
        return math.inf if self.lifetime is None else self.lifetime * self.random.uniform(0.9, 1.1)

    def fork(self) -> StoryWorker:
        return StoryWorker(self.now, self.now + self.draw_lifetime(), self.random.random() * self.idle_beat)

    # What operators and orchestrators do.

    def start(self) -> None:
        self.masters = [self.now]
        self.workers = [self.fork() for _ in range(self.size)]

    def stop(self) -> None:
        self.masters, self.workers, self.queue = [], [], 0.0

    def reload(self) -> None:
        """HUP: all workers are replaced."""
        self.workers = [self.fork() for _ in range(self.size)]

    def upgrade(self) -> None:
        """USR2: a second master and its workers beside the first."""
        self.masters.append(self.now)
        self.workers += [self.fork() for _ in range(self.size)]

    def finish_upgrade(self) -> None:
        self.masters = self.masters[-1:]
        self.workers = self.workers[-self.size :]

    def resize(self, size: int) -> None:
        """TTIN and TTOU: the oldest workers go first."""
        self.size = size
        missing = size - len(self.workers)
        self.workers = self.workers[max(-missing, 0) :] + [self.fork() for _ in range(missing)]

    def set_lifetime(self, lifetime: float | None) -> None:
        self.lifetime = lifetime
        for worker in self.workers:
            worker.ends = self.now + self.draw_lifetime()

    def make_stuck(self, count: int) -> None:
        for worker in self.workers[:count]:
            worker.stuck = self.now

    # What happens by itself.

    def pass_until(self, time: float, telemetry: Telemetry) -> None:
        """Let workers end, or be killed when they time out; the master replaces each at once."""
        while True:
            ending = [(worker.ends, worker) for worker in self.workers if worker.ends <= time]
            ending += [
                (worker.stuck + TIMEOUT + 1, worker)
                for worker in self.workers
                if worker.stuck is not None and worker.stuck + TIMEOUT + 1 <= time
            ]
            if not ending:
                break
            self.now, worker = min(ending, key=lambda item: item[0])
            if worker.stuck is not None:
                telemetry.log(self.now, "[CRITICAL] WORKER TIMEOUT (pid:7)", self.tags)
                telemetry.log(self.now, "[ERROR] Worker (pid:7) exited with code 1", self.tags)
            elif self.exit_message:
                telemetry.log(self.now, self.exit_message, self.tags)
            replacement = self.fork()
            if self.stays_stuck and worker.stuck is not None:
                replacement.stuck = self.now
            self.workers[self.workers.index(worker)] = replacement
        elapsed, self.now = time - self.now, time
        taken = self.load(time).taken
        for worker in self.workers:
            worker.served += elapsed * taken
            worker.leaked += self.leak * elapsed

    def look(self, telemetry: Telemetry) -> None:
        """Send what one run of the check sends, and what Gunicorn itself sends meanwhile."""
        if not self.reports:
            return
        now, tags = self.now, self.tags
        if not self.masters:
            telemetry.report(now, "gunicorn.is_running", "CRITICAL", tags)
            self.seen = set() if self.seen is not None else None
            return
        telemetry.report(now, "gunicorn.is_running", "OK" if self.workers else "CRITICAL", tags)
        telemetry.send(now, "gunicorn.uptime", now - min(self.masters), tags)
        load = self.load(now)
        working = sum(self.random.random() < min(load.cpu * 2, 1) for _ in self.workers)
        telemetry.send(now, "gunicorn.workers", working, tags | {"state:working"})
        telemetry.send(now, "gunicorn.workers", len(self.workers) - working, tags | {"state:idle"})
        self.send_connections(telemetry, load)
        self.send_requests(telemetry, load)
        if self.seen is not None:
            alive = set(self.workers)
            telemetry.send(now, "gunicorn.workers.started", len(alive - self.seen), tags)
            telemetry.send(now, "gunicorn.workers.exited", len(self.seen - alive), tags)
            share = load.cpu * self.random.uniform(0.9, 1.1)
            used = 100 * sum(self.cpu_share(worker, share) for worker in self.workers)
            telemetry.send(now, "gunicorn.cpu.percent", used, tags | {"process_role:worker"})
        self.seen = set(self.workers)
        if self.workers:
            ages = [now - worker.born for worker in self.workers]
            telemetry.send(now, "gunicorn.worker.age.max", max(ages), tags)
            silence = max(map(self.heartbeat_age, self.workers)) + self.random.random() * 0.05
            telemetry.send(now, "gunicorn.worker.heartbeat.age.max", silence, tags)
            busy = 10 * MIB * math.sin(2 * math.pi * now / DAY) + self.random.random() * 2 * MIB
            largest = 80 * MIB + busy + max(map(self.growth, self.workers))
            telemetry.send(now, "gunicorn.memory.rss.max", largest, tags | {"process_role:worker"})

    def send_connections(self, telemetry: Telemetry, load: ClientLoad) -> None:
        stuck = sum(worker.stuck is not None for worker in self.workers)
        free = len(self.workers) - stuck
        taken = load.taken * len(self.workers) / free if free else math.inf
        if taken >= 1:
            arriving = load.taken * len(self.workers) / load.seconds
            served = free / load.seconds
            self.queue = min(self.queue + (arriving - served) * INTERVAL, 2048)
            accepted, queued = len(self.workers), int(self.queue)
        else:
            # Connections that have queued up are served first.
            self.queue = max(self.queue - (1 - taken) * free / load.seconds * INTERVAL, 0.0)
            present = draw_connections(free, taken, self.random) if free else 0
            accepted, queued = stuck + min(present, free), max(present - free, 0) + int(self.queue)
        accepted = max(accepted, min(load.held, len(self.workers))) + load.open
        tags = self.tags | {"listener:127.0.0.1:8000"}
        telemetry.send(self.now, "gunicorn.connections", accepted, tags | {"state:accepted"})
        telemetry.send(self.now, "gunicorn.connections", queued, tags | {"state:queued"})

    def send_requests(self, telemetry: Telemetry, load: ClientLoad) -> None:
        requests = draw_poisson(load.requests * INTERVAL, self.random)
        if requests < 50:
            errors = sum(self.random.random() < load.errors for _ in range(requests))
        else:
            errors = min(draw_poisson(requests * load.errors, self.random), requests)
        if requests:
            telemetry.send(self.now, "gunicorn.requests", requests, self.tags)
        if errors:
            telemetry.send(self.now, "gunicorn.request.status.500", errors, self.tags)

    def cpu_share(self, worker: StoryWorker, serving: float) -> float:
        """Return how much of a core a worker used since the previous look, given what it uses while it serves."""
        if self.now - worker.born > INTERVAL + self.loading:
            return serving
        begin = max(self.now - INTERVAL, worker.born)
        loading = max(min(self.now, worker.born + self.loading) - begin, 0.0)
        return (loading + (self.now - begin - loading) * serving) / INTERVAL

    def heartbeat_age(self, worker: StoryWorker) -> float:
        if worker.stuck is not None:
            return self.now - worker.stuck
        return min((self.now + worker.phase) % self.idle_beat, self.now - worker.born)

    def growth(self, worker: StoryWorker) -> float:
        """Return how many bytes a worker holds beyond those that it was born with."""
        return self.cache * (1 - math.exp(-worker.served / 360)) + worker.leaked


def draw_connections(workers: int, taken: float, source: random.Random) -> int:
    """Draw how many requests are in an M/M/c system with `workers` servers at a utilization of `taken`."""
    offered = workers * taken
    weight, total, weights = 1.0, 1.0, [1.0]
    for number in range(1, workers):
        weight *= offered / number
        weights.append(weight)
        total += weight
    # Once all workers are taken, each further request is `taken` times as probable as the one before.
    tail = weight * offered / workers / (1 - taken)
    point = source.random() * (total + tail)
    for number, weight in enumerate(weights):
        if point < weight:
            return number
        point -= weight
    return workers + int(math.log(1 - source.random()) / math.log(taken)) if taken else workers


def draw_poisson(mean: float, source: random.Random) -> int:
    """Draw from the Poisson distribution, or from the normal distribution if the mean is large."""
    if mean > 50:
        return max(round(source.gauss(mean, math.sqrt(mean))), 0)
    limit, product, number = math.exp(-mean), source.random(), 0
    while product > limit:
        number, product = number + 1, product * source.random()
    return number
