"""A socket that takes DogStatsD metrics as the Agent would, and what it took as a table."""

import contextlib
import socket
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .text import format_table

HOST = "127.0.0.1"


class Sample(NamedTuple):
    """One line as it was sent. `type` is the protocol's word for it: c, g, ms, h."""

    name: str
    type: str
    value: str
    tags: tuple[str, ...]


class Receiver:
    """A bound UDP socket and what it has received so far.

    The kernel keeps some hundreds of lines; `take` makes room for more.
    """

    def __init__(self, udp: socket.socket) -> None:
        self._socket = udp
        self.address = f"{HOST}:{udp.getsockname()[1]}"
        self.samples: list[Sample] = []

    def take(self) -> None:
        """Take what has arrived, without waiting for more."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.samples += parse_datagram(self._socket.recv(65536))


@contextlib.contextmanager
def open_receiver() -> Iterator[Receiver]:
    """Listen on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        udp.setblocking(False)
        yield Receiver(udp)


def parse_datagram(datagram: bytes) -> Iterator[Sample]:
    r"""Parse a datagram's lines; what is no metric is left out.

    >>> list(parse_datagram(b"gunicorn.requests:1|c|@1.0|#app:web,env:prod\n"))
    [Sample(name='gunicorn.requests', type='c', value='1', tags=('app:web', 'env:prod'))]
    """
    for line in datagram.decode(errors="replace").splitlines():
        name_and_value, *fields = line.split("|")
        name, _, value = name_and_value.rpartition(":")
        if name and fields:
            tags = next((field[1:] for field in fields[1:] if field.startswith("#")), "")
            yield Sample(name, fields[0], value, tuple(tags.split(",")) if tags else ())


def format_samples(samples: Iterable[Sample]) -> list[str]:
    """Format one row for each metric: how many lines of it arrived, and the value of the last one."""
    rows: dict[tuple[str, str, tuple[str, ...]], tuple[int, str]] = {}
    for sample in samples:
        key = (sample.name, sample.type, sample.tags)
        rows[key] = (rows.get(key, (0, ""))[0] + 1, sample.value)
    header = ("name", "type", "lines", "last value", "tags")
    table = [
        (name, kind, str(lines), value, ", ".join(tags)) for (name, kind, tags), (lines, value) in sorted(rows.items())
    ]
    return format_table([header, *table], "  ")
