"""The demo's Gunicorn: started, asked, and gone afterwards whatever happens to the demo."""

import contextlib
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

from .client import HOST, Client, NoAnswerError

EXAMPLE = Path(__file__).parent / "example"
WORKERS = 4
# -P: a folder called gunicorn in the current directory is not Gunicorn.
GUNICORN = (sys.executable, "-P", "-m", "gunicorn")

_START_SECONDS = 8.0
_STOP_SECONDS = 3.0
_KILL_SECONDS = 0.5
_POLL_SECONDS = 0.05
# Four workers' tracebacks and the master's words about them.
_LOG_LINES = 150

# What would make Gunicorn something else than the command line says, and where it would tell systemd.
_FOREIGN_ENVIRONMENT = ("GUNICORN_", "LISTEN_", "NOTIFY_SOCKET", "WEB_CONCURRENCY")


class ServerError(Exception):
    """Gunicorn did not do what the demo asked for. The message has the end of its log."""


class DemoServer:
    """A Gunicorn with an example app. The port is not in use by anything else."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self.port = port
        self.client = Client(port)
        self._process = process
        self._log = log

    def await_workers(self, check_interrupts: Callable[[], None]) -> None:
        """Return when all workers have loaded the app. Raises ServerError."""
        stdout, said = cast("IO[bytes]", self._process.stdout).fileno(), b""
        end = time.monotonic() + _START_SECONDS
        while said.count(b"\n") < WORKERS:
            check_interrupts()
            if time.monotonic() > end:
                raise ServerError(f"Gunicorn was not ready after {_START_SECONDS:g} seconds\n{self.log_tail()}")
            if select.select([stdout], [], [], _POLL_SECONDS)[0]:
                news = os.read(stdout, 1024)
                if not news:
                    raise ServerError(f"Gunicorn did not start\n{self.log_tail()}")
                said += news

    def log_tail(self) -> str:
        """Give the last lines of the error log, for the end of a message."""
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
    """Start a Gunicorn on a free port, and end it. Raises ServerError also where it did not answer a request.

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
        try:
            yield server
        except NoAnswerError as error:
            raise ServerError(f"{error}\n{server.log_tail()}") from error


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_ENVIRONMENT)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}
