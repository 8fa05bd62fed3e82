"""Control groups like those of containers, for servers of tests; only for root on Linux.

A server moves itself into a group before it starts, as a container's runtime does.
"""

import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gunicorn_server import GUNICORN, Server, run_gunicorn, unique, wait_until

# The paths of containers' groups: Docker's and Kubernetes', without and with systemd.
DOCKER = "docker/{id}"
SCOPE = "system.slice/docker-{id}.scope"
POD = "kubepods/burstable/pod{pod}/{id}"
SLICE = "kubepods.slice/kubepods-burstable-pod{pod_}.slice/cri-containerd-{id}.scope"
# Controllers of cgroup v1 whose groups need no settings.
_CONTROLLERS = {"freezer", "pids", "name=systemd"}
# Keeps them apart from the groups of real containers and of other test processes.
_TOP = f"gunicorn-test-{secrets.token_hex(4)}"
# Runs a command in a network namespace of its own, where each server can have the same address.
ADDRESS = "127.0.0.1:8000"
NETWORK = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh")
# Runs a command in a pid namespace of its own, with a /proc to match. The shell reaps orphans: zombies keep their pids.
PIDS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh")
# Runs a command in a cgroup namespace of its own.
CGROUPS = ("unshare", "--cgroup")


class ContainerGroup(NamedTuple):
    """A control group that looks like a container's."""

    folder: Path
    id: str

    @property
    def entity(self) -> str:
        """What the Agent's tagger calls it."""
        return f"container_id://{self.id}"

    def enter(self, *command: str) -> tuple[str, ...]:
        """Build a command that moves itself into the group and then runs another one."""
        return ("sh", "-ec", 'echo $$ >"$0"; exec "$@"', str(self._processes), *command)

    def move(self, *pids: int) -> None:
        """Move running processes into it."""
        for pid in pids:
            self._processes.write_text(str(pid))

    def pids(self) -> list[int]:
        """List the processes in it."""
        return [int(pid) for pid in self._processes.read_text().split()]

    def run(
        self, *arguments: str, name: str, workers: int = 2, namespace: Sequence[str] = (), **options: object
    ) -> contextlib.AbstractContextManager[Server]:
        """Run a server in it; `namespace` is one of the commands above, and runs the server in a namespace as well."""
        command = self.enter(*namespace, GUNICORN)
        return run_gunicorn("--name", name, *arguments, name=name, workers=workers, command=command, **options)  # type: ignore[arg-type]

    def run_with_clients(self, clients: int, *, name: str) -> contextlib.AbstractContextManager[Server]:
        """Run a server at ADDRESS in a network namespace of its own, with clients that wait for its only worker."""
        # The server is its own client, because no other process is in its namespace.
        host, port = ADDRESS.split(":")
        config = f"""
import socket
def when_ready(server):
    server.clients = [socket.create_connection(("{host}", {port})) for _ in range({clients})]
"""
        return self.run(name=name, workers=1, namespace=NETWORK, bind=[ADDRESS], config=config)

    @property
    def _processes(self) -> Path:
        return self.folder / "cgroup.procs"


def make_id() -> str:
    """Make the id of a container."""
    return secrets.token_hex(32)


def make_uid() -> str:
    """Make the UID of a pod."""
    return str(uuid.uuid4())


@contextlib.contextmanager
def run_container(
    form: str = DOCKER, container: str | None = None, *, pod: str = "", version: str | None = None
) -> Iterator[ContainerGroup]:
    """Make a control group of cgroup `v1` or `v2` with a path of this `form`; remove it at the end."""
    container = container or make_id()
    mounts = find_mounts()
    mount = mounts[version or max(mounts)]
    folder = mount / _TOP / form.format(id=container, pod=pod, pod_=pod.replace("-", "_"))
    folder.mkdir(parents=True)
    try:
        yield ContainerGroup(folder, container)
    finally:
        _remove(folder)
        # Other containers may be in these.
        with contextlib.suppress(OSError):
            while (folder := folder.parent) != mount:
                folder.rmdir()


def _remove(group: Path) -> None:
    def is_gone() -> bool:
        # The kernel may need a moment to take the last process out of it.
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    wait_until(is_gone, f"the end of {group}", (group / "cgroup.procs").read_text)


@functools.cache
def find_mounts() -> dict[str, Path]:
    """Find the mount of cgroup `v2`, and one of a controller of cgroup `v1`, in which groups can be made."""
    mounts: dict[str, Path] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            # proc_pid_mountinfo(5): `40 31 0:37 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids`
            before, _, after = line.partition(" - ")
            point, (kind, _, options) = Path(before.split()[4]), after.split(maxsplit=2)
            version = {"cgroup": "v1", "cgroup2": "v2"}.get(kind)
            fits = version == "v2" or not _CONTROLLERS.isdisjoint(options.split(","))
            if version and fits and version not in mounts and _is_usable(point):
                mounts[version] = point
    return mounts


def _is_usable(mount: Path) -> bool:
    group = mount / unique("gunicorn-test")
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        return subprocess.call(ContainerGroup(group, "").enter("true"), stderr=subprocess.DEVNULL) == 0
    finally:
        _remove(group)


def call_python(script: str, *arguments: str, within: Sequence[str]) -> str:
    """Run a Python script, which can import the tests, by a command such as those above; return its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*within, sys.executable, "-c", script, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def can(*command: str) -> bool:
    """Whether this machine can run one of the commands above."""
    return (
        os.geteuid() == 0
        and shutil.which(command[0]) is not None
        and subprocess.call([*command, "true"], stderr=subprocess.DEVNULL) == 0
    )


def needs(*command: str) -> pytest.MarkDecorator:
    """Skip a test where a namespace cannot be made."""
    return pytest.mark.skipif(not can(*command), reason=f"cannot run {' '.join(command[:2])}")


needs_control_groups = pytest.mark.skipif(
    os.geteuid() != 0 or not find_mounts(), reason="needs root, and a mount in which control groups can be made"
)
