"""Servers that change constantly. They take a minute in all, so `make soak` runs them and `make test` does not."""

import contextlib
import gc
import http.client
import signal
import threading

import psutil
import pytest
from datadog_checks.base.stubs import aggregator

from datadog_checks.gunicorn import check as check_module
from tests.assertions import CRITICAL, OK, make_check, run
from tests.gunicorn_server import run_gunicorn

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
RUNS = 40
# MiB that the allocator may keep for the test's requests and log; a leak of 0.5 KiB for each run would exceed it.
MEMORY_NOISE = 8
RUNS_OF_A_THREAD = 200


@contextlib.contextmanager
def meanwhile(act, pause):
    """Repeat an action, with a pause in seconds before each."""
    stop = threading.Event()

    def repeat():
        while not stop.wait(pause):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def assert_plausible(found, most):
    """Assert that there is no error, no surplus worker, and CRITICAL only without workers."""
    assert found.error == ""
    assert found.total <= most
    assert found.status == OK or (found.status, found.workers) == (CRITICAL, {"state:idle": 0, "state:working": 0})


def test_a_hup_every_half_second():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        with meanwhile(lambda: server.signal(signal.SIGHUP), pause=0.5):
            for _ in range(RUNS):
                found = run(check)
                assert_plausible(found, most=9)
                assert found.status == OK
        assert len(server.booted()) >= 12


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_new_worker_after_each_request(workers):
    with run_gunicorn("--max-requests", "1", workers=workers) as server:
        check = make_check(server.name)

        def request():
            with contextlib.suppress(OSError):
                server.get()

        with meanwhile(request, pause=0.001):
            runs = 0
            # On a busy machine, workers take longer to start than a run does.
            while runs < RUNS or len(server.booted()) <= RUNS:
                assert_plausible(run(check), most=workers)
                runs += 1


def footprint():
    """The resources that must not grow: threads, file descriptors, and memory in MiB."""
    process = psutil.Process()
    gc.collect()
    return process.num_threads(), process.num_fds(), process.memory_info().rss / 2**20


def test_nothing_grows_with_the_number_of_runs(monkeypatch):
    # Gunicorn sleeps 0.05 s before it starts a worker, so that 20,000 runs take as long as 2,000 of these.
    monkeypatch.setattr(check_module, "SAMPLE_SECONDS", 0.005)
    with run_gunicorn("--max-requests", "1", "--preload", workers=4) as server:
        check = make_check(server.name)

        def request():
            with contextlib.suppress(OSError, http.client.HTTPException):
                server.get()

        def runs(count, born):
            with meanwhile(request, pause=0):
                while count > 0 or len(server.booted()) < born:
                    for _ in range(1_000):
                        assert_plausible(run(check), most=4)
                    count -= 1_000
            return footprint()

        before = runs(3_000, born=200)
        after = runs(20_000, born=2_200)
        for now, then, growth in zip(after, before, (0, 0, MEMORY_NOISE), strict=True):
            assert now <= then + growth


def test_instances_in_several_threads():
    with run_gunicorn(workers=3) as server, run_gunicorn(workers=2, titled=False) as untitled:
        checks = [make_check(name) for name in (server.name, untitled.name) for _ in range(4)]
        errors = []

        def runs(check):
            errors.extend(filter(None, (check.run() for _ in range(RUNS_OF_A_THREAD))))

        threads = [threading.Thread(target=runs, args=[check]) for check in checks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        for workers, name in ((3, server.name), (2, untitled.name)):
            values = [metric.value for metric in aggregator.metrics("gunicorn.workers") if f"app:{name}" in metric.tags]
            assert len(values) == 2 * 4 * RUNS_OF_A_THREAD
            # The numbers of idle and working workers may vary, but every run counts all workers.
            assert sum(values) == workers * 4 * RUNS_OF_A_THREAD
            assert max(values) <= workers
