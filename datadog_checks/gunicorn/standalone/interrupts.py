"""Signals that end a command that has to clean up: recorded on arrival, handled when the command checks."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

_POLL_SECONDS = 0.05


class InterruptError(Exception):
    """A signal asked the command to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        # The exit status that a shell reports for a program killed by the signal.
        self.exit_code = 128 + signum


class Interrupts:
    """The first signal received since `noted_interrupts` began."""

    def __init__(self) -> None:
        self._received: int | None = None

    def note(self, signum: int, _: FrameType | None) -> None:
        """Handle a signal."""
        self._received = self._received or signum

    def check(self) -> None:
        """Raise InterruptError if a signal was received."""
        if self._received is not None:
            raise InterruptError(self._received)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises InterruptError at most 0.05 s after a signal."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _POLL_SECONDS))
        self.check()


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Record SIGINT, SIGTERM and SIGHUP, so that they cannot interrupt the cleanup in a `finally` block.

    Works only in the main thread.
    """
    interrupts = Interrupts()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # nohup(1) ignores it.
        signals.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupts.note) for number in signals}
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
