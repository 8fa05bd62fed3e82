"""Writing to stdout and stderr."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from datadog_checks.gunicorn.text import escape

# The parent of the loggers of the base package and of the check.
_LOGGER = logging.getLogger("datadog_checks")

# ECMA-48: move the cursor to the upper left corner, erase the screen.
_CLEAR = "\x1b[H\x1b[2J"


class OutputError(Exception):
    """Writing to stdout failed."""


class _EscapingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(escape, super().format(record).splitlines()))


def prepare_output() -> None:
    """Tolerate closed streams (`>&-`) and characters that the terminal's encoding lacks."""
    # A closed stream is None, despite its declared type.
    sys.stdout = sys.stdout or _open_devnull()
    sys.stderr = sys.stderr or _open_devnull()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _open_devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def prepare_logging(*, verbose: bool) -> None:
    """Send the check's log to stderr if verbose; the page shows its warnings and its error anyway."""
    handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(_EscapingFormatter("%(asctime)s %(levelname)s %(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.WARNING)


def write(text: str) -> bool:
    """Write and flush. Returns False if the reader has closed the pipe (`| head`), which is not an error.

    Raises OutputError for any other error.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror}") from error
    return True


def write_page(page: str) -> bool:
    """Write a page; on a terminal, it replaces the previous one."""
    return write(_CLEAR + page if sys.stdout.isatty() else page)


def complain(message: str) -> None:
    """Write one line to stderr. Ignores errors, so that they do not change the exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(escape(message) + "\n")


def flush_output() -> None:
    """Flush stdout and stderr, so that Python cannot fail to do so at exit.

    If that fails, Python prints "Exception ignored in ..." and exits with 120, whatever the command returned
    (`Py_FinalizeEx` in the C API's documentation). Output that cannot be written goes to /dev/null instead.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as devnull:
                os.dup2(devnull.fileno(), stream.fileno())
