"""The containers themselves, without the check: what the other tests in this folder rely on."""

import re
from pathlib import Path

import pytest

from tests.gunicorn_server import is_alive

from .docker import find_traces, list_exited, mounts_in, run_container, run_daemon, using

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def read_groups(pid):
    """Read the paths of the process's control groups."""
    return [line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]


def test_a_container_runs_a_server_with_titles(docker):
    with run_container(docker, workers=2) as container:
        assert len(container.workers()) == 2
        # The first process is the server itself, and its pids in the container differ from those on the host.
        assert container.masters() == [1]
        for pid in (container.master, *container.workers()):
            title = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
            assert title == f"gunicorn: {'master' if pid == container.master else 'worker'} [{container.name}]"
        assert re.fullmatch("[0-9a-f]{64}", container.id)


def test_the_control_groups_of_each_process_name_its_container(docker):
    with run_container(docker) as one, run_container(docker) as another:
        assert one.id != another.id
        for container in (one, another):
            for pid in (container.master, *container.workers()):
                assert any(container.id in path for path in read_groups(pid))


def test_each_container_has_a_network_of_its_own(docker):
    with run_container(docker, workers=1) as one, run_container(docker, workers=1) as another:
        for container in (one, another):
            with container.connect() as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.0 200 ")
        assert len({Path(f"/proc/{each.master}/ns/net").readlink() for each in (one, another)}) == 2


def test_workers_are_replaced_and_containers_restarted(docker):
    with run_container(docker, workers=2) as container:
        former, identifier, master = container.workers(), container.id, container.master
        container.replace_workers()
        assert not set(container.workers()) & set(former)
        assert (len(container.booted()), len(list_exited(container))) == (4, 2)

        container.restart()
        assert (container.id, len(container.masters())) == (identifier, 2)
        assert not is_alive(master)
        assert is_alive(container.master)
        assert (len(container.booted()), len(list_exited(container))) == (6, 4)

        container.stop()
        assert container.master == 0
        assert len(list_exited(container)) == 6
        container.restart()
        assert len(container.workers()) == 2


def test_nothing_is_left_after_a_failure():
    before = find_traces()
    seen = []

    def fail():
        with run_daemon() as docker:
            docker.make_image()
            with run_container(docker) as container:
                seen.extend([Path(docker.command[-1].removeprefix("unix://")).parent, container, container.master])
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    folder, container, master = seen
    assert not is_alive(master)
    assert not folder.exists()
    assert not container.folder.exists()
    assert mounts_in(folder) == []
    assert using(folder) == []
    assert find_traces() == before


def test_a_container_that_a_failure_left_is_removed():
    with run_daemon() as docker:
        docker.make_image()
        left = docker("create", docker.label, "true")
        docker.clean()
        assert left not in docker("ps", "--all", "--quiet", "--no-trunc").split()
        assert docker("images", "--quiet") == ""
