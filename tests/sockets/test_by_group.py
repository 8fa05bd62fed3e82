"""Connections of servers in control groups of their own, as an unprivileged Agent sees them.

The servers and the groups are real; the clients' own sockets are the record that counts are compared with.
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from datadog_checks.base.stubs import aggregator, datadog_agent
from datadog_checks.base.utils.diagnose import Diagnosis

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.processes import is_hidden
from datadog_checks.gunicorn.pool import fleet
from datadog_checks.gunicorn.sockets import by_group, namespaces, sock_diag
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.obstacles import Reason
from tests.control_groups import NETWORK, find_mounts, needs, run_container
from tests.gunicorn_server import (
    GUNICORN,
    as_nobody,
    become_nobody,
    in_fork,
    listening_at,
    newest,
    run_gunicorn,
    temporary_folder,
    unique,
    wait_until,
)
from tests.sockets.test_connections import (
    EXPORTER,
    LEAKED,
    Fault,
    free_port,
    leaking,
    processes_of,
)
from tests.sockets.test_connections import look as look_at

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or "v2" not in find_mounts() or not shutil.which("setpriv"),
        reason="needs root, control groups of cgroup v2 that can be made, and util-linux",
    ),
]

# The user of the servers, who owns no other UNIX sockets.
USER = 200_000 + os.getpid() % 100_000
SLEEP = "/sleep?30"
# Lets that user read the files of Python, wherever they are.
_RIGHTS = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
_AS_USER = f'chown -R "$0" "$HOME"; exec setpriv --reuid "$0" --regid "$0" --clear-groups {_RIGHTS} -- "$@"'
AS_USER = ("sh", "-ec", _AS_USER, str(USER))
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWPID = 0x20000, 0x02000000, 0x20000000


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Look at the host in every run: tests before this one may have looked a moment ago."""
    monkeypatch.setattr(fleet, "FRESH_SECONDS", 0)


class Seen(NamedTuple):
    """What a run submitted about connections, by listener and state, and what `agent diagnose` said about them."""

    connections: dict[str, dict[str, int]]
    results: set[int]
    text: str

    def assert_none(self, *reasons):
        """Assert that nothing was submitted, and that these and no other reasons are given."""
        assert self.connections == {}
        assert self.results == {Diagnosis.DIAGNOSIS_WARNING}
        beginnings = {reason: reason.split("{}")[0] for reason in Reason}
        assert {reason for reason, text in beginnings.items() if text in self.text} == set(reasons), self.text
        assert "Set `bind` to its addresses" in self.text


def look(name=None, **instance):
    """Run a check, and let it diagnose itself."""
    aggregator.reset()
    check = GunicornCheck("gunicorn", {}, [{"proc_name": name, **instance} if name else instance])
    assert check.run() == ""
    found = {}
    for metric in aggregator.metrics("gunicorn.connections"):
        tags = dict(tag.split(":", 1) for tag in metric.tags)
        found.setdefault(tags["listener"], {})[tags["state"]] = metric.value
    diagnoses = [each for each in json.loads(check.get_diagnoses()) if each["name"] == "connections"]
    text = " ".join(f"{each['diagnosis']} {each['remediation']}" for each in diagnoses)
    return Seen(found, {each["result"] for each in diagnoses}, text)


def look_as_nobody(name=None, **instance):
    return as_nobody(lambda: look(name, **instance))


@pytest.fixture
def group():
    with run_container(unique("web"), "", version="v2") as group:
        yield group


@pytest.fixture
def other_group():
    with run_container(unique("other"), "", version="v2") as group:
        yield group


@contextlib.contextmanager
def run_in(group, *arguments, command=(), **options):
    """Run a server as an ordinary user in a control group; a further command runs before Gunicorn."""
    with run_gunicorn(*arguments, command=(*group.enter(*AS_USER), *command, GUNICORN), **options) as server:
        yield server


@contextlib.contextmanager
def running(*command):
    """Run another program, and yield once it has printed `!`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout.read(1) == b"!"
        yield process
    finally:
        process.kill()
        process.communicate()


def code(text=""):
    """Build a command that runs some Python, prints `!`, and sleeps."""
    return sys.executable, "-c", f"{text}\nimport time; print(end='!', flush=True); time.sleep(60)"


def assert_held(server, accepted, queued, *, address=None, **instance):
    """Assert what a run submits while clients hold requests."""
    address = address or server.addresses()[0]
    with server.requests(accepted + queued, SLEEP):
        expected = {address: {"accepted": accepted, "queued": queued}}
        wait_until(lambda: as_nobody(lambda: look(server.name, **instance)).connections == expected, expected)
        seen = look_as_nobody(server.name, **instance)
        assert seen.connections == expected
        assert seen.results == {Diagnosis.DIAGNOSIS_SUCCESS}
        assert f"`{address}` (by control group)" in seen.text


def count_names(pids):
    return Counter(Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)


class TestFound:
    @pytest.mark.every_gunicorn
    def test_accepted_and_queued_connections(self, group):
        """Beside listening UNIX sockets of root, its own control socket, and other listeners outside of its group."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / "root.sock"))
            listener.listen()
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
            server = stack.enter_context(run_in(group, workers=3))
            assert os.stat(f"/proc/{server.master}").st_uid == USER
            assert_held(server, 3, 2)

    @pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
    def test_a_wildcard_address(self, group, bind):
        with run_in(group, workers=1, bind=[bind]) as server:
            assert_held(server, 1, 2)

    @newest
    def test_reuse_port(self, group):
        address = f"127.0.0.1:{free_port()}"
        with run_in(group, "--reuse-port", workers=2, bind=[address]) as server:
            wait_until(lambda: listening_at(address) == 2, "all workers to listen")
            assert set(look_as_nobody(server.name).connections) == {address}

    def test_what_starts_the_server_and_what_it_starts_belong_to_it(self, group):
        """A shell above it, a helper of a hook and its child below it, and a new master."""
        config = """
import subprocess
def when_ready(server): subprocess.Popen(["sh", "-c", "sleep 60; true"])
"""
        with run_in(group, workers=1, config=config, command=("sh", "-c", '"$@"; true', "sh")) as server:
            # An exec may still be under way.
            wait_until(lambda: count_names(group.pids()) >= Counter(sh=2, sleep=1), "the helper and its child")
            assert_held(server, 1, 2)

    @newest
    def test_dirty_workers_belong_to_it(self, group):
        arguments = ("--dirty-app", "dirty:Idle", "--dirty-workers", "1")
        with run_in(group, *arguments, workers=1) as server:
            wait_until(lambda: len(group.pids()) == 4, "the dirty worker")
            assert_held(server, 1, 2)

    def test_the_conditions_are_checked_in_every_run(self, group):
        with run_in(group, workers=1) as server:
            (address,) = server.addresses()
            with running(*code()) as stranger:
                check = GunicornCheck("gunicorn", {}, [{"proc_name": server.name}])

                def addresses():
                    aggregator.reset()
                    check.run()
                    return {tag for each in aggregator.metrics("gunicorn.connections") for tag in each.tags}

                def act():
                    found = [f"listener:{address}" in addresses()]
                    for target in group, None, group:
                        os.write(asking, b"in\n" if target else b"out\n")
                        assert os.read(answers, 1) == b"!"
                        found.append(f"listener:{address}" in addresses())
                    return found

                # This process moves the stranger on behalf of the unprivileged one.
                asked, asking = os.pipe()
                answers, answering = os.pipe()
                mover = os.fork()
                if mover == 0:
                    with contextlib.suppress(BaseException), os.fdopen(asked) as requests:
                        os.close(asking)
                        for request in requests:
                            place = group.folder if request == "in\n" else find_mounts()["v2"]
                            (place / "cgroup.procs").write_text(str(stranger.pid))
                            os.write(answering, b"!")
                    os._exit(0)
                found = as_nobody(act)
                for end in asked, asking, answers, answering:
                    os.close(end)
                os.waitpid(mover, 0)
            assert found == [True, False, True, False]

    def test_one_dump_and_one_read_of_each_group_for_all_servers_of_a_run(self, group, other_group):
        with run_in(group, workers=1) as first, run_in(other_group, workers=1) as second:
            names = [first.name, second.name]

            def act():
                with pytest.MonkeyPatch.context() as patch:
                    calls = Counter()

                    def count(module, name, real):
                        def call(*args):
                            calls[name, *map(str, args)] += 1
                            return real(*args)

                        patch.setattr(module, name, call)

                    count(namespaces, "read_listening", namespaces.read_listening)
                    count(namespaces, "read_at", namespaces.read_at)
                    count(by_group, "read_control_group", by_group.read_control_group)
                    count(by_group, "read_mount", by_group.read_mount)
                    aggregator.reset()
                    check = GunicornCheck("gunicorn", {}, [{"discovery": {"include": names}}])
                    assert check.run() == ""
                    return len(aggregator.metrics("gunicorn.connections")), calls

            submitted, calls = as_nobody(act)
            assert submitted == 4
            assert max(calls.values()) == 1
            assert Counter(name for name, *_ in calls) == {
                "read_listening": 3,
                "read_at": 2,
                "read_control_group": 2,
                "read_mount": 1,
            }


class TestNotFound:
    """Each condition on its own: nothing is submitted, and `agent diagnose` names it."""

    def test_another_server_in_the_group(self, group):
        with run_in(group, workers=1) as first, run_in(group, workers=1) as second:
            for server, other in ((first, second), (second, first)):
                seen = look_as_nobody(server.name)
                seen.assert_none(Reason.OTHER_SERVER, Reason.STRANGER, Reason.SEVERAL_LISTENERS)
                assert f"with the master process `{other.master}`" in seen.text
            both = look_as_nobody(discovery={"include": [first.name, second.name]})
            both.assert_none(Reason.OTHER_SERVER, Reason.STRANGER, Reason.SEVERAL_LISTENERS)

    def test_another_server_that_listens_elsewhere(self, group):
        """On a UNIX socket of root's, and without a title."""
        command = (*group.enter(GUNICORN),)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(run_in(group, workers=1))
            other = run_gunicorn(workers=1, bind=["unix:{folder}/app.sock"], titled=False, command=command)
            other = stack.enter_context(other)
            look_as_nobody(server.name).assert_none(Reason.OTHER_SERVER, Reason.STRANGER)
            seen = look_as_nobody(other.name, bind=other.addresses())
            assert list(seen.connections) == other.addresses()

    def test_two_servers_of_one_name_in_the_group(self, group):
        name = unique("web")
        with run_in(group, "--name", name, name=name), run_in(group, "--name", name, name=name) as second:
            assert second.addresses()
            look_as_nobody(name).assert_none(Reason.SEVERAL_LISTENERS)

    def test_a_stranger_in_the_group(self, group):
        with run_in(group, workers=1) as server, running(*code()) as stranger:
            assert look_as_nobody(server.name).connections
            group.move(stranger.pid)
            seen = look_as_nobody(server.name)
            seen.assert_none(Reason.STRANGER)
            assert f"in its control group: `{stranger.pid}`." in seen.text
            assert "a control group of its own, for instance as a service of systemd" in seen.text

    def test_another_listener_in_the_group(self, group):
        with run_in(group, workers=1, config=EXPORTER) as server:
            wait_until(lambda: "of its own" in server.log, "the worker to boot")
            seen = look_as_nobody(server.name)
            seen.assert_none(Reason.SEVERAL_LISTENERS)
            assert f"`{server.addresses()[0]}`" in seen.text

    @pytest.mark.parametrize(("backlog", "reasons"), [(5, {Reason.LIMIT}), (2048, set())])
    def test_an_exporter_beside_a_unix_socket(self, group, backlog, reasons):
        config = EXPORTER.replace("backlog=5", f"backlog={backlog}")
        with run_in(group, workers=1, config=config, bind=["unix:{folder}/app.sock"]) as server:
            wait_until(lambda: "of its own" in server.log, "the worker to boot")
            seen = look_as_nobody(server.name)
            seen.assert_none(*reasons, Reason.UNIX_SOCKET)
            assert f"`unix:{server.folder}/app.sock`" in seen.text

    def test_a_unix_socket_only(self, group):
        with run_in(group, workers=1, bind=["unix:{folder}/app.sock"]) as server:
            look_as_nobody(server.name).assert_none(Reason.NO_LISTENER, Reason.UNIX_SOCKET)

    def test_another_limit_of_the_accept_queue(self, group):
        with run_in(group, "--backlog", "100", workers=1) as server:
            look_as_nobody(server.name).assert_none(Reason.LIMIT)

    def test_a_unix_socket_of_the_user_elsewhere(self, group):
        listen = (
            f"import os, socket; os.setuid({USER}); s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + '{unique('x')}')"
        )
        with run_in(group, workers=1) as server, running(*code(f"{listen}; s.listen()")):
            look_as_nobody(server.name).assert_none(Reason.UNIX_SOCKET)

    def test_the_root_group(self):
        with run_gunicorn(workers=1, command=(*AS_USER, GUNICORN)) as server:
            seen = look_as_nobody(server.name)
            seen.assert_none(Reason.ROOT_GROUP)
            assert "a control group of its own, for instance as a service of systemd" in seen.text

    def test_socket_activation(self, group):
        """Another program, in a group of its own, made the socket."""
        address = f"127.0.0.1:{free_port()}"
        command = leaking(address, *group.enter(*AS_USER, GUNICORN))
        with run_gunicorn(workers=1, command=command, bind=[f"fd://{LEAKED}"]) as server:
            assert server.addresses() == [address]
            look_as_nobody(server.name).assert_none(Reason.NO_LISTENER)
            assert list(look_as_nobody(server.name, bind=[address]).connections) == [address]

    @newest
    def test_an_address_that_another_group_listens_on(self, group, other_group):
        address = f"127.0.0.1:{free_port()}"
        with (
            run_in(group, "--reuse-port", workers=1, bind=[address]) as server,
            run_in(other_group, "--reuse-port", workers=1, bind=[address]),
        ):
            wait_until(lambda: listening_at(address) == 2, "both to listen")
            look_as_nobody(server.name).assert_none(Reason.SHARED_ADDRESS)

    @needs(*NETWORK)
    def test_another_network_namespace(self, group):
        command = (*NETWORK, *AS_USER, GUNICORN)
        with run_gunicorn(workers=1, command=group.enter(*command)) as server:
            look_as_nobody(server.name).assert_none(Reason.NETWORK)

    def test_another_procfs(self, group):
        """As in the Agent's container, where the host's procfs is mounted."""
        with run_in(group, workers=1) as server, temporary_folder() as folder:
            (folder / "proc").symlink_to("/proc")

            def act():
                datadog_agent._config["procfs_path"] = str(folder / "proc")
                return look(server.name)

            as_nobody(act).assert_none(Reason.CONTAINER)

    def test_another_cgroup_namespace(self, group, other_group):
        with run_in(group, workers=1) as server:

            def enter():
                other_group.move(os.getpid())
                unshare(_CLONE_NEWCGROUP)
                become_nobody()

            in_fork(lambda: look(server.name), enter).assert_none(Reason.CONTAINER)

    def test_another_pid_namespace(self, group):
        with run_in(group, workers=1) as server:
            # Its children are in the namespace.
            isolated = in_fork(lambda: look_as_nobody(server.name), lambda: unshare(_CLONE_NEWPID))
            isolated.assert_none(Reason.CONTAINER)

    @pytest.mark.parametrize("attribute", ["_INET_CGROUP_ID", "_UNIX_UID"])
    def test_an_older_kernel(self, group, attribute, monkeypatch):
        with run_in(group, workers=1) as server, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{unique('x')}")
            listener.listen()
            monkeypatch.setattr(sock_diag, attribute, 999)
            look_as_nobody(server.name).assert_none(Reason.KERNEL)

    @pytest.mark.parametrize("function", ["read_path", "read_mount"])
    def test_cgroup_v1_only(self, group, function, monkeypatch):
        with run_in(group, workers=1) as server:
            monkeypatch.setattr(by_group, function, lambda *_: None)
            look_as_nobody(server.name).assert_none(Reason.CGROUP_V1)

    def test_a_group_that_may_not_be_read(self, group):
        with run_in(group, workers=1) as server:
            (group.folder / "cgroup.procs").chmod(0o600)
            look_as_nobody(server.name).assert_none(Reason.UNREADABLE)

    def test_a_group_that_the_master_has_left(self, group, other_group, monkeypatch):
        with run_in(group, workers=1) as server:
            monkeypatch.setattr(
                by_group, "read_path", lambda _: str(other_group.folder)[len(find_mounts()["v2"].as_posix()) :]
            )
            look_as_nobody(server.name).assert_none(Reason.UNREADABLE)

    def test_a_master_that_has_vanished_meanwhile(self, group):
        with run_in(group, workers=1) as server:
            masters, workers = processes_of(server)
            (master,) = masters

            def act(master):
                (namespace,) = namespaces.read_namespaces([master], namespaces.Tables())
                return by_group.read_by_group(namespace, [master], masters, workers)

            assert [*map(str, as_nobody(lambda: act(master)).listeners.values())] == server.addresses()
            assert as_nobody(lambda: act(master._replace(create_time=1.0))) == by_group.Grouped()

    @pytest.mark.parametrize("error", [ProcessLookupError(), PermissionError(), OSError(5, "Input/output error")])
    def test_every_call_fails_once(self, group, error):
        with run_in(group, workers=1) as server, running(*code()) as helper:
            seen = processes_of(server)
            allowed = [{}, {server.addresses()[0]: (0, 0)}]

            def act():
                number, is_over = 0, False
                while not is_over:
                    number += 1
                    with (fault := Fault(error, number)).injected():
                        assert look_at(Connections(()), *seen) in allowed
                    is_over = fault.left > 0
                return number

            assert as_nobody(act) > 8
            if not isinstance(error, ProcessLookupError):
                # A stranger that cannot be read is still there.
                group.move(helper.pid)
                allowed.pop()
                assert as_nobody(act) > 8


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
def test_a_process_that_procfs_hides():
    def hide():
        unshare(_CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
        become_nobody()

    with running(*code()) as process:
        pid = process.pid
        assert in_fork(lambda: is_hidden(pid), hide)
        assert not as_nobody(lambda: is_hidden(pid))
        assert list(in_fork(lambda: by_group._read_members([pid], {}), hide).values()) == [None]
    assert not in_fork(lambda: is_hidden(pid), hide)


def unshare(flags):
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def test_a_group_with_many_processes_is_not_read(monkeypatch):
    monkeypatch.setattr(by_group, "read_any_process", lambda _: pytest.fail("it read a process"))
    assert set(by_group._read_members(range(1000, 1033), {}).values()) == {None}


def test_processes_of_a_group_are_read_once_for_all_servers_of_a_run(monkeypatch):
    known = {}
    before = by_group._read_members([os.getpid()], known)
    monkeypatch.setattr(by_group, "read_any_process", lambda _: pytest.fail("it read a process"))
    assert by_group._read_members([os.getpid()], known) == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's procfs")
def test_a_process_of_a_group_that_is_being_executed_is_a_member(monkeypatch):
    """For a moment, its command line is empty."""
    monkeypatch.setattr(procfs, "read_cmdline", lambda _: ())
    (member,) = by_group._read_members([os.getpid()], {}).values()
    assert (member.parent, member.is_master) == (os.getppid(), False)
