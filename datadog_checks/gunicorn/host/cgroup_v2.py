"""The control groups of cgroup v2, the unified hierarchy (cgroups(7))."""

import os
import re
from typing import NamedTuple

from .procfs import path_of, read_file, read_whole

# The fields of a line of mountinfo.
_MOUNT_ROOT, _MOUNT_POINT = 3, 4
# How mountinfo writes a blank, a tab, a newline or a backslash: in octal.
_ESCAPED = re.compile(r"\\([0-7]{3})")


class ControlGroup(NamedTuple):
    """A control group. `number` identifies it to the kernel; `pids` holds a 0 for each process that we cannot see."""

    number: int
    pids: frozenset[int]


def parse_path(text: str) -> str | None:
    r"""Parse the path of a process in cgroup v2 from /proc/PID/cgroup; None if the host has only cgroup v1.

    >>> parse_path("4:memory:/system.slice/web.service\n0::/system.slice/web.service\n")
    '/system.slice/web.service'
    """
    paths = [line.removeprefix("0::") for line in text.split("\n") if line.startswith("0::")]
    return paths[0] if paths else None


def read_path(pid: int) -> str | None:
    """Read the path of a process's control group; None if the host has only cgroup v1. Raises OSError."""
    return parse_path(os.fsdecode(read_file(path_of(pid, "cgroup"))))


def parse_mount(text: str) -> str | None:
    """Parse the place of cgroup v2 from /proc/self/mountinfo (proc_pid_mountinfo(5)); None if it is not mounted.

    Skips mounts of a part of it.

    >>> parse_mount("41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw")
    '/sys/fs/cgroup/unified'
    """
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after.startswith("cgroup2 ") and len(fields) > _MOUNT_POINT and fields[_MOUNT_ROOT] == "/":
            return _ESCAPED.sub(lambda digits: chr(int(digits[1], 8)), fields[_MOUNT_POINT])
    return None


def read_mount() -> str | None:
    """Read where all of cgroup v2 is mounted; None if it is not. Raises OSError."""
    return parse_mount(os.fsdecode(read_whole("/proc/self/mountinfo")))


def read_control_group(mount: str, path: str) -> ControlGroup:
    """Read the control group at a path. Raises OSError, and ValueError if the file is not in Linux's format."""
    folder = mount.rstrip("/") + path
    number = os.stat(folder).st_ino
    return ControlGroup(number, frozenset(map(int, read_whole(f"{folder}/cgroup.procs").split())))
