"""Counts of connections, for real servers with clients that hold connections open."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from datadog_checks.gunicorn.host.procfs import read_stat
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.scanning.candidates import read_candidate
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.sockets import connections, namespaces
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.netlink import NetlinkError
from tests.gunicorn_server import (
    GUNICORN,
    GUNICORN_VERSION,
    NEWEST,
    as_nobody,
    is_alive,
    kill_and_wait,
    listening_at,
    newest,
    root,
    run_gunicorn,
    temporary_folder,
    wait_until,
)

pytestmark = pytest.mark.every_gunicorn


def processes_of(*servers):
    """List the masters and workers that a check has found."""
    pids = [pid for server in servers for pid in server.masters() if is_alive(pid)]
    masters = [found for found in map(read_candidate, pids) if isinstance(found, Candidate)]
    workers = [Identity(pid, read_stat(pid).started) for server in servers for pid in server.workers()]
    return {master.identity: master for master in masters}, workers


def look(connections, masters, workers):
    """Return accepted and queued connections by address."""
    return {str(address): tuple(counts) for address, counts in connections.look(masters, workers).items()}


def assert_connections(expected, *servers, connections=None):
    """Wait until both sources, sock_diag and procfs, show these counts."""
    connections = connections or Connections(())

    def found():
        return look(connections, *processes_of(*servers))

    wait_until(lambda: found() == expected, expected, lambda: f"the last was {found()}", seconds=10)
    assert look(Connections(()), *processes_of(*servers)) == expected
    with without_sock_diag():
        assert found() == expected
        assert look(Connections(()), *processes_of(*servers)) == expected


@contextlib.contextmanager
def without_sock_diag():
    def refuse(*_):
        raise NetlinkError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespaces, "read_listening", refuse)
        patch.setattr(namespaces, "read_at", refuse)
        yield


linux = pytest.mark.skipif(not psutil.LINUX, reason="reads Linux's socket tables")

SLEEP = "/sleep?30"


@linux
class TestWorkers:
    @pytest.mark.parametrize(
        ("bind", "count"),
        [
            ("127.0.0.1:0", 7),
            pytest.param("unix:{folder}/a b", 5, marks=newest),
            pytest.param("0.0.0.0:0", 5, marks=newest),
            pytest.param("[::]:0", 5, marks=newest),
        ],
    )
    def test_sync_workers_accept_one_connection_each(self, bind, count):
        with run_gunicorn(workers=3, bind=[bind]) as server:
            connections = Connections(())
            (address,) = server.addresses()
            assert_connections({address: (0, 0)}, server, connections=connections)
            with server.requests(count, SLEEP):
                assert_connections({address: (3, count - 3)}, server, connections=connections)
                if os.geteuid() == 0:
                    seen = processes_of(server)
                    for bound, counts in ([address], {address: (3, count - 3)}), ([], {}), (["127.0.0.1:1"], {}):
                        stranger = Connections(tuple(map(parse_bind, bound)))
                        assert as_nobody(lambda stranger=stranger: look(stranger, *seen)) == counts
            # The clients have exited; the workers have not noticed.
            assert_connections({address: (3, count - 3)}, server, connections=connections)

    @newest
    @pytest.mark.parametrize("worker_class", ["gthread", "gevent", "asgi"])
    def test_other_workers_accept_at_once(self, worker_class):
        app = "app:asgi_app" if worker_class == "asgi" else "app:app"
        with run_gunicorn("--worker-class", worker_class, "--threads", "4", app=app, workers=1) as server:
            wait_until((server.folder / "gunicorn.ctl").exists, "the control socket")
            (address,) = server.addresses()
            with server.requests(6, SLEEP):
                assert_connections({address: (6, 0)}, server)
                if os.geteuid() == 0:
                    bound, seen = Connections((parse_bind(address),)), processes_of(server)
                    assert as_nobody(lambda: look(bound, *seen)) == {address: (6, 0)}


@contextlib.contextmanager
def requests_to(where, count):
    """Hold `count` requests open at a port or at the path of a UNIX socket."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.socket(socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX))
            client.connect(where)
            client.sendall(f"GET {SLEEP} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        yield


# A configuration whose workers listen like an exporter of metrics.
EXPORTER = """
import socket
def post_worker_init(worker):
    worker.mine = socket.create_server(("127.0.0.1", 0), backlog=5)
    worker.log.info("has a listener of its own")
"""

# Listens, and runs a command that inherits the socket, at a descriptor that nothing else uses.
LEAKED = 20
_LEAK = f"""
import os, socket, sys
host, port = sys.argv[1].split(":")
listener = socket.create_server((host, int(port)), backlog=2048)
os.dup2(listener.fileno(), {LEAKED})
os.execvp(sys.argv[2], sys.argv[2:])
"""


def leaking(address, *command):
    """Build a command that inherits a listening socket from its parent."""
    return sys.executable, "-c", _LEAK, address, *command


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@linux
class TestListeners:
    @newest
    def test_several_listeners_and_new_ones_after_a_hup(self):
        config = "import os; bind = [f'unix:{os.environ[\"HOME\"]}/app.sock', '127.0.0.1:0']"
        with run_gunicorn(bind=(), config=config) as server, server.requests(3, SLEEP):
            connections = Connections(())
            unix, tcp = server.addresses()
            assert_connections({unix: (2, 1), tcp: (0, 0)}, server, connections=connections)
            server.configure("bind = '127.0.0.1:0'")
            server.signal(signal.SIGHUP)
            wait_until(lambda: server.addresses()[0] not in (unix, tcp), "another address", server.explain)
            wait_until(lambda: len(server.booted()) == 4, "the new workers", server.explain)
            (other,) = server.addresses()
            assert_connections({other: (0, 0)}, server, connections=connections)

    def test_during_an_upgrade_a_shared_listener_counts_once(self):
        with run_gunicorn(workers=1) as server, server.requests(3, SLEEP):
            connections = Connections(())
            (address,) = server.addresses()
            assert_connections({address: (1, 2)}, server, connections=connections)
            server.signal(signal.SIGUSR2)
            wait_until(lambda: len(server.masters()) == 2, "the second master", server.explain)
            server.await_workers(2)
            assert_connections({address: (2, 1)}, server, connections=connections)
            assert len(connections._found) == 2
            kill_and_wait(server.master)
            assert_connections({address: (2, 1)}, server, connections=connections)
            assert len(connections._found) == 1

    def test_reuse_port(self):
        address = f"127.0.0.1:{free_port()}"
        # Before 24.1, the workers share one socket.
        listeners = 3 if GUNICORN_VERSION == NEWEST else 1
        with run_gunicorn("--reuse-port", workers=3, bind=[address]) as server:
            wait_until(lambda: listening_at(address) == listeners, "all workers to listen")
            # Enough requests that each worker has one, however the kernel distributes them.
            with requests_to(parse_bind(address)[1:], 40):
                assert_connections({address: (3, 37)}, server)

    @newest
    def test_replaced_workers_with_reuse_port(self):
        address = f"127.0.0.1:{free_port()}"
        with run_gunicorn("--reuse-port", workers=3, bind=[address]) as server:
            connections = Connections(())
            wait_until(lambda: listening_at(address) == 3, "all workers to listen")
            with requests_to(parse_bind(address)[1:], 40):
                assert_connections({address: (3, 37)}, server, connections=connections)
            # The connections queued for a worker are lost when it exits; a new worker replaces it.
            waiting = 37
            for left, worker in zip((2, 1, 0), server.workers(), strict=True):
                kill_and_wait(worker)
                (found,) = look(connections, *processes_of(server)).items()
                assert found[0] == address
                assert found[1][0] == left
                assert found[1][1] < waiting
                waiting = found[1][1]
                wait_until(lambda left=left: len(server.booted()) == 6 - left, "another worker", server.explain)
                wait_until(lambda: listening_at(address) == 3, "it to listen")
            with requests_to(parse_bind(address)[1:], 40):
                assert_connections({address: (3, 37)}, server, connections=connections)
            assert set(connections._found) == set(processes_of(server)[0])

    @pytest.mark.parametrize("arguments", [(), ("--reuse-port",), ("--preload",)], ids=" ".join)
    def test_a_listener_that_the_parent_leaked_is_left_out(self, arguments):
        address, leaked = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        with run_gunicorn(*arguments, bind=[address], command=leaking(leaked, GUNICORN)) as server:
            assert listening_at(leaked) == 1
            assert_connections({address: (0, 0)}, server)
            if "--reuse-port" in arguments:
                # Gunicorn 24.1 and later cannot be upgraded with it.
                return
            # The new master inherits it as well.
            server.signal(signal.SIGUSR2)
            wait_until(lambda: len(server.masters()) == 2, "the second master", server.explain)
            server.await_workers(4)
            assert_connections({address: (0, 0)}, server)

    def test_a_worker_that_is_still_booting_shows_no_leaked_listener(self):
        config = "import time\ndef post_fork(server, worker): time.sleep(3)"
        leaked = f"127.0.0.1:{free_port()}"
        with run_gunicorn(workers=1, config=config, command=leaking(leaked, GUNICORN)) as server:
            kept = Connections(())
            assert look(kept, *processes_of(server)) == {}
            assert_connections({server.addresses()[0]: (0, 0)}, server, connections=kept)

    @newest
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_listener_of_the_application_is_left_out(self, workers):
        """It looks like one of the server with --reuse-port."""
        address = f"127.0.0.1:{free_port()}"
        with run_gunicorn("--reuse-port", workers=workers, bind=[address], config=EXPORTER) as server:
            wait_until(lambda: server.log.count("of its own") == workers, "all workers to boot")
            kept = Connections(())
            wait_until(lambda: look(kept, *processes_of(server)) == {address: (0, 0)}, "the listener")
            with requests_to(parse_bind(address)[1:], 20):
                wait_until(
                    lambda: look(kept, *processes_of(server)) == {address: (workers, 20 - workers)}, "the connections"
                )

    @newest
    def test_a_listener_of_the_application_beside_one_of_unknown_limit(self):
        """Nothing distinguishes the two, except the option `bind`."""
        address = f"127.0.0.1:{free_port()}"
        arguments = ("--reuse-port", "--backlog", "100")
        with run_gunicorn(*arguments, workers=1, bind=[address], config=EXPORTER) as server:
            wait_until(lambda: "of its own" in server.log, "the worker to boot")
            bound = Connections((parse_bind(address),))
            assert look(Connections(()), *processes_of(server)) == {}
            assert look(bound, *processes_of(server)) == {address: (0, 0)}

    @newest
    def test_sockets_of_a_hook_are_not_listeners(self):
        """Like exporters of metrics. Workers hold the socket, too."""
        config = "import socket\ndef when_ready(server): server.mine = socket.create_server(('127.0.0.1', 0))"
        with run_gunicorn(config=config) as server:
            assert_connections(dict.fromkeys(server.addresses(), (0, 0)), server)

    @root
    def test_a_complete_list_of_arguments_needs_no_bind(self):
        address, other = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        with run_gunicorn(titled=False, bind=[address]) as server, run_gunicorn(bind=[other]):
            seen, bound = processes_of(server), Connections((parse_bind(other),))
            assert as_nobody(lambda: look(bound, *seen)) == {address: (0, 0)}

    @root
    def test_with_a_descriptor_gunicorn_ignores_other_addresses(self):
        """Like a server behind systemd's socket activation."""
        address, ignored = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        command, bind = leaking(address, GUNICORN), [f"fd://{LEAKED}", ignored]
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(run_gunicorn(titled=False, workers=1, bind=bind, command=command))
            stack.enter_context(run_gunicorn(bind=[ignored]))
            assert server.addresses() == [address]
            stack.enter_context(requests_to(parse_bind(address)[1:], 3))
            assert_connections({address: (1, 2)}, server)
            seen, bound = processes_of(server), Connections((parse_bind(address),))
            assert as_nobody(lambda: look(bound, *seen)) == {address: (1, 2)}
            assert as_nobody(lambda: look(Connections(()), *seen)) == {}

    @newest
    @root
    def test_without_a_title_the_arguments_give_the_addresses(self):
        addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
        bind = [*addresses, "127.0.0.1:0"]
        with run_gunicorn(titled=False, workers=1, bind=bind) as server, server.requests(3, SLEEP):
            wait_until(lambda: look(Connections(()), *processes_of(server))[addresses[0]] == (1, 2), "a request")
            seen = processes_of(server)
            given = {addresses[0]: (1, 2), addresses[1]: (0, 0)}
            assert as_nobody(lambda: look(Connections(()), *seen)) == given
            # The option `bind` completes them.
            chosen = server.addresses()[2]
            bound = Connections((parse_bind(chosen),))
            assert as_nobody(lambda: look(bound, *seen)) == {**given, chosen: (0, 0)}


class Fault:
    """Makes one of a look's system calls fail."""

    NAMES = ("os.listdir", "os.open", "os.readlink", "os.stat", "builtins.open")

    def __init__(self, error, number):
        self.error = error
        self.left = number

    @contextlib.contextmanager
    def injected(self):
        with pytest.MonkeyPatch.context() as patch:
            for name in self.NAMES:
                module, _, function = name.partition(".")
                patch.setattr(name, self._failing(getattr(sys.modules[module], function)))
            yield

    def _failing(self, call):
        def act(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                raise self.error
            return call(*args, **kwargs)

        return act


@linux
@newest
class TestFaults:
    @pytest.mark.parametrize("error", [ProcessLookupError(), PermissionError(), OSError(5, "Input/output error")])
    @pytest.mark.parametrize("arguments", [(), ("--reuse-port",)], ids=["shared", "reuse-port"])
    def test_every_call_fails_once(self, error, arguments):
        address = f"127.0.0.1:{free_port()}"
        with run_gunicorn(*arguments, bind=[address]) as server, contextlib.ExitStack() as stack:
            kept, seen = Connections(()), processes_of(server)
            wait_until(lambda: look(kept, *seen), "the workers to listen")
            for source, connections in itertools.product(
                ["the kernel", "procfs"], [lambda: Connections(()), lambda: kept]
            ):
                if source == "procfs":
                    stack.enter_context(without_sock_diag())
                for number in itertools.count(1):
                    with (fault := Fault(error, number)).injected():
                        found = look(looking := connections(), *seen)
                    assert found in ({address: (0, 0)}, {})
                    assert look(looking, *seen) == {address: (0, 0)}
                    if fault.left > 0:
                        break
                assert number > (2 if looking is kept else 8)

    def test_a_master_whose_pid_was_reused(self):
        with run_gunicorn(workers=1) as server:
            bound = Connections(tuple(map(parse_bind, server.addresses())))
            masters, workers = processes_of(server)
            assert look(bound, masters, workers) == {server.addresses()[0]: (0, 0)}
            (master,) = masters.values()
            stale = master._replace(identity=Identity(master.identity.pid, 1.0))
            assert look(bound, {stale.identity: stale}, workers) == {}
            assert not bound._found
            assert look(bound, masters, workers) == {server.addresses()[0]: (0, 0)}
        assert look(bound, masters, workers) == {}
        assert look(bound, {}, []) == {}
        assert not bound._found

    def test_descriptors_are_closed(self):
        with run_gunicorn(workers=1) as server:
            seen = processes_of(server)
            wait_until(lambda: look(Connections(()), *seen), "the worker to boot")
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                assert look(Connections(()), *seen)
                with without_sock_diag():
                    assert look(Connections(()), *seen)
            assert len(os.listdir("/proc/self/fd")) == before


def test_other_systems_have_no_socket_tables(monkeypatch):
    monkeypatch.setattr(connections, "LINUX", False)
    with Fault(AssertionError("looked"), 1).injected():
        assert Connections((parse_bind(":8000"),)).look({Identity(1, 1.0): None}, []) == {}


@linux
@newest
class TestSharedAddresses:
    """Two applications listen on one address in one network namespace."""

    def test_one_name_in_two_folders(self):
        config = "import os; chdir = os.environ['HOME']"
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(run_gunicorn(workers=1, bind=["unix:app.sock"], config=config)) for _ in range(2)
            ]
            self.assert_apart(servers, "unix:app.sock", [f"{server.folder}/app.sock" for server in servers])

    @pytest.mark.skipif(
        not shutil.which("unshare") or subprocess.call(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL) != 0,
        reason="needs Linux's namespaces",
    )
    @root
    def test_one_path_in_two_mount_namespaces(self):
        with temporary_folder() as folder, contextlib.ExitStack() as stack:
            address, mount = f"unix:{folder}/app.sock", f'mount -t tmpfs test {folder}; exec "$@"'
            command = ("unshare", "--mount", "sh", "-ec", mount, "sh", GUNICORN)
            servers = [stack.enter_context(run_gunicorn(workers=1, bind=[address], command=command)) for _ in range(2)]
            paths = [f"/proc/{server.master}/root{folder}/app.sock" for server in servers]
            self.assert_apart(servers, address, paths)

    def assert_apart(self, servers, address, paths):
        with requests_to(paths[0], 3), requests_to(paths[1], 1):
            kept = [Connections(()) for _ in range(2)]
            expected = [{address: (1, 2)}, {address: (1, 0)}]

            def found(connections=kept):
                return [look(each, *processes_of(server)) for each, server in zip(connections, servers, strict=True)]

            wait_until(lambda: found() == expected, expected, lambda: f"the last was {found()}")
            assert found([Connections(()), Connections(())]) == expected
            assert_connections({address: (2, 2)}, *servers)
            with without_sock_diag():
                # In procfs, the listener of a queued connection is unknown.
                assert found() == found([Connections(()), Connections(())]) == [{}, {}]
            bound = Connections((parse_bind(address),))
            if os.geteuid() == 0:
                seen = processes_of(servers[0])
                assert as_nobody(lambda: look(bound, *seen)) == {}

    def test_one_port(self):
        """Like a blue-green deployment."""
        address = f"127.0.0.1:{free_port()}"
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(run_gunicorn("--reuse-port", workers=workers, bind=[address])) for workers in (1, 2)
            ]
            wait_until(lambda: listening_at(address) == 3, "all to listen")
            kept = [Connections(()) for _ in servers]
            stack.enter_context(requests_to(parse_bind(address)[1:], 60))

            def found(server, connections):
                return look(connections, *processes_of(server)).get(address)

            def both():
                return [found(*each) for each in zip(servers, kept, strict=True)]

            wait_until(lambda: [accepted for accepted, _ in both()] == [1, 2], "the workers", lambda: f"{both()}")
            (_, blue), (_, green) = both()
            assert blue + green == 57
            assert min(blue, green) > 0
            for source in contextlib.nullcontext(), without_sock_diag():
                with source:
                    assert both() == [(1, blue), (2, green)]
                    assert [found(server, Connections(())) for server in servers] == both()
                    assert look(Connections(()), *processes_of(*servers)) == {address: (3, 57)}
                    if os.geteuid() == 0:
                        # They cannot be distinguished from the workers of one server.
                        seen, bound = processes_of(servers[0]), Connections((parse_bind(address),))
                        assert as_nobody(lambda seen=seen, bound=bound: look(bound, *seen)) == {address: (3, 57)}


NAMESPACE = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh")


@newest
@pytest.mark.skipif(
    not psutil.LINUX
    or not (shutil.which("unshare") and shutil.which("ip"))
    or subprocess.call([*NAMESPACE, "true"], stderr=subprocess.DEVNULL) != 0,
    reason="needs Linux's namespaces and iproute2",
)
@root
def test_equal_addresses_in_several_network_namespaces_are_summed():
    port = free_port()
    address = f"127.0.0.1:{port}"
    # The server is its own client, because no other process is in its namespace.
    config = f"""
import socket
def when_ready(server):
    server.clients = [socket.create_connection(("127.0.0.1", {port})) for _ in range(3)]
    for client in server.clients:
        client.sendall(b"GET {SLEEP} HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n")
"""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(run_gunicorn(workers=1, bind=[address], config=config, command=command))
            for command in ((*NAMESPACE, GUNICORN), (GUNICORN,), (*NAMESPACE, GUNICORN))
        ]
        connections = Connections(())
        assert_connections({address: (1, 2)}, servers[0], connections=connections)
        assert_connections({address: (3, 6)}, *servers, connections=connections)
        seen = processes_of(*servers)
        assert as_nobody(lambda: look(Connections((parse_bind(address),)), *seen)) == {address: (3, 6)}
        kill_and_wait(servers[0].master)
        assert_connections({address: (2, 4)}, *servers, connections=connections)
