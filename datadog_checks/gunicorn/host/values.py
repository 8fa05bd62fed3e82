"""Values that describe processes and their host. Pure."""

import sys
from collections.abc import Mapping
from typing import NamedTuple

from .cgroups import NO_GROUPS, Groups

# Whether this is Linux, which alone has /proc.
LINUX: bool = sys.platform.startswith("linux")

# Nanoseconds of CPU by thread id; key 0 holds the time of the whole process.
Reading = Mapping[int, int]


class Identity(NamedTuple):
    """A process; its pid alone may be reused by a later process.

    `create_time` is in seconds by the clock of `procfs.read_clock`.
    """

    pid: int
    create_time: float


class Stat(NamedTuple):
    """The status of a process.

    `alive` is false for a zombie, and for an exiting process, which has released its memory. `forked` is true if the
    process has not exec'ed since its fork, and None if unknown. `cpu_seconds` is user plus system time, with the
    precision of a tick. `started` is by the clock of `read_clock`. Resident memory is not here: since Linux 6.2
    /proc/PID/stat has an estimate, which can be megabytes off on a machine with many processors (`read_rss` is exact).
    """

    alive: bool
    parent: int
    group: int
    session: int
    forked: bool | None
    cpu_seconds: float
    threads: int
    started: float


class Process(NamedTuple):
    """One process, read once.

    `caught` is the mask of the signals that it catches, or None if unknown; `groups` are its containers and pods.
    """

    identity: Identity
    stat: Stat
    cmdline: tuple[str, ...]
    caught: int | None
    groups: Groups = NO_GROUPS
