"""The option `container`: real servers in control groups like those of containers, and in namespaces."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.assertions import (
    CRITICAL,
    assert_not_found,
    assert_total,
    make_check,
    make_instance,
    run,
    run_each,
)
from tests.control_groups import (
    ADDRESS,
    CGROUPS,
    DOCKER,
    NETWORK,
    PIDS,
    POD,
    SCOPE,
    SLICE,
    call_python,
    find_mounts,
    make_id,
    make_uid,
    needs,
    needs_control_groups,
    run_container,
)
from tests.gunicorn_server import Record, kill_and_wait, root, run_gunicorn, unique, wait_until

pytestmark = [root, needs_control_groups]

VERSIONS = [
    pytest.param(version, marks=pytest.mark.skipif(version not in find_mounts(), reason=f"no cgroup {version}"))
    for version in ("v1", "v2")
]


def pid_of(machine):
    return str(machine.pod_server.master)


def id_of(machine):
    return machine.pod.id


def beginning_of(machine):
    return machine.pod.id[:12].upper()


def uid_of(machine):
    return machine.uid


class Machine:
    """Servers of one `name`: one on the host, one in a pod's container, and one in a Docker container.

    The pod's container also runs a server of another name. Each server has a different number of workers.
    """

    def __init__(self, stack):
        start = stack.enter_context
        self.name, self.other_name = unique("web"), unique("api")
        self.uid = make_uid()
        self.pod = start(run_container(SLICE, pod=self.uid))
        self.docker = start(run_container())
        self.host_server = start(run_gunicorn("--name", self.name, name=self.name, workers=1))
        self.pod_server = start(self.pod.run(name=self.name, workers=2))
        self.other_server = start(self.pod.run(name=self.other_name, workers=3))
        self.docker_server = start(self.docker.run(name=self.name, workers=4))


@pytest.fixture(scope="module")
def machine():
    with contextlib.ExitStack() as stack:
        yield Machine(stack)


class TestTheServersOfOneContainer:
    """Beside servers of the same name on the host and in another container."""

    @pytest.fixture(params=[pid_of, id_of, beginning_of, uid_of])
    def container(self, request, machine):
        return request.param(machine)

    def test_are_found(self, machine, container):
        found = run_each(make_instance(container=container, tags=["team:web"]))
        assert found.keys() == {machine.name, machine.other_name}
        assert_total(found[machine.name], 2)
        assert_total(found[machine.other_name], 3)

    def test_are_found_by_name(self, machine, container):
        assert_total(run(make_check(machine.name, container=container)), 2)

    def test_are_the_only_ones_whose_workers_start_and_exit(self, machine, container):
        check = make_instance(container=container)
        run_each(check)
        record = Record(machine.pod_server)
        for server, count in ((machine.host_server, 1), (machine.pod_server, 2), (machine.docker_server, 4)):
            kill_and_wait(server.workers()[0])
            server.await_workers(count)
        found = run_each(check)
        assert found[machine.name].churn == record.count() == (1, 1)
        assert found[machine.other_name].churn == (0, 0)
        record = Record(machine.pod_server)
        for server in (machine.host_server, machine.pod_server):
            server.replace_workers()
        assert run_each(check)[machine.name].churn == record.count() == (2, 2)

    def test_are_the_only_ones_whose_connections_count(self, machine, container):
        check = make_instance(container=container)
        with contextlib.ExitStack() as stack:
            for server, count in (
                (machine.host_server, 1),
                (machine.pod_server, 5),
                (machine.other_server, 1),
                (machine.docker_server, 2),
            ):
                for _ in range(count):
                    stack.enter_context(server.connect())
            # Each sync worker accepts one.
            expected = {
                name: {server.addresses()[0]: counts}
                for name, server, counts in (
                    (machine.name, machine.pod_server, (2, 3)),
                    (machine.other_name, machine.other_server, (1, 0)),
                )
            }
            wait_until(
                lambda: {name: found.connections for name, found in run_each(check).items()} == expected,
                f"the connections {expected}",
            )

    def test_have_their_own_uptime(self, machine, container):
        before = age_of(machine.pod_server)
        # Otherwise the uptimes of the two could not be distinguished.
        assert age_of(machine.host_server) - before > 0.1
        uptime = run(make_check(machine.name, container=container)).metrics["gunicorn.uptime"]
        # The kernel records start times in steps of 0.01 s.
        assert before - 0.02 <= uptime <= age_of(machine.pod_server) + 0.02

    def test_are_the_only_ones_that_a_warning_suggests(self, machine, container):
        check = make_check(name := unique("missing"), container=container)
        assert_not_found(run(check), name)
        (warning,) = [text for text in check.get_warnings() if "under" in text]
        assert f"in container {container} under" in warning
        assert f"`{machine.name}`" in warning
        assert f"`{machine.other_name}`" in warning
        other = make_check(name, container=machine.docker.id)
        assert_not_found(run(other), name)
        assert f"`{machine.other_name}`" not in str(other.get_warnings())


def age_of(server):
    """The seconds since its master started (`starttime` in proc_pid_stat(5))."""
    stat = Path(f"/proc/{server.master}/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def test_each_of_two_replicas_counts_its_own_workers():
    """As Autodiscovery configures them: `{"container": "%%pid%%"}` in the label of an image."""
    name = unique("web")
    with contextlib.ExitStack() as stack:
        containers = [stack.enter_context(run_container()) for _ in range(2)]
        servers = [stack.enter_context(each.run(name=name, workers=2)) for each in containers]
        checks = [make_instance(container=server.master) for server in servers]
        assert [run_each(check)[name].total for check in checks] == [2, 2]
        records = [Record(server) for server in servers]
        servers[0].signal(signal.SIGTTIN)
        servers[0].await_workers(3)
        kill_and_wait(servers[1].workers()[0])
        servers[1].await_workers(2)
        found = [run_each(check)[name] for check in checks]
        assert [each.total for each in found] == [3, 2]
        assert [each.churn for each in found] == [record.count() for record in records] == [(1, 0), (1, 1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_container_that_ends(version):
    name = unique("web")
    with run_container(version=version) as container, run_gunicorn("--name", name, name=name):
        with container.run(name=name, workers=3) as server:
            checks = [make_instance(container=given, tags=["team:web"]) for given in (container.id, server.master)]
            named = make_check(name, container=server.master)
            assert [run_each(check)[name].total for check in checks] == [3, 3]
            assert_total(run(named), 3)
        for check in checks:
            assert_absent(check, f"Found no master process in container {check.instance['container']}")
        assert_not_found(run(named), name)
        # It is started again.
        with container.run(name=name, workers=3) as server:
            for check in checks:
                found = run_each(check)[name]
                assert_total(found, 3)
                assert found.churn == (3, 3)


def assert_absent(check, message):
    """Assert an error with the instance's tags only."""
    found = run_each(check)
    assert found.keys() == {""}
    assert (found[""].status, found[""].message, found[""].error) == (CRITICAL, message, message)
    assert found[""].samples == {}


def test_a_pid_in_no_container():
    with run_gunicorn() as server:
        message = f"pid {server.master} is in no container"
        assert_absent(make_instance(container=server.master), message)
        found = run(make_check(server.name, container=str(server.master)))
        assert (found.status, found.message, found.error, found.samples) == (CRITICAL, message, message, {})


def test_a_process_that_is_moved_into_its_container_later():
    with run_container() as container, run_gunicorn() as server:
        check = make_check(server.name, container=server.master)
        assert "in no container" in run(check).message
        container.move(server.master)
        assert_total(run(check), 2)


def test_a_beginning_that_several_ids_share_is_an_error():
    name, beginning = unique("web"), make_id()[:20]
    ids = sorted(beginning + make_id()[20:] for _ in range(2))
    with contextlib.ExitStack() as stack:
        for each in ids:
            container = stack.enter_context(run_container(DOCKER, each))
            stack.enter_context(container.run(name=name, workers=1))
        check = make_check(name, container=beginning)
        found = run(check)
        message = f"container '{beginning}' may be any of {', '.join(ids)}"
        assert (found.status, found.message, found.error, found.samples) == (CRITICAL, message, message, {})
        for each in ids:
            assert_total(run(make_check(name, container=each)), 1)
        # Long enough to be unambiguous.
        assert_total(run(make_check(name, container=ids[0][:60])), 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_form_of_a_path(version):
    """One server, moved from group to group."""
    pod, outer, fargate = make_uid(), make_id(), f"{make_id()[:32]}-1234567890"
    with contextlib.ExitStack() as stack:
        groups = [
            (stack.enter_context(run_container(form, container, pod=pod, version=version)), further)
            for form, container, further in (
                (DOCKER, None, []),
                (SCOPE, None, []),
                (POD, None, [pod]),
                (SLICE, None, [pod]),
                ("ecs/0123456789abcdef/{id}", fargate, []),
                (f"docker/{outer}/docker/{{id}}", None, [outer]),
            )
        ]
        server = stack.enter_context(run_gunicorn(workers=1))
        for group, further in groups:
            group.move(server.master)
            for given in (group.id, server.master, *further):
                assert_total(run(make_check(server.name, container=given)), 1)
            assert run(make_check(server.name, container=make_id())).status == CRITICAL


@pytest.mark.every_gunicorn
def test_usr2_in_a_container():
    name = unique("web")
    with run_container() as container, run_gunicorn("--name", name, name=name), container.run(name=name) as server:
        check = make_check(name, container=container.id)
        assert_total(run(check), 2)
        record = Record(server)
        server.signal(signal.SIGUSR2)
        server.await_workers(4)
        found = run(check)
        assert_total(found, 4)
        assert found.churn == (2, 0)
        server.signal(signal.SIGQUIT)
        wait_until(lambda: server.process.poll() is not None, "the old master's end", server.explain)
        found = run(check)
        assert_total(found, 2)
        assert found.churn == (0, 2)
        assert record.count() == (2, 2)


class TestNamespaces:
    @needs(*NETWORK)
    def test_connections_in_a_network_namespace_of_the_containers_own(self):
        name = unique("web")
        with run_container() as container, container.run_with_clients(3, name=name) as server:
            check = make_check(name, container=container.id)
            wait_until(lambda: run(check).connections == {ADDRESS: (1, 2)}, "the connections", server.explain)

    @needs(*NETWORK)
    def test_equal_addresses_of_several_containers_are_summed(self):
        name = unique("web")
        with contextlib.ExitStack() as stack:
            for clients in (3, 5):
                container = stack.enter_context(run_container())
                stack.enter_context(container.run_with_clients(clients, name=name))
            check = make_check(name)
            wait_until(lambda: run(check).connections == {ADDRESS: (2, 6)}, "the connections")

    @needs(*CGROUPS)
    def test_a_check_in_a_cgroup_namespace_of_its_own(self):
        """As in a sidecar, whose paths are relative: it sees containers, but no pods."""
        name, pod = unique("web"), make_uid()
        with (
            run_container(POD, pod=pod) as agent,
            run_container(POD, pod=pod) as neighbour,
            neighbour.run(name=name, workers=3) as server,
        ):
            script = """
import json, sys
from pathlib import Path
from tests.assertions import make_check, run
name, master, *containers = sys.argv[1:]
answers = [Path(f"/proc/{master}/cgroup").read_text()]
for container in containers:
    check = make_check(name, container=container)
    found = run(check)
    answers.append([found.total, found.message, " ".join(check.warnings)])
print(json.dumps(answers))
"""
            given = [neighbour.id, str(server.master), pod]
            answer = call_python(script, name, str(server.master), *given, within=agent.enter(*CGROUPS))
        paths, by_id, by_pid, by_uid = json.loads(answer)
        # It is the neighbour of the namespace's root.
        assert f":/../{neighbour.id}\n" in paths
        assert pod not in paths
        assert by_id == by_pid == [3, "", ""]
        assert by_uid[:2] == [0, f"Found no master process with name: gunicorn: master [{name}]"]
        assert "Set `container` to the id of the container." in by_uid[2]

    @needs(*PIDS)
    def test_a_pid_that_is_reused(self):
        """In a pid namespace, where the next pid can be chosen."""
        script = """
import sys
from pathlib import Path
from tests.assertions import make_instance, run_each
from tests.control_groups import run_container
from tests.gunicorn_server import run_gunicorn, unique
import contextlib, subprocess

@contextlib.contextmanager
def run_at(pid, container):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    with container.run(name="web") as server:
        assert server.master == pid
        yield

with run_container() as first, run_container() as second:
    checks = {}
    # A process that is in no container; one in a container; a pid without a process.
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        outside = make_instance(container=sleeper.pid)
        print(run_each(outside)[""].message == f"pid {sleeper.pid} is in no container")
        sleeper.kill()
    with first.run(name="web") as server:
        inside = make_instance(container=server.master)
        print(run_each(inside)["web"].total)
    never = make_instance(container=30000)
    print(run_each(never)[""].message)
    for check in (outside, inside, never):
        pid = int(check.instance["container"])
        with run_at(pid, second):
            print(run_each(check)[""].message == f"Found no master process in container {pid}")
            print(run_each(make_instance(container=pid))["web"].total)
"""
        answers = call_python(script, within=PIDS).split("\n")
        absent = "Found no master process in container 30000"
        assert answers == ["True", "2.0", absent, *(3 * ["True", "2.0"]), ""]

    @needs(*PIDS)
    def test_sessions_of_other_pid_namespaces_do_not_make_a_successor(self):
        """Seen from a pid namespace, sessions from outside of it have the number 0."""
        script = """
import os, signal, subprocess
from pathlib import Path
from tests.assertions import make_check, run
from tests.control_groups import run_container
from tests.gunicorn_server import APPS, GUNICORN, environment, kill_and_wait, temporary_folder, wait_until

def start(name, container, folder):
    # Its parent exits and leaves it to init, as the old master does after USR2.
    command = [GUNICORN, "--name", name, "--bind", "127.0.0.1:0", "--pid", folder / name, "app:app"]
    orphan = ["sh", "-c", 'exec 2>/dev/null; "$@" &', "sh", *container.enter(*map(str, command))]
    subprocess.run(orphan, check=True, cwd=APPS, env=environment(folder))
    wait_until((folder / name).exists, name)
    pid = int((folder / name).read_text())
    wait_until(lambda: f"master [{name}]" in Path(f"/proc/{pid}/cmdline").read_text(), "its title")
    assert (os.getsid(pid), os.getpgid(pid)) == (0, 0)
    return pid

with run_container() as first, run_container() as second:
    for container in (first, second):
        with temporary_folder() as folder:
            pid = start("web", first, folder)
            check = make_check("web")
            wait_until(lambda: run(check).total == 1, "web")
            kill_and_wait(pid)
            pid = start("web.2", container, folder)
            as_web_2 = make_check("web.2")
            wait_until(lambda: run(check).total + run(as_web_2).total == 1, "web.2")
            print(run(check).total, run(as_web_2).total)
            for pid in (*first.pids(), *second.pids()):
                kill_and_wait(pid)
"""
        # In the same container it may be a successor.
        assert call_python(script, within=PIDS).split() == ["1.0", "0", "0", "1.0"]
