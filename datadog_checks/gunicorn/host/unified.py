"""The control groups of cgroup v2, the unified hierarchy (cgroups(7))."""

import os
from typing import NamedTuple

from .cgroups import parse_unified, parse_unified_mount
from .procfs import path_of, read_file, read_whole


class ControlGroup(NamedTuple):
    """A control group. `number` identifies it to the kernel; `pids` holds a 0 for each process that we cannot see."""

    number: int
    pids: frozenset[int]


def read_path(pid: int) -> str | None:
    """Read the path of a process's control group; None if the host has only cgroup v1. Raises OSError."""
    return parse_unified(os.fsdecode(read_file(path_of(pid, "cgroup"))))


def read_mount() -> str | None:
    """Read where all of cgroup v2 is mounted; None if it is not. Raises OSError."""
    return parse_unified_mount(os.fsdecode(read_whole("/proc/self/mountinfo")))


def read_control_group(mount: str, path: str) -> ControlGroup:
    """Read the control group at a path. Raises OSError, and ValueError if the file is not in Linux's format."""
    folder = mount.rstrip("/") + path
    number = os.stat(folder).st_ino
    return ControlGroup(number, frozenset(map(int, read_whole(f"{folder}/cgroup.procs").split())))
