"""Real containers with real Gunicorn servers, without a registry; everything is removed at the end.

An image is made of an almost empty archive. The programs in its containers are those of this machine, and the Python is
that of the tests: their folders are mounted, read-only.
"""

import concurrent.futures
import contextlib
import ctypes
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.gunicorn_server import (
    APPS,
    GUNICORN,
    Server,
    environment,
    temporary_folder,
    unique,
    wait_until,
)

INSTALL = "on Debian and Ubuntu: apt-get install docker.io"
# Each container has a network of its own, so that all servers can have the same port.
ADDRESS = "127.0.0.1:8000"
CLONE_NEWNET = 0x40000000
# What a daemon leaves behind outside of its own folders.
TRACES = ("etc/docker/key.json", "run/docker", "run/docker/*", "sys/fs/cgroup/docker", "sys/fs/cgroup/*/docker")
# A server that ignores the signal to stop would delay the tests by this many seconds.
STOP_SECONDS = "10"


class MissingDockerError(Exception):
    """There is no Docker, and no way to start one. The message is one line, with the remedy."""


class Docker:
    """The command `docker`. Everything that it creates has a unique label, by which `clean` finds it."""

    def __init__(self, *options: str) -> None:
        self.command = ["docker", *options]
        self.label = unique("gunicorn-e2e")

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run([*self.command, *arguments], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"docker {arguments[0]}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        """Whether its daemon is running."""
        return subprocess.run([*self.command, "version"], capture_output=True, check=False).returncode == 0

    def make_image(self) -> None:
        """Make an image, named like the label, that contains only a directory for temporary files."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            folder = tarfile.TarInfo("tmp")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(folder)
        self("import", "--change", f"LABEL {self.label}=", "-", self.label, stdin=archive.getvalue())

    def clean(self) -> None:
        """Remove the containers and the image."""
        mine = ("--all", "--quiet", "--no-trunc", "--filter", f"label={self.label}")
        if containers := self("ps", *mine).split():
            self("rm", "--force", "--volumes", *containers)
        if images := self("images", *mine).split():
            self("rmi", "--force", *images)


@contextlib.contextmanager
def run_docker() -> Iterator[Docker]:
    """Use the daemon that answers, otherwise start one. Raises MissingDockerError."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise MissingDockerError("needs Linux and root: it enters the containers' namespaces")
    if shutil.which("docker") is None:
        raise MissingDockerError(f"needs the command docker; {INSTALL}")
    docker = Docker()
    with contextlib.nullcontext(docker) if docker.answers() else run_daemon() as docker:
        try:
            docker.make_image()
            yield docker
        finally:
            docker.clean()


@contextlib.contextmanager
def run_daemon() -> Iterator[Docker]:
    """Run a Docker daemon that has its own data and no network. Raises MissingDockerError."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise MissingDockerError(f"needs a Docker daemon: none answers, and there is no dockerd; {INSTALL}")
    with _without_traces(), temporary_folder() as folder:
        # Otherwise it reads the machine's own settings.
        (folder / "daemon.json").write_text("{}")
        address = f"unix://{folder}/docker.sock"
        log = folder / "dockerd.log"
        daemon = subprocess.Popen(
            [
                program,
                *("--config-file", folder / "daemon.json", "--pidfile", folder / "dockerd.pid", "--host", address),
                *("--data-root", folder / "data", "--exec-root", folder / "exec", "--storage-driver", "vfs"),
                *("--iptables=false", "--ip-forward=false", "--bridge=none"),
            ],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        docker = Docker("--host", address)
        with _ended(daemon, folder):
            wait_until(lambda: docker.answers() or daemon.poll() is not None, "dockerd", log.read_text, seconds=60)
            if daemon.poll() is not None:
                reason = log.read_text().strip().rpartition("\n")[2]
                raise MissingDockerError(f"needs a Docker daemon: none answers, and dockerd does not start: {reason}")
            yield docker


@contextlib.contextmanager
def _ended(daemon: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """End a daemon, its processes and its mounts, so that its folder can be removed."""
    try:
        yield
    finally:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=60)
        # Processes are left only if the daemon was killed or hangs. They have its folder among their arguments.
        for process in using(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        daemon.wait()
        wait_until(lambda: not using(folder), "the end of the daemon's processes")
        for mount in reversed(mounts_in(folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)


@contextlib.contextmanager
def _without_traces() -> Iterator[None]:
    """Remove what a daemon leaves outside of its folders, but not what was there before."""
    before = find_traces()
    try:
        yield
    finally:
        for path in sorted(find_traces() - before, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def find_traces() -> set[Path]:
    return {path for pattern in TRACES for path in Path("/").glob(pattern)}


def using(folder: Path) -> list[psutil.Process]:
    """List the processes with the folder among their arguments."""
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if any(str(folder) in each for each in process.info["cmdline"] or ())]


def mounts_in(folder: Path) -> list[str]:
    """List the mount points below a folder in the order of mounting: outer ones first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


class DockerContainer(Server):
    """A Gunicorn in a container.

    Its log has the pids of the container's own namespace. Everything else here is the host's view, as Docker reports
    it.
    """

    def __init__(self, docker: Docker, name: str, folder: Path, count: int) -> None:
        super().__init__(name, folder)
        self.docker = docker
        self.count = count
        self.id = ""

    @property
    def master(self) -> int:
        """The pid of the container's first process, 0 while it is stopped."""
        return int(json.loads(self.docker("inspect", self.id))[0]["State"]["Pid"])

    @property
    def entity(self) -> str:
        """The name by which the Agent's tagger knows it."""
        return f"container_id://{self.id}"

    def explain(self) -> str:
        return f"its log:\n{self.log}\nits output:\n{self.docker('logs', self.id)}"

    def workers(self) -> list[int]:
        """List the pids of the first process's children that are alive."""
        master = self.master
        if not master:
            return []
        rows = self.docker("top", self.id, "-o", "pid,ppid,stat").splitlines()[1:]
        processes = [row.split() for row in rows]
        return [int(pid) for pid, parent, state in processes if int(parent) == master and not state.startswith("Z")]

    def await_workers(self, count: int) -> None:
        """Wait until this many workers have booted, and all others have exited."""

        def is_settled() -> bool:
            return len(self.workers()) == count == len(self.booted()) - len(list_exited(self))

        wait_until(is_settled, f"{count} workers of {self.name}", self.explain)

    def replace_workers(self) -> None:
        """Have each worker exit gracefully, and wait for its successor."""
        count, booted = len(self.workers()), len(self.booted())
        self.signal(signal.SIGHUP)
        wait_until(lambda: len(self.booted()) == booted + count, "the new workers", self.explain)
        self.await_workers(count)

    def add_worker(self) -> None:
        count = len(self.workers())
        self.signal(signal.SIGTTIN)
        self.await_workers(count + 1)

    def stop(self) -> None:
        self.docker("stop", "--time", STOP_SECONDS, self.id)

    def restart(self) -> None:
        """Stop it, if it is running, start it again, and wait for its workers."""
        self.docker("restart", "--time", STOP_SECONDS, self.id)
        self.await_workers(self.count)

    def connect(self) -> socket.socket:
        """Open a connection to the server from inside its network namespace."""
        # Use a thread for this, because only the calling thread enters the namespace.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(self._connect).result()

    def _connect(self) -> socket.socket:
        with open(f"/proc/{self.master}/ns/net") as namespace:
            # os.setns is new in Python 3.12.
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        host, _, port = ADDRESS.rpartition(":")
        return socket.create_connection((host, int(port)))


@contextlib.contextmanager
def run_container(
    docker: Docker, *arguments: str, name: str | None = None, workers: int = 2, titled: bool = True
) -> Iterator[DockerContainer]:
    """Run a server in a container of its own, by default with a unique name, and yield once its workers have booted."""
    with temporary_folder() as folder:
        container = DockerContainer(docker, name or unique("app"), folder, workers)
        container.id = docker(
            *("run", "--detach", "--network", "none", "--workdir", str(APPS), "--volume", f"{folder}:{folder}"),
            *(part for path in list_programs() for part in ("--volume", f"{path}:{path}:ro")),
            *(part for each in environment(folder, titled=titled).items() for part in ("--env", "=".join(each))),
            *(docker.label, GUNICORN, "--name", container.name, "--bind", ADDRESS, "--workers", str(workers)),
            *("--graceful-timeout", "2", "--error-logfile", str(folder / "error.log"), *arguments, "app:app"),
        )
        try:
            container.await_workers(workers)
            yield container
        finally:
            docker("rm", "--force", "--volumes", container.id)


def list_programs() -> Sequence[Path]:
    """List the files and folders that a Python in a container needs: the machine's, the environment's, the tests' apps.

    Those inside another one are left out, because they cannot be mounted there.
    """
    python = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve(), APPS]
    system = [path for pattern in ("usr", "bin", "sbin", "lib*", "etc/ld.so.*") for path in Path("/").glob(pattern)]
    wanted = {*python, *system}
    return sorted(path for path in wanted if wanted.isdisjoint(path.parents))


def list_exited(server: Server) -> list[int]:
    """List the pids of all workers that ever exited gracefully, from its log."""
    return [int(pid) for pid in re.findall(r"Worker exiting \(pid: (\d+)\)", server.log)]
