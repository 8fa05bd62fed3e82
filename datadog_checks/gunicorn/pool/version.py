"""Gunicorn's version: ask the program, parse what it says."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

# `gunicorn --version` takes 75 to 130 ms of CPU (measured); through `docker exec` on a busy host it can be seconds.
TIMEOUT_SECONDS = 5.0
_KILL_SECONDS = 1.0

# "gunicorn (version 27.0.1)". Gunicorn 20.1 and 21.2 run as a module say "__main__.py (version 20.1.0)".
_VERSION = re.compile(r"\(version (?P<version>[^\s()]+)\)")


class VersionError(Exception):
    """The program did not tell a version. The message says which program, and why."""


def parse_version(text: str) -> str | None:
    """Find the version in the program's words.

    >>> parse_version("gunicorn (version 27.0.1)")
    '27.0.1'
    """
    found = _VERSION.search(text)
    return found and found["version"]


def read_version(command: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> str:
    """Ask `command --version`, without a shell; old releases answer on stderr.

    Raises VersionError when the program cannot be run, does not end within `timeout` seconds, or names no version.
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
        raise VersionError(f"`{shown}` named no version: {(stdout or stderr).strip()[:200]!r}")
    return version


def _run(command: Sequence[str], timeout: float) -> tuple[str, str]:
    # Files, not pipes: a child of the program that keeps a pipe open would outlast any time limit.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(  # noqa: S603  # from configuration, never from another process
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            process.wait(timeout)
        finally:
            # Not reaped yet, so its number is still its own.
            if process.poll() is None:
                _kill(process)
        return _text(stdout), _text(stderr)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The whole group, or a wrapper's children would live on. We may not signal a program of another user's (sudo): then
    # it is left running, and Popen reaps it when it has ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(10_000).decode(errors="replace")
