"""Servers that never rest. They take a minute in all, so `make soak` runs them and `make test` does not."""

import contextlib
import signal
import threading

import pytest

from .assertions import CRITICAL, OK, make_check, run
from .gunicorn_server import run_gunicorn

pytestmark = pytest.mark.soak
RUNS = 40


@contextlib.contextmanager
def meanwhile(act, pause):
    """Do something again and again, with a pause in seconds before each time."""
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


def assert_true(found, most):
    """No error, no more workers than there are, and CRITICAL only where none was seen."""
    assert found.error == ""
    assert found.total <= most
    assert found.status == OK or (found.status, found.workers) == (CRITICAL, {"state:idle": 0, "state:working": 0})


def test_a_hup_every_half_second():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        with meanwhile(lambda: server.signal(signal.SIGHUP), pause=0.5):
            for _ in range(RUNS):
                found = run(check)
                assert_true(found, most=9)
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
            for _ in range(RUNS):
                assert_true(run(check), most=workers)
        assert len(server.booted()) > RUNS
