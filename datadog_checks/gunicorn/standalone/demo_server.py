"""The demo's Gunicorn: started, asked, and gone afterwards whatever happens to the demo."""

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

EXAMPLE = Path(__file__).parent / "example"
HOST = "127.0.0.1"
WORKERS = 4
# -P: a folder called gunicorn in the current directory is not Gunicorn.
GUNICORN = (sys.executable, "-P", "-m", "gunicorn")

_START_SECONDS = 8.0
_STOP_SECONDS = 3.0
_KILL_SECONDS = 0.5
_REQUEST_SECONDS = 3.0
_POLL_SECONDS = 0.05
# Four workers' tracebacks and the master's words about them.
_LOG_LINES = 150

# What would make Gunicorn something else than the command line says, and where it would tell systemd.
_FOREIGN_ENVIRONMENT = ("GUNICORN_", "LISTEN_", "NOTIFY_SOCKET", "WEB_CONCURRENCY")


class ServerError(Exception):
    """Gunicorn did not do what the demo asked for. The message has the end of its log."""


class DemoServer:
    """A Gunicorn with an example app. The address is not in use by anything else."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self._process = process
        self._port = port
        self._log = log

    def await_workers(self, check_interrupts: Callable[[], None]) -> None:
        """Return when all workers have loaded the app. Raises ServerError."""
        stdout, said = cast("IO[bytes]", self._process.stdout).fileno(), b""
        end = time.monotonic() + _START_SECONDS
        while said.count(b"\n") < WORKERS:
            check_interrupts()
            if time.monotonic() > end:
                raise ServerError(f"Gunicorn was not ready after {_START_SECONDS:g} seconds\n{self._log_tail()}")
            if select.select([stdout], [], [], _POLL_SECONDS)[0]:
                news = os.read(stdout, 1024)
                if not news:
                    raise ServerError(f"Gunicorn did not start\n{self._log_tail()}")
                said += news

    def get(self, path: str) -> int:
        """Send one request and return the status of its answer. Raises ServerError."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_REQUEST_SECONDS)
        with self._answering(path), contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status

    @contextlib.contextmanager
    def busy_worker(self) -> Iterator[None]:
        """Keep one worker burning CPU with one long request: short ones would wander between the workers.

        Raises ServerError.
        """
        with contextlib.ExitStack() as stack:
            with self._answering("/burn"):
                client = stack.enter_context(socket.create_connection((HOST, self._port), timeout=_REQUEST_SECONDS))
                client.sendall(b"GET /burn HTTP/1.0\r\n\r\n")
                _read_until(client, b"burning")
            yield
            with self._answering("/burn"):
                # The app sees that the client hangs up, and ends the response: Gunicorn counts it.
                client.shutdown(socket.SHUT_WR)
                _read_until(client, b"done")

    @contextlib.contextmanager
    def _answering(self, path: str) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"Gunicorn did not answer {path}: {error}\n{self._log_tail()}") from error

    def _log_tail(self) -> str:
        self._log.seek(0)
        return "".join(f"  {line}\n" for line in self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """End the master and its workers."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        # What hangs, and the workers of a master that somebody killed. The group is the master's own.
        end = time.monotonic() + _KILL_SECONDS
        while _kill_group(self._process.pid) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS / 10)
            self._process.poll()


def _kill_group(group: int) -> bool:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left. macOS says PermissionError of zombies.
        return False
    return True


def _read_until(client: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        news = client.recv(4096)
        if not news:
            raise ConnectionError("the connection was closed")
        received += news


def build_command(name: str, listener: int, statsd: str) -> list[str]:
    """Build the command that starts the server on an inherited socket; `statsd` is the address of a UDP socket."""
    return [
        *GUNICORN,
        *("--config", f"file:{EXAMPLE / 'gunicorn_conf.py'}"),
        *("--name", name, "--workers", str(WORKERS), "--bind", f"fd://{listener}"),
        *("--statsd-host", statsd, "--dogstatsd-tags", f"app:{name}"),
        "app:application",
    ]


@contextlib.contextmanager
def start_server(name: str, statsd: str) -> Iterator[DemoServer]:
    """Start a Gunicorn on a free port, and end it.

    It is passed a socket that listens already, so nobody else can take the port; the log has no name in any folder.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0)))
        log = stack.enter_context(tempfile.TemporaryFile())
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603  # our own words
                build_command(name, listener.fileno(), statsd),
                cwd=EXAMPLE,
                env=_environment(),
                pass_fds=[listener.fileno()],
                start_new_session=True,
                # Its other end is open in the demo alone: see example/gunicorn_conf.py.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        )
        server = DemoServer(process, listener.getsockname()[1], log)
        stack.callback(server.stop)
        listener.close()
        yield server


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_ENVIRONMENT)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}
