"""A socket that receives DogStatsD metrics like the Agent, and a table of what it received."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from datadog_checks.gunicorn.standalone.pages.table import format_table

from .client import LOCALHOST


class SentMetric(NamedTuple):
    """A metric as sent. `type` is the protocol's code: c, g, ms, h."""

    name: str
    type: str
    tags: tuple[str, ...]


class Received(NamedTuple):
    """The number of lines received for a metric, and the last value."""

    lines: int
    value: str


_NOTHING = Received(0, "")


class Receiver:
    """A bound UDP socket and what it has received so far.

    The kernel buffers some hundreds of lines; call `take` regularly to empty the buffer.
    """

    def __init__(self, udp: socket.socket) -> None:
        self._socket = udp
        self.address = f"{LOCALHOST}:{udp.getsockname()[1]}"
        self.received: dict[SentMetric, Received] = {}

    def take(self) -> None:
        """Receive what has arrived, without waiting for more."""
        with contextlib.suppress(BlockingIOError):
            while True:
                for metric, value in parse_datagram(self._socket.recv(65536)):
                    self.received[metric] = Received(self.received.get(metric, _NOTHING).lines + 1, value)


@contextlib.contextmanager
def open_receiver() -> Iterator[Receiver]:
    """Listen on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((LOCALHOST, 0))
        udp.setblocking(False)
        yield Receiver(udp)


def parse_datagram(datagram: bytes) -> Iterator[tuple[SentMetric, str]]:
    r"""Parse a datagram's lines into metrics and values; skips lines that are not metrics.

    >>> list(parse_datagram(b"gunicorn.requests:1|c|@1.0|#app:web,env:prod\n"))
    [(SentMetric(name='gunicorn.requests', type='c', tags=('app:web', 'env:prod')), '1')]
    """
    for line in datagram.decode(errors="replace").splitlines():
        name_and_value, *fields = line.split("|")
        name, _, value = name_and_value.rpartition(":")
        if name and fields:
            tags = next((field[1:] for field in fields[1:] if field.startswith("#")), "")
            yield SentMetric(name, fields[0], tuple(tags.split(",")) if tags else ()), value


def format_received(received: Mapping[SentMetric, Received]) -> list[str]:
    """Format one row for each metric."""
    header = ("name", "type", "lines", "last value", "tags")
    table = [
        (metric.name, metric.type, str(lines), value, ", ".join(metric.tags))
        for metric, (lines, value) in sorted(received.items())
    ]
    return format_table([header, *table], "  ")
