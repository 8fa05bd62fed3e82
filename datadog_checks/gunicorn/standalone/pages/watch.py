"""`--watch`: one page after another, until a signal arrives or the reader closes the pipe."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from datadog_checks.gunicorn.standalone.interrupts import InterruptError
from datadog_checks.gunicorn.standalone.terminal import write_page

T = TypeVar("T")


def show_pages(rounds: Iterator[T], format_page: Callable[[T], str]) -> T:
    """Print a page about each round, and return the last one that was printed.

    An interrupt is the normal way to end this, so it is not an error after the first page.
    """
    shown = next(rounds)
    with contextlib.suppress(InterruptError):
        is_read = write_page(format_page(shown))
        while is_read:
            shown = next(rounds)
            is_read = write_page(format_page(shown))
    return shown
