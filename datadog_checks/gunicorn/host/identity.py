"""What stands for one process for the whole of its life. Pure."""

from typing import NamedTuple


class Identity(NamedTuple):
    """A process; the kernel gives its pid to others afterwards.

    `create_time` is in seconds by the clock of `procfs.read_clock`.
    """

    pid: int
    create_time: float
