"""`--watch`: page after page, until a signal ends it or nobody reads on."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from datadog_checks.gunicorn.standalone.interrupts import InterruptError
from datadog_checks.gunicorn.standalone.terminal import write_page

T = TypeVar("T")


def show_pages(rounds: Iterator[T], format_page: Callable[[T], str]) -> T:
    """Print a page about each round, and return the last one that was printed.

    An interrupt is how one ends this, so it ends here, once there is a page.
    """
    shown = next(rounds)
    with contextlib.suppress(InterruptError):
        while write_page(format_page(shown)):
            shown = next(rounds)
    return shown
