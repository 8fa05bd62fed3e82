"""Identifies one process for its whole life. Pure."""

from typing import NamedTuple


class Identity(NamedTuple):
    """A process; its pid alone may be reused by a later process.

    `create_time` is in seconds by the clock of `procfs.read_clock`.
    """

    pid: int
    create_time: float
