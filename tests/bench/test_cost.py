"""The cost of a run without its wait of 0.1 s, compared with the textbook algorithm on the same processes."""

import contextlib
import math
import time

import psutil
import pytest

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.pool.heartbeats import Heartbeats
from datadog_checks.gunicorn.scanning.registry import Host
from tests.assertions import make_check, make_instance
from tests.gunicorn_server import run_gunicorn, unique

from .conftest import CROWDS, POOLS, make_bare_check
from .textbook import textbook_run

cpu = pytest.mark.benchmark(timer=time.process_time)


@cpu
@pytest.mark.parametrize("processes", CROWDS)
def test_textbook(benchmark, crowd, processes, server):
    crowd(processes)
    idle, working = benchmark.pedantic(textbook_run, (server.name,), rounds=30, warmup_rounds=3)
    assert idle + working == 8


@cpu
@pytest.mark.parametrize("processes", CROWDS)
def test_run(benchmark, crowd, processes, check):
    crowd(processes)
    assert benchmark.pedantic(check.run, rounds=100, iterations=5, warmup_rounds=3) == ""


@cpu
@pytest.mark.parametrize("processes", CROWDS)
def test_look_at_the_host(benchmark, crowd, processes, server):
    """A look by a run that knows its masters; now and then it lists all processes."""
    crowd(processes)
    measure_look(benchmark, server)


@cpu
@pytest.mark.parametrize("processes", CROWDS)
def test_list_of_the_host(benchmark, crowd, processes, server, monkeypatch):
    """A look that lists all processes: once a minute, or always if the kernel does not show the last pid."""
    monkeypatch.setattr(procfs, "read_last_pid", lambda: None)
    crowd(processes)
    measure_look(benchmark, server)


def measure_look(benchmark, server):
    host = Host()
    host.scan()
    grow_old(host)
    masters = benchmark.pedantic(host.find_masters, (math.inf,), rounds=30, warmup_rounds=3)
    assert [master.application for master in masters] == [server.name]


def grow_old(host):
    """Make all strangers too old to be read again at each look."""
    strangers = host._last_look.strangers
    strangers |= {pid: stranger._replace(born=-math.inf, due=math.inf) for pid, stranger in strangers.items()}


@cpu
@pytest.mark.parametrize("processes", CROWDS)
def test_full_look(benchmark, crowd, processes, server):
    """A look by a run whose server is missing."""
    crowd(processes)
    host = Host()
    benchmark.pedantic(host.scan, rounds=10, warmup_rounds=1)
    assert [master.application for master in host.find_masters(newer_than=0)] == [server.name]


@cpu
def test_ten_instances(benchmark, crowd, server):
    crowd(3000)
    checks = [make_bare_check(server) for _ in range(10)]

    def run():
        assert [check.run() for check in checks] == [""] * 10

    benchmark.pedantic(run, rounds=50, warmup_rounds=3)


@cpu
@pytest.mark.parametrize("read", [True, False], ids=["heartbeats", "no heartbeats"])
def test_heartbeats(benchmark, check, monkeypatch, read):
    if not read:
        monkeypatch.setattr(Heartbeats, "read_age", lambda *_: None)
    assert benchmark.pedantic(check.run, rounds=300, warmup_rounds=10) == ""


@pytest.fixture(scope="module")
def servers():
    """Servers whose names have a common prefix."""
    beginning = unique("discovered")
    with contextlib.ExitStack() as stack:
        names = [f"{beginning}-{number}" for number in range(20)]
        yield [stack.enter_context(run_gunicorn("--preload", "-n", name, name=name, workers=8)) for name in names]


# While a run waits, other processes use the processor and its caches, so twenty runs cost more with their waits.
@pytest.fixture(params=[0, 0.1], ids=["without waits", "with waits"])
def rounds(request, monkeypatch):
    monkeypatch.setattr(check_module, "SAMPLE_SECONDS", request.param)
    return 10 if request.param else 50


@cpu
def test_twenty_instances(benchmark, servers, rounds):
    checks = [make_check(server.name, {"gunicorn": "true"}) for server in servers]

    def run():
        assert [check.run() for check in checks] == [""] * len(servers)

    benchmark.pedantic(run, rounds=rounds, warmup_rounds=2)


@cpu
def test_discovery_of_twenty(benchmark, servers, rounds):
    # Unlike an instance whose server is missing, discovery uses the last look, which may be older than the servers.
    check_module.HOST.scan()
    check = make_instance(discovery={"include": [f"^{servers[0].name.removesuffix('0')}"]})
    assert benchmark.pedantic(check.run, rounds=rounds, warmup_rounds=2) == ""
    assert len(check.fleet.alive) == len(servers)


@pytest.mark.benchmark(timer=time.perf_counter)
def test_wall_time(benchmark, crowd, check, monkeypatch):
    crowd(3000)
    monkeypatch.setattr(check_module, "SAMPLE_SECONDS", 0.1)
    assert benchmark.pedantic(check.run, rounds=20, warmup_rounds=1) == ""


@pytest.fixture(scope="module", params=POOLS)
def pool(request):
    with run_gunicorn("--preload", workers=request.param) as server:
        yield server


@cpu
def test_workers(benchmark, pool):
    check = make_bare_check(pool)
    assert benchmark.pedantic(check.run, rounds=50, iterations=2, warmup_rounds=3) == ""


@cpu
def test_bare_loop(benchmark, pool):
    master = psutil.Process(pool.master)
    workers = [psutil.Process(pid) for pid in pool.workers()]

    def loop():
        look_at(master)
        assert master.is_running()
        for worker in workers:
            look_at(worker)
        for process in (master, *workers):
            look_at(process)
            process.memory_info()
            process.num_threads()
            assert process.is_running()

    benchmark.pedantic(loop, rounds=50, iterations=2, warmup_rounds=3)


def look_at(process):
    process.cpu_times()
    process.cmdline()
