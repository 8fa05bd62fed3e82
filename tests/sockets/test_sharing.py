"""The owners of sockets: for literal sockets, and for processes that act as a master and its workers."""

import contextlib
import os
import socket
import sys

import pytest

from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.sockets import connections
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.connections import Connections, Counts
from datadog_checks.gunicorn.sockets.namespaces import Namespace, Tables
from datadog_checks.gunicorn.sockets.sharing import find_shared, leave_out_others, read_held
from datadog_checks.gunicorn.sockets.tables import Socket
from tests.sockets.stand_ins import StandIn, candidate_of, free_ports, listen_on


def listens(text, inode, queued=0):
    return Socket(parse_bind(text), True, inode, queued)


def accepted(text, inode):
    return Socket(parse_bind(text), False, inode, 0)


@pytest.mark.parametrize(
    ("sockets", "own", "configured", "shared"),
    [
        ([listens(":80", 1)], {1: ":80"}, [], []),
        ([listens(":80", 1), listens(":80", 2)], {1: ":80", 2: ":80"}, [], []),
        ([listens(":80", 1), listens(":80", 2)], {1: ":80"}, [], [":80"]),
        ([listens(":80", 1), listens("127.0.0.1:80", 2), listens(":81", 3)], {1: ":80"}, [], []),
        ([listens(":80", 1), accepted(":80", 2)], {1: ":80"}, [], []),
        ([listens("unix:/a", 1), listens("unix:/a", 2)], {1: "unix:/a"}, [], ["unix:/a"]),
        ([listens(":80", 1), listens(":80", 2)], {}, [":80"], []),
        ([listens(":80", 1), listens(":80", 2)], {1: ":80"}, [":80"], []),
        ([listens("unix:/a", 1)], {}, ["unix:/a"], []),
        ([listens("unix:/a", 1), listens("unix:/b", 2), accepted("unix:/a", 3)], {}, ["unix:/a"], []),
        ([listens("unix:/a", 1), listens("unix:/a", 2)], {}, ["unix:/a"], ["unix:/a"]),
    ],
    ids=[
        "one's own",
        "several of one's own",
        "another's",
        "another's at another address",
        "an accepted connection is not a listener",
        "another's of the same name",
        "several at a configured TCP address may be workers of one server",
        "several at a configured TCP address, one of them one's own",
        "one UNIX socket of a configured name",
        "UNIX sockets of several names",
        "several UNIX sockets of a configured name",
    ],
)
def test_addresses_that_others_listen_on(sockets, own, configured, shared):
    own = {inode: parse_bind(text) for inode, text in own.items()}
    assert find_shared(sockets, own, list(map(parse_bind, configured))) == set(map(parse_bind, shared))


@pytest.mark.parametrize(
    ("sockets", "shared", "left"),
    [
        ([listens(":80", 1), listens(":80", 8), accepted(":80", 2), accepted(":80", 9)], [":80"], [1, 2]),
        ([accepted("127.0.0.1:80", 2), accepted("127.0.0.1:80", 9), listens("127.0.0.1:80", 8)], [":80"], [2]),
        ([listens(":80", 1), listens(":81", 8), accepted(":81", 9), accepted("127.0.0.1:80", 9)], [], [1, 8, 9, 9]),
        ([listens("unix:/a", 1, 3), listens("unix:/a", 8), accepted("unix:/a", 2)], ["unix:/a"], [1, 2]),
        (
            [listens("unix:/a", 1, None), accepted("unix:/a", 2), Socket(parse_bind("unix:/a"), False, 0, 1)],
            ["unix:/a"],
            [2],
        ),
    ],
    ids=["others'", "others' at the wildcard address", "nothing is shared", "UNIX", "unknown queue"],
)
def test_sockets_of_others_are_left_out(sockets, shared, left):
    found = leave_out_others(sockets, set(map(parse_bind, shared)), {1, 2, 3})
    assert [socket.inode for socket in found] == left


@pytest.fixture
def server():
    with contextlib.ExitStack() as stack:
        yield StandIn(stack)


def refuse_descriptors(monkeypatch, process):
    def refuse(path, listdir=os.listdir):
        if f"/{process.pid}/fd" in path:
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's descriptors")


@linux
class TestHeld:
    def test_sockets_that_processes_hold(self, server):
        with socket.socket() as first, socket.socket() as second:
            server.fork(second.close)
            server.fork(first.close)
            inodes = {os.fstat(each.fileno()).st_ino for each in (first, second)}
            assert inodes <= read_held(server.workers)
            assert inodes - read_held(server.workers[:1]) == {os.fstat(second.fileno()).st_ino}

    def test_a_vanished_process_holds_nothing(self, server):
        with socket.socket():
            server.fork()
            held = read_held(server.workers)
            assert held
            assert read_held([*server.workers, Identity(2**31 - 1, 1.0)]) == held
            assert read_held([server.workers[0]._replace(create_time=1.0)]) == set()

    def test_an_unreadable_process(self, server, monkeypatch):
        with socket.socket():
            silent = server.fork()
            server.fork()
            refuse_descriptors(monkeypatch, silent)
            assert read_held(server.workers) is None
            assert read_held(server.workers[1:])


@linux
class TestKeptListeners:
    def look(self, server, kept):
        found = kept.look({server.master: candidate_of(server.master)}, server.workers)
        return sorted(address.port for address in found)

    def test_a_worker_that_is_not_ready_has_no_connections(self, server):
        """The listeners of the other workers may be incomplete."""
        with free_ports() as ports:
            one, other = ports
            first = server.fork(lambda: listen_on(one), lambda: listen_on(other))
            second = server.fork(list, lambda: listen_on(*ports))
            kept = Connections(())
            assert self.look(server, kept) == [one]
            server.go_on(first)
            assert self.look(server, kept) == sorted(ports)
            server.go_on(second)
            assert self.look(server, kept) == sorted(ports)
            assert kept._found

    def test_a_new_worker(self, server):
        with free_ports() as (port, _):
            server.fork(lambda: listen_on(port))
            kept = Connections(())
            assert self.look(server, kept) == [port]
            server.fork(lambda: listen_on(port))
            assert self.look(server, kept) == [port]
            (found,) = kept._found.values()
            assert len(found.listeners) == 2

    def test_an_address_that_another_server_listens_on(self, server, monkeypatch):
        """The address is skipped only while a worker cannot be read."""
        with free_ports() as (port, _), contextlib.ExitStack() as stack:
            (listener,) = map(server.stack.enter_context, listen_on(port))
            server.keep(listener)
            worker = server.fork()
            kept = Connections(())
            assert self.look(server, kept) == [port]
            (other,) = map(stack.enter_context, listen_on(port))
            assert self.look(server, kept) == [port]
            refuse_descriptors(monkeypatch, worker)
            assert self.look(server, kept) == []
            server.workers.clear()
            assert self.look(server, kept) == [port]
            other.close()
            server.workers.append(worker)
            assert self.look(server, kept) == [port]

    def test_a_sum_covers_all_network_namespaces_or_is_not_submitted(self, monkeypatch):
        partial, whole = parse_bind(":80"), parse_bind(":81")
        counts = {partial: Counts(1, 2), whole: Counts(3, 4)}
        namespaces = [Namespace(number, [], Tables(), own=False) for number in (1, 2)]
        counted = {1: (counts, {whole}), 2: ({whole: Counts(1, 1)}, {partial})}
        monkeypatch.setattr(connections, "read_namespaces", lambda _masters, _tables: namespaces)
        monkeypatch.setattr(Connections, "_read_counts", lambda self, namespace, *_: counted[namespace.number])
        assert Connections(()).look({}, []) == {whole: Counts(4, 5)}

    def test_a_server_without_workers_listens_on_its_configured_address(self, server):
        port = server.listen().getsockname()[1]
        server.listen()
        assert self.look(server, Connections(())) == []
        assert self.look(server, Connections((parse_bind(f"127.0.0.1:{port}"),))) == [port]

    def test_a_server_without_workers_does_not_listen_where_only_another_server_does(self, server):
        with free_ports() as (port, _):
            server.fork(lambda: listen_on(port))
            server.workers.clear()
            assert self.look(server, Connections((parse_bind(f"127.0.0.1:{port}"),))) == []
