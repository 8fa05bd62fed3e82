"""The stories: ordinary weeks in which no alarm may go off, and failures, each with the alarms that it sets off."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .pool import DAY, HOUR, INTERVAL, MIB, ClientLoad, StoryServer
from .telemetry import Telemetry

MINUTE = 60.0
WEEK = 7 * DAY
# The tag of an instance that watches sync workers.
SYNC = frozenset({"worker_class:sync"})
# When failures begin, in stories that begin in the middle of a server's life.
BEGIN = 12 * HOUR

# Times in seconds, and what happens then, beside what servers do by themselves.
Events = Iterator[tuple[float, Callable[[], object]]]


@dataclass(frozen=True)
class Story:
    """What happens to servers.

    Attributes:
        summary: One sentence.
        servers: Makes the servers of the story.
        events: What happens to them, in the order of time.
        weeks: How long it lasts. Ordinary stories last two days, and two weeks in the tests that take minutes.
        alarms: The monitors that have to alert, each once and within these minutes after `BEGIN`. No other may.
        warns: The monitors that only have to warn.
        until: The monitors that have to stay in alarm until this minute after `BEGIN`.
        over: The monitors whose alarms have to be over at this minute after `BEGIN`; they may alert several times.

    """

    summary: str
    servers: Callable[[], list[StoryServer]]
    events: Callable[[list[StoryServer]], Events] = lambda _: iter(())
    weeks: float = 2 / 7
    alarms: dict[str, float] = field(default_factory=dict)
    warns: frozenset[str] = frozenset()
    until: dict[str, float] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)

    def simulate(self, weeks: float | None = None) -> Telemetry:
        """Let it happen, with a run of the check every 15 seconds."""
        telemetry, servers = Telemetry(), self.servers()
        telemetry.end = (weeks or self.weeks) * WEEK
        events = self.events(servers)
        following = next(events, None)
        for number in range(1, int(telemetry.end // INTERVAL)):
            look = number * INTERVAL
            while following and following[0] <= look:
                for server in servers:
                    server.pass_until(following[0], telemetry)
                following[1]()
                following = next(events, None)
            for server in servers:
                server.pass_until(look, telemetry)
                server.look(telemetry)
        return telemetry


def daily(*hours: float) -> Iterator[float]:
    """Yield, for each day, a random second of the two minutes after each of these hours."""
    source = random.Random(len(hours))
    for day in range(28):
        for hour in hours:
            yield day * DAY + hour * HOUR + source.random() * 120


def one(**fields: object) -> Callable[[], list[StoryServer]]:
    return lambda: [StoryServer(**fields)]  # type: ignore[arg-type]


def steady(**fields: float) -> Callable[[float], ClientLoad]:
    load = ClientLoad(**fields)
    return lambda _: load


def by_day(low: float, high: float) -> Callable[[float], ClientLoad]:
    """A load that is highest at midday; `taken` and `cpu` are equal, as with small requests that only compute."""

    def load(time: float) -> ClientLoad:
        share = low + (high - low) * max(0.0, 1 - abs(time % DAY / HOUR - 13) / 8)
        return ClientLoad(taken=share, cpu=share, requests=200 * share, seconds=0.005)

    return load


def stop_and_start(servers: list[StoryServer]) -> Events:
    """Each server in turn is down for 55 seconds, and comes back with cold caches."""
    for time in daily(9.5, 13, 16):
        for index, server in enumerate(servers):
            yield time + index * 90, server.stop
            yield time + index * 90 + 55, server.start


def reload_at(*hours: float) -> Callable[[list[StoryServer]], Events]:
    return lambda servers: ((time, servers[0].reload) for time in daily(*hours))


def upgrade(servers: list[StoryServer]) -> Events:
    for time in daily(11, 15):
        yield time, servers[0].upgrade
        yield time + 90, servers[0].finish_upgrade


def resize(servers: list[StoryServer]) -> Events:
    for time in daily(7, 19):
        yield time, lambda: servers[0].resize(8)
        yield time + HOUR, lambda: servers[0].resize(2)


def replace_pods(servers: list[StoryServer]) -> Events:
    """Pods of a deployment are recreated on the same node, with some seconds between them."""
    for time in daily(10, 15):
        for server in servers:
            yield time, server.stop
            yield time + 20, server.start


def switch_off(servers: list[StoryServer]) -> Events:
    """The host is shut down properly: its server stops first, the Agent half a minute later."""
    server = servers[0]
    yield 1.5 * DAY, server.stop
    yield 1.5 * DAY + 30, lambda: setattr(server, "reports", False)


def crash_host(servers: list[StoryServer]) -> Events:
    yield 1.5 * DAY, lambda: setattr(servers[0], "reports", False)


def add_hosts(servers: list[StoryServer]) -> Events:
    """A second host exists from nine to five."""
    server = servers[1]
    yield 0, lambda: setattr(server, "reports", False)
    for begin, end in zip(daily(9), daily(17), strict=True):
        yield begin, lambda: (server.start(), setattr(server, "reports", True))
        yield end, lambda: setattr(server, "reports", False)


def start_slowly(servers: list[StoryServer]) -> Events:
    """Workers need 19 seconds to load the application, while their master already listens."""
    server = servers[0]
    for time in daily(9.5, 14):
        yield time, server.stop
        yield time + 10, lambda: (server.start(), server.make_stuck(4), setattr(server, "queue", 40.0))
        yield time + 29, lambda: [setattr(worker, "stuck", None) for worker in server.workers]


ORDINARY = {
    "deployments": Story(
        "three deployments a day stop and start each of two servers within a minute",
        lambda: [StoryServer(host="web-1", cache=400 * MIB), StoryServer(host="web-2", cache=400 * MIB, seed=8)],
        stop_and_start,
    ),
    "slow starts": Story("workers that load for 19 seconds while clients wait", one(), start_slowly),
    "HUP": Story("six reloads a day, two of them within minutes", one(), reload_at(8, 10, 11.9, 12, 17, 23)),
    "USR2": Story("two upgrades a day, with two masters for a minute and a half", one(), upgrade),
    "scaling": Story("between two and eight workers by TTIN and TTOU", one(), resize),
    "max-requests 1000, one worker": Story(
        "--max-requests 1000 at 50 requests a second: the worker is replaced every 20 seconds",
        one(size=1, lifetime=20.0),
    ),
    "max-requests 1000, eight workers": Story(
        "--max-requests 1000 at 50 requests a second: each worker lives 160 seconds", one(size=8, lifetime=160.0)
    ),
    "small requests": Story("small requests that use 70 % of the CPU at midday", one(size=8, load=by_day(0.1, 0.7))),
    "night": Story(
        "a reload late in the evening: the caches fill when requests come in the morning",
        one(load=by_day(0.0, 0.7), cache=300 * MIB),
        reload_at(22),
    ),
    "sync": Story(
        "a pool of sync workers, with the tag for them, 80 % taken at midday",
        one(load=by_day(0.1, 0.8), more_tags=SYNC),
    ),
    "autoscaling": Story(
        "a host that is new every morning, and gone in the evening",
        lambda: [StoryServer(host="web-1"), StoryServer(host="web-2", loading=60.0, seed=8)],
        add_hosts,
    ),
    "gevent": Story(
        "workers that hold twenty open connections each", one(load=steady(taken=0.5, cpu=0.5, open=80, seconds=0.01))
    ),
    "pods": Story(
        "pods of two deployments, of one worker each, on a node: 70 % taken at midday, recreated twice a day",
        lambda: [
            StoryServer(size=1, load=by_day(0.1, 0.7)),
            StoryServer(name="cart", size=1, load=by_day(0.1, 0.7), seed=9),
        ],
        replace_pods,
    ),
    "host switched off": Story("a host that is switched off", one(), switch_off),
    "host gone": Story("a host that crashes", one(), crash_host),
    "idle": Story(
        "a healthy sync pool at night: a heartbeat every half of the timeout, a request now and then",
        one(load=steady(taken=0.001, cpu=0.001, requests=0.05, errors=0.05)),
    ),
}


def at_begin(*actions: Callable[[StoryServer], object]) -> Callable[[list[StoryServer]], Events]:
    def events(servers: list[StoryServer]) -> Events:
        for action in actions:
            yield BEGIN, lambda action=action: action(servers[0])

    return events


def load_from_begin(**fields: float) -> Callable[[float], ClientLoad]:
    failing, healthy = ClientLoad(**fields), ClientLoad()
    return lambda time: failing if time >= BEGIN else healthy


def hang(server: StoryServer) -> None:
    """All requests hang, also those of the workers that replace killed ones."""
    server.stays_stuck = True
    server.make_stuck(len(server.workers))


FAILURES = {
    "stopped": Story("the server stops for good", one(), at_begin(StoryServer.stop), 0.1, {"not_running": 3}),
    "stopped, and the host switched off": Story(
        "the server stops for good, and ten minutes later its host",
        one(),
        lambda servers: iter([(BEGIN, servers[0].stop), (BEGIN + 600, lambda: setattr(servers[0], "reports", False))]),
        weeks=0.3,
        alarms={"not_running": 3},
        over={"not_running": 75},
    ),
    "no workers": Story(
        "a master whose workers have all gone", one(), at_begin(lambda s: s.workers.clear()), 0.1, {"not_running": 3}
    ),
    "crash loop": Story(
        "each worker crashes four seconds after its start",
        one(exit_message="[ERROR] Worker (pid:7) was sent SIGSEGV!"),
        at_begin(lambda s: s.set_lifetime(4.0)),
        0.1,
        {"crash_loop": 8, "worker_crashes": 2},
    ),
    "out of memory": Story(
        "the kernel kills one worker",
        one(exit_message="[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?"),
        at_begin(lambda s: setattr(s.workers[0], "ends", BEGIN + 1)),
        0.1,
        {"worker_crashes": 2},
        over={"worker_crashes": 20},
    ),
    "CPU": Story(
        "each worker uses the whole of a core",
        one(load=load_from_begin(taken=1.01, cpu=0.99, seconds=0.005)),
        weeks=0.1,
        alarms={"cpu_used_up": 20, "connections_queued": 15},
    ),
    "nearly full": Story(
        "nine of ten workers are taken",
        one(load=load_from_begin(taken=0.9, cpu=0.1)),
        weeks=0.1,
        warns=frozenset({"connections_queued"}),
    ),
    "slow database": Story(
        "requests take seconds: all workers are taken, and clients wait",
        one(load=load_from_begin(taken=1.3, cpu=0.02, seconds=3.0), more_tags=SYNC),
        weeks=0.1,
        alarms={"connections_queued": 12, "pool_full": 40},
    ),
    "full, and nobody waits": Story(
        "clients hold a connection to each worker, as with slow downloads",
        one(load=load_from_begin(taken=0.0, requests=0.1, held=4), more_tags=SYNC),
        weeks=0.1,
        alarms={"pool_full": 40},
    ),
    "hangs": Story(
        "every request hangs until the master kills its worker",
        one(load=load_from_begin(taken=0.5, cpu=0.01, requests=0.0)),
        at_begin(hang),
        0.1,
        {"worker_stuck": 5, "worker_timeouts": 5, "connections_queued": 12},
    ),
    "one stuck": Story(
        "one worker of four is stuck, and so is each that replaces it",
        one(load=steady(taken=0.05)),
        at_begin(lambda s: (setattr(s, "stays_stuck", True), s.make_stuck(1))),
        0.1,
        {"worker_stuck": 5, "worker_timeouts": 5},
    ),
    "leak": Story(
        "each worker leaks 40 MiB an hour for three days",
        one(),
        at_begin(lambda s: setattr(s, "leak", 40 * MIB / HOUR)),
        weeks=3.5 / 7,
        alarms={"worker_memory": 5 * 60},
        until={"worker_memory": 60 * 24 * 2.9},
    ),
    "errors": Story(
        "a tenth of the requests fail",
        one(load=load_from_begin(errors=0.1)),
        weeks=0.1,
        alarms={"server_errors": 15},
    ),
    "all requests fail": Story(
        "two requests a minute, all of which fail",
        one(load=load_from_begin(requests=2 / 60, errors=1.0, taken=0.01)),
        weeks=0.1,
        alarms={"server_errors": 20},
    ),
}
