"""The log monitors on the log of a real Gunicorn whose workers are replaced, are killed, and time out."""

import re
import signal

import pytest

from tests.assets.test_monitors import MONITORS
from tests.gunicorn_server import run_gunicorn, wait_until
from tests.logs.life import LOGS_EXIT_CODES, await_log, open_request, request

from . import log_alerts

pytestmark = pytest.mark.every_gunicorn

CRASHES, TIMEOUTS = (
    log_alerts.parse(MONITORS[name]["definition"]["query"]) for name in ("worker_crashes", "worker_timeouts")
)


def pids(alert, server):
    """Return the pids in the lines that match; 23.0.0 logs an exit code twice."""
    return {re.search(r"pid:? ?(\d+)", line)[1] for line in server.log.splitlines() if alert.matches(line)}


def test_the_log_monitors_match_only_crashes_and_timeouts():
    with run_gunicorn("--timeout", "2", workers=3, app="tests.logs.served:app") as server:
        server.replace_workers()
        server.signal(signal.SIGTTIN)
        server.await_workers(4)
        server.signal(signal.SIGTTOU)
        server.await_workers(3)
        assert not pids(CRASHES, server)
        dead = set()
        for number in (signal.SIGKILL, signal.SIGSEGV):
            dead.add(str(server.workers()[0]))
            server.signal(number, server.workers()[0])
            wait_until(lambda: pids(CRASHES, server) == dead, "the crash in the log", server.explain)
            server.await_workers(3)
        request(("127.0.0.1", server.port), "GET /abort HTTP/1.1")
        wait_until(lambda: len(pids(CRASHES, server)) == 3, "the abort in the log", server.explain)
        server.await_workers(3)
        if LOGS_EXIT_CODES:
            request(("127.0.0.1", server.port), "GET /exit HTTP/1.1")
            wait_until(lambda: len(pids(CRASHES, server)) == 4, "the exit code in the log", server.explain)
            server.await_workers(3)
        crashed = pids(CRASHES, server)
        assert not pids(TIMEOUTS, server)
        with open_request(("127.0.0.1", server.port), "GET /sleep HTTP/1.1"):
            await_log(server, "WORKER TIMEOUT")
            server.await_workers(3)
        server.signal(signal.SIGTERM)
        server.process.wait(20)
        assert len(pids(TIMEOUTS, server)) == 1, server.log
        # A worker that does not end by itself after a timeout is killed, which 20.1.0 logs like any other end.
        assert pids(CRASHES, server) - crashed <= pids(TIMEOUTS, server), server.log
