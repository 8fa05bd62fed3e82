"""Working and idle workers, compared with the records of the application and the kernel's CPU clock."""

import importlib.util
import json
import shutil
import subprocess
import sys
from typing import NamedTuple

import psutil
import pytest

from tests.assertions import make_check
from tests.gunicorn_server import GUNICORN_VERSION, as_nobody, newest, root, wait_until
from tests.load_client import load
from tests.pool.truth import (
    ENOUGH_SECONDS,
    NO_VERSION,
    WORKERS,
    Window,
    are_at_rest,
    compare,
    format_percentiles,
    look_often,
    read_record,
    run_pool,
)

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="needs Linux's CPU clocks of other processes")

# Requests per second of the whole pool: two in 0.1 s. A connection wakes all workers, and those that do not get it
# use up to 0.2 ms: at higher rates, this alone makes some of them working.
RATE = 20
# Longer than any case takes; a case stops its load after its last run.
SECONDS = 120
RUNS = 100
# With 4 workers, 1 % of all looks is two.
IDLE_RUNS = 50

TRUTH = [pytest.mark.truth, pytest.mark.timeout(600)]


UVICORN = "uvicorn_worker" if importlib.util.find_spec("uvicorn_worker") else "uvicorn.workers"


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


class PoolCase(NamedTuple):
    """A class of workers: how to start it, where it can be tested, and the accepted errors.

    `outside` is the share of runs that may contradict the record, `average` how far the average of working workers may
    be from it, and `idle` the share of looks at idle workers that may find one working.
    """

    options: list[str]
    app: str = "app"
    marks: list[pytest.MarkDecorator] = []  # noqa: RUF012
    outside: float = 0.1
    average: float = 0.15
    idle: float = 0.01


POOLS = {
    "sync": PoolCase(["sync"]),
    "gthread": PoolCase(["gthread", "--threads", "4"]),
    "gevent": PoolCase(["gevent"], marks=[needs("gevent")]),
    # Its idle workers wake once a second and then use up to 1 ms.
    "tornado": PoolCase(["tornado"], marks=[needs("tornado")], outside=0.2, idle=0.05),
    "asgi": PoolCase(["asgi"], "asgi_app", [newest]),
    "uvicorn": PoolCase([f"{UVICORN}.UvicornWorker"], "asgi_app", [needs("uvicorn"), needs("uvloop")]),
    # Without uvloop, its event loop wakes ten times a second, which takes 0.2 to 0.4 ms. Two wake-ups for connections
    # that another worker took add up to 0.5 ms with that.
    "uvicorn-h11": PoolCase(
        [f"{UVICORN}.UvicornH11Worker"], "asgi_app", [needs("uvicorn")], outside=0.4, average=0.25, idle=0.03
    ),
}


def case(worker_class, *values):
    return pytest.param(worker_class, *values, marks=[*TRUTH, *POOLS[worker_class].marks])


def start_pool(worker_class):
    pool = POOLS[worker_class]
    return run_pool(*pool.options, app=pool.app)


@pytest.fixture(scope="module")
def table():
    """Collect one row per case, and print them at the end (with -s)."""
    rows = []
    yield rows
    sys.stdout.write(f"\n\nGunicorn {GUNICORN_VERSION}, {WORKERS} workers\n")
    sys.stdout.writelines(f"{title:34} {found}\n" for title, found in rows)


@pytest.fixture
def note(table, record_property):
    def note(title, found):
        table.append((title, found))
        record_property(title, str(found))

    return note


def look_here(server, runs):
    return look_often(make_check(server.name, NO_VERSION), runs)


def look_as_nobody(server, runs):
    return as_nobody(lambda: look_here(server, runs))


def look_from_a_container(server, runs):
    """Run the check in another pid namespace, with the host's procfs mounted beside its own."""
    script = "import sys; from tests.pool.truth import print_windows; print_windows(*sys.argv[1:])"
    inside = 'mount --bind /proc /mnt && exec unshare --pid --fork --kill-child --mount-proc "$@"'
    command = ["unshare", "--mount", "sh", "-ec", inside, "sh", sys.executable, "-c", script]
    answer = subprocess.run(
        [*command, server.name, "/mnt", str(runs)], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert answer.returncode == 0, answer.stderr
    return [Window(*fields) for fields in json.loads(answer.stdout)]


def look_under_load(worker_class, milliseconds, look, runs):
    with start_pool(worker_class) as (server, folder):
        with load(server.port, f"/spend?{milliseconds}", RATE, SECONDS):
            wait_until(lambda: sum(map(len, read_record(folder).values())) > 2 * WORKERS, "requests", server.explain)
            windows = look(server, runs)
        wait_until(lambda: are_at_rest(server.workers()), "the end of the last requests")
        assert {window.total for window in windows} == {WORKERS}
        return compare(windows, read_record(folder))


def assert_accurate(found, *, outside, average):
    assert found.outside <= outside * found.runs
    assert found.reported <= (1 + average) * found.recorded
    # A worker whose only request in a window takes less than the threshold is idle.
    if found.cost >= ENOUGH_SECONDS:
        assert found.reported >= (1 - average) * found.recorded


@pytest.mark.parametrize(
    ("worker_class", "milliseconds"),
    [
        case("sync", 0),
        case("sync", 1),
        case("sync", 3),
        case("gthread", 0),
        case("gthread", 3),
        case("gevent", 1),
        case("tornado", 1),
        case("asgi", 0),
        case("asgi", 1),
        case("asgi", 3),
        case("uvicorn", 0),
        case("uvicorn", 1),
        case("uvicorn", 3),
        case("uvicorn-h11", 1),
    ],
)
def test_under_load(worker_class, milliseconds, note):
    found = look_under_load(worker_class, milliseconds, look_here, RUNS)
    note(f"{worker_class}, {milliseconds} ms", found)
    assert_accurate(found, outside=POOLS[worker_class].outside, average=POOLS[worker_class].average)


NAMES = {look_as_nobody: "as nobody", look_from_a_container: "from a container"}
others = pytest.mark.parametrize("look", NAMES, ids=NAMES.get)


def skip_without_namespaces(look):
    if look is look_from_a_container:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
        if shutil.which("unshare") is None or subprocess.call(command, stderr=subprocess.DEVNULL) != 0:
            pytest.skip("needs Linux's namespaces")


@root
@others
@pytest.mark.parametrize("worker_class", [case(name) for name in ("sync", "gthread", "gevent", "asgi", "uvicorn")])
def test_seen_by_others(worker_class, look, note):
    skip_without_namespaces(look)
    found = look_under_load(worker_class, 1, look, RUNS)
    note(f"{worker_class}, 1 ms, {NAMES[look]}", found)
    assert_accurate(found, outside=POOLS[worker_class].outside, average=POOLS[worker_class].average)


@pytest.mark.every_gunicorn
def test_a_quick_look_under_load(note):
    """The bounds are wide, because other tests use the same cores; with ticks of 10 ms, most runs would be outside."""
    found = look_under_load("sync", 1, look_here, 25)
    note("sync, 1 ms, quick", found)
    assert_accurate(found, outside=0.4, average=0.3)


def assert_idle(server, runs, most, note, title):
    windows = look_often(make_check(server.name, NO_VERSION), runs, server.workers())
    assert {window.total for window in windows} == {WORKERS}
    working = sum(window.working for window in windows)
    used = [seconds * 1000 for window in windows for seconds in window.cpu]
    note(title, f"working {working} of {len(used)} looks; {format_percentiles(used)} ms of CPU in a window")
    assert working <= most * len(used)


@pytest.mark.parametrize("worker_class", [case(name) for name in POOLS])
def test_idle_workers(worker_class, note):
    with start_pool(worker_class) as (server, _):
        assert_idle(server, IDLE_RUNS, POOLS[worker_class].idle, note, f"{worker_class}, idle")


@pytest.mark.every_gunicorn
def test_a_quick_look_at_idle_workers(note):
    with start_pool("sync") as (server, _):
        assert_idle(server, 10, 0.05, note, "sync, idle, quick")


@pytest.mark.parametrize("worker_class", [case(name) for name in POOLS if name != "tornado"])
def test_workers_that_wait_for_io_are_idle(worker_class, note):
    """Every request waits for longer than the test takes."""
    with start_pool(worker_class) as (server, _), server.requests(2 * WORKERS, f"/wait?{SECONDS}"):
        wait_until(lambda: are_at_rest(server.workers()), "the requests to wait")
        assert_idle(server, IDLE_RUNS, POOLS[worker_class].idle, note, f"{worker_class}, waiting")


@root
@pytest.mark.truth
@pytest.mark.timeout(600)
@others
def test_idle_seen_by_others(look, note):
    skip_without_namespaces(look)
    with start_pool("sync") as (server, _):
        windows = look(server, IDLE_RUNS)
    working = sum(window.working for window in windows)
    note(f"sync, idle, {NAMES[look]}", f"working {working} of {WORKERS * IDLE_RUNS} looks")
    assert {window.total for window in windows} == {WORKERS}
    assert working <= 0.01 * WORKERS * IDLE_RUNS
