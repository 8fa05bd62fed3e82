"""The discovered applications that are gone: each is reported as missing for some time."""

import time
from collections.abc import Set as AbstractSet

# How long a discovered application that is gone is reported.
DEPARTED_SECONDS = 3600.0


class Departures:
    """Remembers the applications that lost their last server, the latest `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # When each lost its last server.
        self._departed: dict[str, float] = {}

    @property
    def names(self) -> AbstractSet[str]:
        return self._departed.keys()

    def record(self, name: str) -> None:
        """Remember an application that has just lost its last server."""
        self._departed[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """Forget an application that is back."""
        del self._departed[name]

    def forget_old(self) -> None:
        """Forget those that left too long ago, and the first ones beyond the limit."""
        now = time.monotonic()
        recent = [(name, at) for name, at in self._departed.items() if now - at < DEPARTED_SECONDS]
        self._departed = dict(recent[max(0, len(recent) - self._limit) :])
