"""The demo's Gunicorn, which exits with the demo, whatever happens."""

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

from .client import LOCALHOST, Client, NoAnswerError

EXAMPLE = Path(__file__).parent / "example"
WORKERS = 4
# -P: do not import a directory named gunicorn in the current directory.
GUNICORN = (sys.executable, "-P", "-m", "gunicorn")

_START_SECONDS = 8.0
_STOP_SECONDS = 3.0
_KILL_SECONDS = 0.5
_POLL_SECONDS = 0.05
# Room for the tracebacks of four workers and the master's messages about them.
_LOG_LINES = 150

# Variables that override Gunicorn's command line, or make it notify systemd.
_FOREIGN_ENVIRONMENT = ("GUNICORN_", "LISTEN_", "NOTIFY_SOCKET", "WEB_CONCURRENCY")


class ServerError(Exception):
    """Gunicorn failed. The message ends with the tail of its log."""


class DemoServer:
    """A Gunicorn with an example app, on a port of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self.port = port
        self.client = Client(port)
        self._process = process
        self._log = log

    def await_workers(self, check_interrupts: Callable[[], None]) -> None:
        """Return when all workers have loaded the app. Raises ServerError."""
        stdout, output = cast("IO[bytes]", self._process.stdout).fileno(), b""
        end = time.monotonic() + _START_SECONDS
        while output.count(b"\n") < WORKERS:
            check_interrupts()
            if time.monotonic() > end:
                raise ServerError(f"Gunicorn was not ready after {_START_SECONDS:g} seconds\n{self.log_tail()}")
            if select.select([stdout], [], [], _POLL_SECONDS)[0]:
                chunk = os.read(stdout, 1024)
                if not chunk:
                    raise ServerError(f"Gunicorn did not start\n{self.log_tail()}")
                output += chunk

    def log_tail(self) -> str:
        """Return the last lines of the error log, for an error message."""
        self._log.seek(0)
        return "".join(f"  {line}\n" for line in self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """End the master and its workers."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        # Kill processes that hang, and workers whose master was killed. The group is the master's own.
        end = time.monotonic() + _KILL_SECONDS
        is_left = _kill_group(self._process.pid)
        while is_left and time.monotonic() < end:
            time.sleep(_POLL_SECONDS / 10)
            self._process.poll()
            is_left = _kill_group(self._process.pid)


def _kill_group(group: int) -> bool:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # The group is empty. On macOS, zombies cause PermissionError.
        return False
    return True


def build_command(name: str, listener: int, statsd: str, *options: str) -> list[str]:
    """Build the command that starts the server on an inherited socket; `statsd` is the address of a UDP socket.

    Further `options` of Gunicorn override its configuration file.
    """
    return [
        *GUNICORN,
        *("--config", f"file:{EXAMPLE / 'gunicorn_conf.py'}"),
        *("--name", name, "--workers", str(WORKERS), "--bind", f"fd://{listener}"),
        *("--statsd-host", statsd, "--dogstatsd-tags", f"app:{name}"),
        *options,
        "example_app:application",
    ]


@contextlib.contextmanager
def start_server(name: str, statsd: str, *options: str) -> Iterator[DemoServer]:
    """Start Gunicorn on a free port, and stop it at the end. Raises ServerError, also if a request gets no answer.

    Gunicorn inherits a listening socket, so that no other program can take the port. The log is an unnamed file.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOCALHOST, 0)))
        log = stack.enter_context(tempfile.TemporaryFile())
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603  # our own arguments
                build_command(name, listener.fileno(), statsd, *options),
                cwd=EXAMPLE,
                env=_environment(),
                pass_fds=[listener.fileno()],
                start_new_session=True,
                # Only the demo holds the other end: see example/gunicorn_conf.py.
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
