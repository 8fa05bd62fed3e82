"""The cost of counting connections, by their number, with both sources."""

import contextlib
import itertools
import os
import resource
import signal
import socket
import struct
import sys
import time

import pytest

from datadog_checks.gunicorn.sockets import namespaces
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.netlink import NetlinkError
from tests.gunicorn_server import temporary_folder
from tests.sockets.stand_ins import candidate_of, identity_of

from .conftest import FAMILIES, OPEN, OTHERS, SOURCES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's socket tables")

# File descriptors for other purposes.
SPARE = 200


@pytest.fixture(scope="module", autouse=True)
def _may_open_many():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < max(OPEN) + SPARE:
        pytest.skip(f"no process may have more than {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def listening(family, folder):
    """Open a listener on a free port, or on a socket in the folder."""
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(folder / "app.sock"))
        listener.listen()
        yield listener


def connect(stack, listener):
    client = stack.enter_context(socket.socket(listener.family))
    if listener.family == socket.AF_INET:
        # Leave no trace in the kernel's tables after closing.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connect(listener.getsockname())
    return client


def accept_all(listener, reports):
    accepted = []
    while True:
        accepted.append(listener.accept())
        os.write(reports, b"!")


@contextlib.contextmanager
def holding(family):
    """Connect from this process, which stands for the master, to a fork, which stands for the worker."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(family, stack.enter_context(temporary_folder())))
        listener.set_inheritable(True)
        accepted, reports = os.pipe()
        worker = os.fork()
        if worker == 0:
            with contextlib.suppress(BaseException):
                listener.set_inheritable(False)
                accept_all(listener, reports)
            os._exit(1)
        stack.callback(os.waitpid, worker, 0)
        stack.callback(os.kill, worker, signal.SIGKILL)
        clients = []

        def hold(count):
            while len(clients) < count:
                clients.append(connect(stack, listener))
                assert os.read(accepted, 1) == b"!"
            master = identity_of(os.getpid())
            return {master: candidate_of(master)}, [identity_of(worker)]

        yield hold


@contextlib.contextmanager
def others(family, count):
    """Hold connections to a listener that belongs to no server."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(family, stack.enter_context(temporary_folder())))
        for _ in range(count):
            connect(stack, listener)
            stack.enter_context(listener.accept()[0])
        yield


@pytest.fixture(scope="module")
def hold():
    with holding(socket.AF_INET) as hold:
        yield hold


@pytest.fixture
def source(request, monkeypatch):
    def refuse(*_):
        raise NetlinkError

    if request.param == "procfs":
        monkeypatch.setattr(namespaces, "read_at", refuse)
        monkeypatch.setattr(namespaces, "read_listening", refuse)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize(("family", "source"), itertools.product(FAMILIES, SOURCES), indirect=["source"])
def test_look_beside_others(benchmark, family, source):
    number = getattr(socket, family)
    with holding(number) as hold, others(number, OTHERS):
        seen, looking = hold(OPEN[0]), Connections(())
        found = benchmark.pedantic(looking.look, seen, rounds=20, iterations=5, warmup_rounds=2)
        assert [tuple(counts) for counts in found.values()] == [(OPEN[0], 0)]


# Their number only grows, because the worker never closes any.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize(("connections", "source"), itertools.product(OPEN, SOURCES), indirect=["source"])
def test_look(benchmark, hold, connections, source):
    seen, looking = hold(connections), Connections(())
    found = benchmark.pedantic(looking.look, seen, rounds=20, iterations=max(1, 100 // connections), warmup_rounds=2)
    assert [tuple(counts) for counts in found.values()] == [(connections, 0)]
