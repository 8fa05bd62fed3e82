"""Gunicorn's version, from `gunicorn --version`."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

# `gunicorn --version` takes 75 to 130 ms of CPU (measured), and may take seconds with `docker exec` on a busy host.
TIMEOUT_SECONDS = 5.0
_KILL_SECONDS = 1.0

# "gunicorn (version 27.0.1)". With `python -m`, Gunicorn 20.1 and 21.2 print "__main__.py (version 20.1.0)".
_VERSION = re.compile(r"\(version (?P<version>[^\s()]+)\)")


class VersionError(Exception):
    """The program printed no version. The message names the program and the reason."""


def parse_version(text: str) -> str | None:
    """Parse the output of `gunicorn --version`; None if it has no version.

    >>> parse_version("gunicorn (version 27.0.1)")
    '27.0.1'
    """
    found = _VERSION.search(text)
    return found and found["version"]


def read_version(command: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> str:
    """Run `command --version`, without a shell; old releases print it on stderr.

    Raises VersionError if the program cannot be run, does not exit within `timeout` seconds, or prints no version.
    """
    shown = " ".join([*command, "--version"])
    try:
        stdout, stderr = _run([*command, "--version"], timeout)
    except (OSError, ValueError) as error:
        raise VersionError(f"`{shown}` could not be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise VersionError(f"`{shown}` did not end within {timeout:g} seconds") from error
    version = parse_version(stdout) or parse_version(stderr)
    if version is None:
        raise VersionError(f"`{shown}` printed no version: {(stdout or stderr).strip()[:200]!r}")
    return version


def _run(command: Sequence[str], timeout: float) -> tuple[str, str]:
    # Files instead of pipes: a child of the program could keep a pipe open beyond the timeout.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(  # noqa: S603  # from configuration, never from another process
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            process.wait(timeout)
        finally:
            # It has not been reaped yet, so its pid cannot have been reused.
            if process.poll() is None:
                _kill(process)
        return _text(stdout), _text(stderr)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # Kill the whole group, because a wrapper's children would survive it. If it runs as another user (sudo), we may not
    # signal it: leave it running, and Popen reaps it later.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(10_000).decode(errors="replace")
