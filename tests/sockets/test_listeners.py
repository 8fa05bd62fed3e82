"""Finding listeners of processes that act as a master and its workers; Linux only."""

import contextlib
import os
import sys

import pytest

from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.sockets.addresses import Family, parse_bind
from datadog_checks.gunicorn.sockets.listeners import Found, are_held, find_listeners, parse_inheritable, read_sockets
from datadog_checks.gunicorn.sockets.tables import parse_listening, read_table
from tests.sockets.stand_ins import StandIn, free_ports, listen_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's descriptors")


@pytest.mark.parametrize(
    ("text", "inheritable"),
    [
        ("pos:\t0\nflags:\t02\nmnt_id:\t9\nino:\t1\n", True),
        ("pos:\t0\nflags:\t02000002\nmnt_id:\t9\nino:\t1\n", False),
        ("pos:\t0\nflags:\t02004002\n", False),
        ("pos:\t0\nflags:\t04002\n", True),
        ("", False),
        ("flags:\n", False),
    ],
)
def test_inheritable(text, inheritable):
    assert parse_inheritable(text) is inheritable


class Server(StandIn):
    def find(self):
        listening = dict(parse_listening_of_ours())
        found = find_listeners(self.master, read_sockets(self.master.pid), self.workers, listening)
        return {str(address) for address in found.listeners.values()}, found.settled


def parse_listening_of_ours():
    for found in parse_listening(read_table(os.getpid(), Family.INET), Family.INET):
        yield found.inode, found.address


@pytest.fixture
def server():
    with contextlib.ExitStack() as stack:
        yield Server(stack)


def address_of(listener):
    return "{}:{}".format(*listener.getsockname())


@pytest.fixture
def ports():
    with free_ports() as ports:
        yield ports


def test_listeners_that_workers_inherited(server):
    listeners = [server.listen(), server.listen()]
    server.fork()
    assert server.find() == (set(map(address_of, listeners)), True)


def test_a_listener_that_one_worker_has_closed(server):
    listener = server.listen()
    server.fork(listener.close)
    server.fork()
    assert server.find() == ({address_of(listener)}, True)


def test_sockets_of_the_master_only(server):
    listener = server.listen()
    server.fork(listener.close)
    assert server.find()[0] == set()


def test_sockets_with_cloexec_that_workers_hold(server):
    """Like the control socket of Gunicorn 25.1 and the listeners of hooks."""
    server.listen(inheritable=False)
    server.fork()
    assert server.find()[0] == set()
    listener = server.listen()
    server.fork()
    assert server.find() == ({address_of(listener)}, True)


def test_a_listener_of_its_own_for_each_worker(server, ports):
    server.listen(inheritable=False)
    for _ in range(2):
        server.fork(lambda: listen_on(*ports))
    assert server.find() == ({f"127.0.0.1:{port}" for port in ports}, True)


def test_a_socket_of_one_worker_only(server, ports):
    server.fork(lambda: listen_on(ports[0]))
    server.fork(lambda: listen_on(*ports))
    assert server.find() == ({f"127.0.0.1:{ports[0]}"}, True)


def test_a_socket_of_a_worker_beside_the_inherited_listener(server, ports):
    listener = server.listen()
    server.fork(lambda: listen_on(*ports))
    assert server.find() == ({address_of(listener)}, True)


def test_a_worker_without_its_listener_yet(server, ports):
    server.fork(lambda: listen_on(ports[0]))
    server.fork()
    assert server.find() == ({f"127.0.0.1:{ports[0]}"}, False)


def test_the_workers_of_another_master(server, ports):
    server.fork(lambda: listen_on(ports[0]))
    found = find_listeners(Identity(1, 0.0), {}, server.workers, {1: parse_bind(":80")})
    assert found == Found({}, settled=True)


def test_no_worker(server):
    server.listen()
    assert server.find()[0] == set()


def test_listeners_that_the_master_still_holds(server):
    listener = server.listen()
    master, inode = Identity(os.getpid(), 0.0), os.fstat(listener.fileno()).st_ino
    found = Found({inode: parse_bind(":80")}, {listener.fileno(): inode}, settled=True)
    assert are_held(master, found, found.listeners, {9: parse_bind(":80")})
    listener.close()
    assert not are_held(master, found, found.listeners, found.listeners)


@pytest.mark.parametrize(
    ("listening", "held"),
    [
        ({1: ":80", 2: ":80", 3: ":81"}, True),
        ({2: ":80", 3: ":81", 4: ":82"}, True),
        ({1: ":80", 3: ":81", 5: ":81"}, True),
        ({1: ":80", 3: ":81", 6: ":81"}, False),
        ({1: ":80", 2: ":80"}, False),
        ({1: ":82", 3: ":81"}, False),
        ({}, False),
    ],
    ids=[
        "all are there",
        "one of each is there",
        "another master has one",
        "there is a new one",
        "an address is gone",
        "another has the inode",
        "all are gone",
    ],
)
def test_listeners_that_workers_still_hold(listening, held):
    found = Found({1: parse_bind(":80"), 2: parse_bind(":80"), 3: parse_bind(":81")}, settled=True)
    there = {inode: parse_bind(text) for inode, text in listening.items()}
    assert are_held(Identity(1, 0.0), found, [1, 2, 3, 5], there) is held
