"""Real Gunicorn servers for tests, which are always stopped at the end."""

import contextlib
import http.client
import importlib.metadata
import itertools
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

APPS = Path(__file__).parent / "apps"
# The import path of the servers.
PYTHONPATH = [APPS]
GUNICORN = str(Path(sys.executable).with_name("gunicorn"))
GUNICORN_VERSION = importlib.metadata.version("gunicorn")
# From the matrix in hatch.toml.
NEWEST = "27.0.1"
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
newest = pytest.mark.skipif(GUNICORN_VERSION != NEWEST, reason="for the newest Gunicorn")

_numbers = itertools.count(1)

T = TypeVar("T")


def unique(name: str) -> str:
    """Build a name that no other Gunicorn on the machine has, so that tests do not interfere with each other."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def wait_until(
    condition: Callable[[], object], what: str, explain: Callable[[], str] = lambda: "", seconds: float = 20
) -> None:
    """Wait until the condition holds; on a timeout, fail with a message that names it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}\n{explain()}")
        time.sleep(0.01)


class Server:
    """A running Gunicorn, as described by its own error log, independently of the check."""

    process: subprocess.Popen[bytes]

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def configure(self, text: str) -> None:
        """Write the configuration file, which a running server reads again on HUP."""
        (self.folder / "conf.py").write_text(text)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def master(self) -> int:
        """The pid of the first master."""
        return self.masters()[0]

    @property
    def log(self) -> str:
        try:
            return (self.folder / "error.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def explain(self) -> str:
        return f"its log:\n{self.log}\nits output:\n{self.output.read_text()}"

    @property
    def port(self) -> int:
        """The TCP port that the kernel chose."""
        return int(self.addresses()[0].rpartition(":")[2])

    def addresses(self) -> list[str]:
        """List its addresses, as last logged: `127.0.0.1:8000`, `unix:/run/app.sock`."""
        logged = re.findall(r"Listening at: (.*?)(?: \(\d+\))?$", self.log, re.MULTILINE)[-1]
        return [address.removeprefix("http://") for address in logged.split(",")]

    def connect(self) -> socket.socket:
        """Open a connection to the first of its addresses."""
        address = self.addresses()[0]
        if not address.startswith("unix:"):
            return socket.create_connection(("127.0.0.1", self.port))
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.removeprefix("unix:"))
        return client

    def booted(self) -> list[int]:
        """List the pids of all workers ever started, including those of new masters, oldest first."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def masters(self) -> list[int]:
        """List the pids of all masters ever started, oldest first."""
        return [int(pid) for pid in re.findall(r"Listening at: .* \((\d+)\)", self.log)]

    def workers(self) -> list[int]:
        """List the pids of the workers that are alive and titled."""
        return [pid for pid in self.booted() if is_alive(pid)]

    def await_workers(self, count: int) -> None:
        wait_until(lambda: len(self.workers()) == count, f"{count} workers of {self.name}", self.explain)

    def replace_workers(self) -> None:
        """Replace all workers with a HUP, and wait for the new ones."""
        count, booted = len(self.workers()), len(self.booted())
        self.signal(signal.SIGHUP)
        wait_until(lambda: len(self.booted()) == booted + count, "new workers", self.explain)
        self.await_workers(count)

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        os.kill(pid or self.master, number)

    def get(self, path: str = "/") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    @contextlib.contextmanager
    def requests(self, count: int, path: str) -> Iterator[None]:
        """Hold `count` requests open, each on its own connection."""
        clients = [self.connect() for _ in range(count)]
        try:
            for client in clients:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            yield
        finally:
            for client in clients:
                client.close()

    @contextlib.contextmanager
    def burning(self, count: int) -> Iterator[None]:
        """Keep `count` workers using CPU; sync workers accept one request each."""
        before = {pid: cpu_seconds(pid) for pid in self.workers()}

        def at_work() -> int:
            return sum(cpu_seconds(pid) > before[pid] + 0.05 for pid in before)

        with self.requests(count, "/burn?60"):
            wait_until(lambda: at_work() >= count, f"{count} workers at work")
            yield


class Record:
    """Counts the workers of a server that started and exited since its creation, from the log and the kernel."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._booted, self._alive = server.booted(), server.workers()

    def count(self) -> tuple[int, int]:
        started = set(self._server.booted()) - set(self._booted)
        return len(started), len({*self._alive, *started} - set(self._server.workers()))


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening_at(address: str) -> int:
    """Count the sockets that listen on an IPv4 address, such as `127.0.0.1:8000`."""
    host, _, port = address.rpartition(":")
    sockets = psutil.net_connections("tcp")
    return sum(each.laddr == (host, int(port)) and each.status == psutil.CONN_LISTEN for each in sockets)


def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), f"the end of {pid}")


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def environment(folder: Path, *, titled: bool = True) -> dict[str, str]:
    """Build an environment that keeps the files of a server, such as its control socket, in `folder`."""
    folders = PYTHONPATH if titled else [APPS / "without_setproctitle", *PYTHONPATH]
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "XDG_RUNTIME_DIR": str(folder),
    }


@contextlib.contextmanager
def run_gunicorn(
    *arguments: str,
    name: str | None = None,
    workers: int = 2,
    app: str = "app:app",
    command: Sequence[str] = (GUNICORN,),
    config: str = "",
    titled: bool = True,
    bind: Sequence[str] = ("127.0.0.1:0",),
) -> Iterator[Server]:
    """Run a server and yield when all of its workers have booted.

    By default it gets a unique name by --name. To name it another way, use `arguments` or `config`, the text of a
    configuration file, and pass the name in `name`. With `titled=False` setproctitle cannot be imported. `{folder}` in
    `bind` stands for the server's directory.
    """
    naming = () if name else ("--name", unique("app"))
    with temporary_folder() as folder:
        server = Server(name or naming[1], folder)
        server.configure(config)
        server.process = subprocess.Popen(
            [
                *command,
                *("--config", str(folder / "conf.py")),
                *(argument for address in bind for argument in ("--bind", address.format(folder=folder))),
                *("--error-logfile", str(folder / "error.log")),
                *("--workers", str(workers), "--graceful-timeout", "2"),
                *naming,
                *arguments,
                app,
            ],
            cwd=APPS,
            env=environment(folder, titled=titled),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=server.output.open("wb"),
            stderr=subprocess.STDOUT,
        )
        with reaped(server):
            wait_until(lambda: server.masters() or server.process.poll(), f"{server.name} to listen", server.explain)
            assert server.masters(), server.explain()
            server.await_workers(workers)
            if titled and not workers:
                # The master sets its title after it has written that it listens.
                title = f"gunicorn: master [{server.name}]"
                wait_until(lambda: title in " ".join(psutil.Process(server.master).cmdline()), title, server.explain)
            yield server


@contextlib.contextmanager
def reaped(server: Server) -> Iterator[None]:
    """Kill the server's whole session at the end, including orphans, and wait until they have exited."""
    try:
        yield
    finally:
        # A daemon has a session of its own.
        started = [*server.masters(), *server.booted()]
        sessions = {server.process.pid} | {session for pid in started if (session := session_of(pid))}

        def is_over() -> bool:
            # Repeatedly, because a master that is killed last may have started one more worker.
            members = [member for member in session_members(sessions) if is_alive(member)]
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            server.process.poll()
            return not members

        wait_until(is_over, "the end of all its processes")
        server.process.wait()


def session_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def session_members(sessions: Container[int]) -> list[int]:
    return [pid for pid in psutil.pids() if session_of(pid) in sessions]


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def as_nobody(act: Callable[[], T]) -> T:
    """Run an action as an unprivileged user, in a fork of this process; only for root."""
    return in_fork(act, become_nobody)


def in_fork(act: Callable[[], T], prepare: Callable[[], object] = lambda: None) -> T:
    """Run an action in a fork of this process.

    Raises AssertionError with the traceback of an exception in the fork.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # The fork must never continue as a second test process.
        try:
            os.close(reading)
            prepare()
            answer = pickle.dumps((act(), None))
        except BaseException:  # noqa: BLE001
            answer = pickle.dumps((None, traceback.format_exc()))
        with contextlib.suppress(BaseException), os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    result, error = pickle.loads(answer)
    assert error is None, error
    return result  # type: ignore[no-any-return]


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a directory that other users may read, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="gunicorn-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
