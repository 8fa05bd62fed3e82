"""What psutil does not tell of a process, or only by reading the whole host.

It is read from /proc on Linux, and through psutil and the standard library elsewhere. `processes.attempt` tells what it
means when that fails.
"""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

import psutil

# PF_FORKNOEXEC of include/linux/sched.h, in the ninth field of /proc/PID/stat.
_FORKED_WITHOUT_EXEC = 0x40
# Of the kernel's clock for processes, to a second.
_TICKS = os.sysconf("SC_CLK_TCK")


def use_procfs(path: str | None) -> None:
    """Look where the Agent's option `procfs_path` says, as all of its checks do that use psutil."""
    if path and psutil.LINUX:
        psutil.PROCFS_PATH = path.rstrip("/") or "/"


def read_clock() -> float:
    """Read the clock that tells when processes started, in seconds; on Linux nobody can set it.

    The kernel counts a process's start from boot, in whole ticks (proc_pid_stat(5), field 22), and so does this: what
    starts later has no earlier start. psutil adds the time of day of the boot, which moves with the time of day: then
    a process has another start, or an age that it does not have.
    """
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS) / _TICKS if psutil.LINUX else time.time()


class Stat(NamedTuple):
    """What a process's own line in the process table says beyond psutil's words.

    `forked`: not exec'ed since, None where nobody can tell; `started`: by the clock of `read_clock`.
    """

    parent: int
    group: int
    session: int
    forked: bool | None
    started: float


def parse_stat(line: bytes, ticks: int) -> Stat:
    """Parse /proc/PID/stat (proc_pid_stat(5)), with so many clock ticks to a second.

    The name in brackets may hold blanks and brackets itself.

    >>> parse_stat(b"7 (a (b) c) S 1 6 5 0 -1 4194368 0 0 0 0 0 0 0 0 20 0 1 0 4711 0", ticks=100)
    Stat(parent=1, group=6, session=5, forked=True, started=47.11)
    """
    fields = line.rpartition(b")")[2].split()
    parent, group, session = map(int, fields[1:4])
    return Stat(parent, group, session, bool(int(fields[6]) & _FORKED_WITHOUT_EXEC), int(fields[19]) / ticks)


def parse_cmdline(words: bytes) -> tuple[str, ...]:
    r"""Split /proc/PID/cmdline (proc_pid_cmdline(5)), of which it may be the beginning, as psutil does.

    >>> parse_cmdline(b"gunicorn\0-w\0002\0")
    ('gunicorn', '-w', '2')
    """
    return tuple(os.fsdecode(words).removesuffix("\0").split("\0")) if words else ()


def read_stat(pid: int) -> Stat:
    """Read what psutil does not tell of a process, or by another clock."""
    if psutil.LINUX:
        return parse_stat(read_file(path_of(pid, "stat")), _TICKS)
    process = psutil.Process(pid)
    return Stat(process.ppid(), os.getpgid(pid), os.getsid(pid), forked=None, started=process.create_time())


def read_children(process: psutil.Process) -> list[int]:
    """List a process's children. On Linux from its own files: psutil would read the whole host's."""
    if psutil.LINUX:
        try:
            return list(_read_children_of_threads(process.pid))
        except (FileNotFoundError, ProcessLookupError):
            # The process is gone, as psutil will say, or one of its threads is and its children are another's; or the
            # kernel was built without CONFIG_PROC_CHILDREN.
            pass
    return [child.pid for child in process.children()]


def _read_children_of_threads(pid: int) -> Iterator[int]:
    for thread in os.listdir(path_of(pid, "task")):
        yield from map(int, _read_whole(path_of(pid, "task", thread, "children")).split())


def read_file(path: str, size: int = 1 << 16) -> bytes:
    # A third of the time that a file object takes.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def _read_whole(path: str) -> bytes:
    # The kernel gives a list a page at a time, however much is asked for.
    with open(path, "rb") as file:
        return file.read()


def path_of(pid: int, *names: str) -> str:
    return "/".join((psutil.PROCFS_PATH, str(pid), *names))
