"""Finding listeners of processes that act as a master and its workers; Linux only."""

import contextlib
import os
import socket
import sys

import pytest

from datadog_checks.gunicorn.host.descriptors import read_sockets
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.sockets.addresses import Family, Listener, parse_bind
from datadog_checks.gunicorn.sockets.listeners import (
    Found,
    are_held,
    choose,
    default_limit,
    read_default_limit,
    read_listeners,
)
from datadog_checks.gunicorn.sockets.sock_diag import read_listening
from tests.sockets.stand_ins import StandIn, free_ports, listen_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's descriptors")


class Server(StandIn):
    def look(self, *configured):
        listening = {listener.inode: listener for listener in read_listening(Family.INET)}
        return read_listeners(self.master, read_sockets(self.master.pid), self.workers, listening, configured)

    def find(self, *configured):
        found = self.look(*configured)
        return {str(address) for address in found.listeners.values()}, found.settled


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


def test_sockets_of_the_master_only_are_not_listeners(server):
    listener = server.listen()
    server.fork(listener.close)
    assert server.find()[0] == set()


def test_sockets_with_cloexec_that_workers_hold_are_not_listeners(server):
    """Like the control socket of Gunicorn 25.1 and the listeners of hooks."""
    server.listen(inheritable=False)
    server.fork()
    assert server.find()[0] == set()
    listener = server.listen()
    server.fork()
    assert server.find() == ({address_of(listener)}, True)


def test_a_listener_that_the_parent_leaked(server):
    """It is inheritable in every process. Gunicorn makes its own close on exec in each worker."""
    server.leak()
    listener = server.listen()
    server.fork()
    assert server.find() == ({address_of(listener)}, True)


def test_only_a_leaked_listener(server):
    server.leak()
    server.fork()
    assert server.find()[0] == set()


def test_a_leaked_listener_beside_those_of_the_workers(server, ports):
    server.leak()
    server.fork(lambda: listen_on(*ports))
    server.fork(lambda: listen_on(*ports))
    assert server.find() == ({f"127.0.0.1:{port}" for port in ports}, True)


def test_a_new_worker_does_not_yet_show_which_listeners_are_leaked(server):
    server.leak()
    listener = server.listen()
    new = server.fork(list, server.boot, booted=False)
    assert server.find() == (set(), False)
    server.go_on(new)
    assert server.find() == ({address_of(listener)}, True)


def test_a_new_worker_that_has_prepared_one_of_its_listeners(server):
    first, second = server.listen(), server.listen()
    new = server.fork(lambda: first.set_inheritable(False), server.boot, booted=False)
    assert server.find() == ({address_of(first)}, False)
    server.go_on(new)
    assert server.find() == ({address_of(first), address_of(second)}, True)


def test_one_booted_worker_is_enough(server):
    server.leak()
    listener = server.listen()
    server.fork(booted=False)
    server.fork()
    assert server.find() == ({address_of(listener)}, True)


def test_after_a_hup_new_listeners_have_no_worker_yet(server):
    """Old workers still hold the listeners that the master has closed."""
    old = server.listen()
    server.fork()
    old.close()
    new = server.listen()
    assert server.find() == (set(), False)
    server.fork()
    assert server.find() == ({address_of(new)}, True)


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


def test_a_new_worker_with_the_first_of_its_listeners(server, ports):
    server.fork(lambda: listen_on(*ports))
    server.fork(lambda: listen_on(ports[0]), booted=False)
    assert server.find() == ({f"127.0.0.1:{ports[0]}"}, False)


class TestListenersOfTheApplication:
    """With --reuse-port, workers hold them as they hold those of the server."""

    def test_one_worker_with_an_exporter(self, server, ports):
        server.fork(lambda: (listen_on(ports[0]), listen_on(ports[1], backlog=5)))
        assert server.find() == ({f"127.0.0.1:{ports[0]}"}, True)

    def test_one_worker_with_an_exporter_and_an_unusual_limit(self, server, ports):
        addresses = {f"127.0.0.1:{port}" for port in ports}
        server.fork(lambda: (listen_on(ports[0], backlog=512), listen_on(ports[1], backlog=5)))
        found = server.look()
        assert found.listeners == {}
        assert {str(address) for address in found.unclear} == addresses
        assert server.find(parse_bind(f"127.0.0.1:{ports[0]}")) == ({f"127.0.0.1:{ports[0]}"}, True)
        assert server.find(parse_bind("127.0.0.1:1")) == (set(), True)

    def test_one_worker_with_several_listeners_of_the_server(self, server, ports):
        server.fork(lambda: listen_on(*ports))
        assert server.find() == ({f"127.0.0.1:{port}" for port in ports}, True)

    def test_an_exporter_of_each_worker(self, server, ports):
        for _ in range(2):
            server.fork(lambda: (listen_on(ports[0]), listen_on(ports[1], backlog=5)))
        assert server.find() == ({f"127.0.0.1:{ports[0]}"}, True)


@pytest.mark.parametrize(
    ("limits", "configured", "several", "default", "chosen"),
    [
        ({":80": 2048, ":81": 5}, [], False, 2048, {":80"}),
        ({":80": 2048, ":81": 5}, [], True, 2048, {":80"}),
        ({":80": 2048, ":81": 2048}, [], False, 2048, {":80", ":81"}),
        ({":80": 512, ":81": 512}, [], False, 2048, {":80", ":81"}),
        ({":80": 128, ":81": 128}, [], False, 2048, set()),
        ({":80": 512, ":81": 512}, [], True, 2048, {":80", ":81"}),
        ({":80": 512, ":81": 5}, [], True, 2048, set()),
        ({":80": 512, ":81": 5}, [":80"], False, 2048, {":80"}),
        ({":80": 2048, ":81": 5}, [":82"], False, 2048, {":80"}),
        ({":80": 128, ":81": 128}, [], False, None, set()),
        ({":80": None, ":81": None}, [], True, 2048, {":80", ":81"}),
        ({":80": None, ":81": None}, [], False, None, set()),
        ({":80": None, ":81": None}, [":81"], False, 2048, {":81"}),
    ],
)
def test_choose(limits, configured, several, default, chosen):
    sockets = [Listener(number, parse_bind(text), limit) for number, (text, limit) in enumerate(limits.items())]
    sockets.append(Listener(9, parse_bind(":99"), 1))
    addresses, configured = set(map(parse_bind, limits)), list(map(parse_bind, configured))
    found = choose(addresses, sockets, configured, several=several, default=default)
    assert found == set(map(parse_bind, chosen))


@pytest.mark.parametrize(("somaxconn", "limit"), [(4096, 2048), (1024, 1024), (128, None), (0, None)])
def test_the_default_limit(somaxconn, limit):
    assert default_limit(somaxconn) == limit


def test_the_kernel_reports_the_limit():
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        (found,) = [each for each in read_listening(Family.INET) if each.inode == os.fstat(listener.fileno()).st_ino]
    assert found.limit == read_default_limit()


def test_the_workers_of_another_master(server, ports):
    server.fork(lambda: listen_on(ports[0]))
    found = read_listeners(Identity(1, 0.0), {}, server.workers, {1: Listener(1, parse_bind(":80"))})
    assert found == Found({}, settled=True)


def test_without_workers_no_listener_is_found(server):
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
