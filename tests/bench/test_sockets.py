"""What counting connections costs, by their number, in both ways to read them."""

import contextlib
import os
import resource
import signal
import socket
import sys
import time

import pytest

from datadog_checks.gunicorn import namespaces
from datadog_checks.gunicorn.connections import Connections
from datadog_checks.gunicorn.netlink import NetlinkError
from datadog_checks.gunicorn.procfs import read_stat
from datadog_checks.gunicorn.servers import Candidate, Identity

from .conftest import OPEN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's socket tables")

# Descriptors that are not connections.
SPARE = 200


def accept_all(listener, reports):
    accepted = []
    while True:
        accepted.append(listener.accept())
        os.write(reports, b"!")


@pytest.fixture(scope="module")
def hold():
    """Make connections from this process, which stands in for the master as well, to a fork, the worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < max(OPEN) + SPARE:
        pytest.skip(f"no process may have more than {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.set_inheritable(True)
        accepted, reports = os.pipe()
        worker = os.fork()
        if worker == 0:
            with contextlib.suppress(BaseException):
                accept_all(listener, reports)
            os._exit(1)
        stack.callback(os.waitpid, worker, 0)
        stack.callback(os.kill, worker, signal.SIGKILL)
        clients = []

        def hold(count):
            while len(clients) < count:
                clients.append(stack.enter_context(socket.create_connection(listener.getsockname())))
                assert os.read(accepted, 1) == b"!"
            master, worker_ = (Identity(pid, read_stat(pid).started) for pid in (os.getpid(), worker))
            candidate = Candidate(master, "web", None, parent=1, session=1, group=1, forked=False, reparented=False)
            return {master: candidate}, [worker_]

        yield hold


def refuse(*_):
    raise NetlinkError


# Their number only grows: the worker closes none.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize(
    ("connections", "source"), [(connections, source) for connections in OPEN for source in ("sock_diag", "procfs")]
)
def test_look(benchmark, hold, connections, source, monkeypatch):
    if source == "procfs":
        monkeypatch.setattr(namespaces, "read_ports", refuse)
        monkeypatch.setattr(namespaces, "read_listening", refuse)
    seen = hold(connections)
    looking = Connections(())
    found = benchmark.pedantic(looking.look, seen, rounds=20, iterations=max(1, 100 // connections), warmup_rounds=2)
    assert [tuple(counts) for counts in found.values()] == [(connections, 0)]
