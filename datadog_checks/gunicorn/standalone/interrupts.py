"""Signals that end a command which has to clean up: noted at once, acted on where the command asks."""

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
        # What a shell reports of a program that the signal ended.
        self.exit_code = 128 + signum


class Interrupts:
    """The first signal that was received since `noted_interrupts` began."""

    def __init__(self) -> None:
        self._received: int | None = None

    def note(self, signum: int, _: FrameType | None) -> None:
        """Handle a signal."""
        self._received = self._received or signum

    def check(self) -> None:
        """Raise InterruptError when a signal was received."""
        if self._received is not None:
            raise InterruptError(self._received)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises InterruptError, at most a twentieth of a second after the signal."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _POLL_SECONDS))
        self.check()


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Note SIGINT, SIGTERM and SIGHUP instead of being ended by them at any instruction, in a `finally` block too.

    Only for the main thread.
    """
    interrupts = Interrupts()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # It is ignored under nohup(1).
        signals.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupts.note) for number in signals}
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
