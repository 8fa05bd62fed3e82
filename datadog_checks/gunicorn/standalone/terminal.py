"""Stdout and stderr as commands use them."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from datadog_checks.gunicorn.text import escape

# Its children are the loggers of the base package and of the check.
_LOGGER = logging.getLogger("datadog_checks")

# ECMA-48's words for: cursor to the upper left corner, erase the screen.
_CLEAR = "\x1b[H\x1b[2J"


class OutputError(Exception):
    """Stdout did not take what was to be printed."""


class _EscapingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(escape, super().format(record).splitlines()))


def prepare_output() -> None:
    """Make neither a closed stream (`>&-`) an error, nor a name that the terminal's encoding lacks."""
    # A closed stream is None, whatever its type says.
    sys.stdout = sys.stdout or _open_devnull()
    sys.stderr = sys.stderr or _open_devnull()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _open_devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def prepare_logging(*, verbose: bool) -> None:
    """Send the check's log to stderr, or nowhere: the page shows its warnings and its error."""
    handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(_EscapingFormatter("%(asctime)s %(levelname)s %(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.WARNING)


def write(text: str) -> bool:
    """Print at once. False says that the reader has gone (`| head`), which ends the output, not the command.

    Raises OutputError when the text is lost for another reason.
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
    """Print a page in place of the one before, where that is on a terminal."""
    return write(_CLEAR + page if sys.stdout.isatty() else page)


def complain(message: str) -> None:
    """Print one line on stderr. A stderr that takes nothing changes no exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(escape(message) + "\n")


def settle_output() -> None:
    """Leave nothing in stdout and stderr that Python could fail to flush as it exits.

    When that flush fails, Python prints "Exception ignored in ..." and exits with 120, whatever the command returned
    (`Py_FinalizeEx` in the C API's documentation). What a stream did not take goes to /dev/null instead.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as devnull:
                os.dup2(devnull.fileno(), stream.fileno())
