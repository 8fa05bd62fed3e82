"""Processes as Linux's /proc shows them: `read_*` reads a file, `parse_*` parses its text.

psutil reads the same files, but several times, or those of the whole host. `processes.attempt` decides what a failure
means.
"""

import errno
import os
import time
from typing import NamedTuple

import psutil

# PF_FORKNOEXEC of include/linux/sched.h, in the flags of /proc/PID/stat.
_FORKED_WITHOUT_EXEC = 0x40
# Of the kernel's clock for processes, to a second.
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Of somebody else's arguments, which may be megabytes long.
CMDLINE_BYTES = 1 << 16


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
    """A process's line in the process table.

    `alive` is false for a zombie, and for a process that is exiting: it has no memory any more. `forked` is true if it
    has not exec'ed since it was forked, and None when unknown. `cpu_seconds` is user and system time, in ticks;
    `started` is by the clock of `read_clock`. Resident memory is not here: since Linux 6.2 this file has an estimate,
    which can be megabytes off on a machine with many processors (`read_rss` is exact).
    """

    alive: bool
    parent: int
    group: int
    session: int
    forked: bool | None
    cpu_seconds: float
    threads: int
    started: float


def parse_stat(line: bytes, ticks: int = _TICKS) -> Stat:
    """Parse /proc/PID/stat (proc_pid_stat(5)); there are `ticks` clock ticks to a second.

    The name in brackets may hold blanks and brackets itself. A kernel that shows no flags (gVisor) has 0 for them.

    >>> parse_stat(b"7 (a (b) c) S 1 6 5 0 -1 4194368 0 0 0 0 150 50 0 0 20 0 3 0 4711 8192 2", ticks=100).started
    47.11
    """
    fields = line[line.rindex(b")") + 2 :].split(None, 21)
    flags = int(fields[6])
    return Stat(
        fields[0] not in b"ZXx" and fields[20] != b"0",
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        bool(flags & _FORKED_WITHOUT_EXEC) if flags else None,
        (int(fields[11]) + int(fields[12])) / ticks,
        int(fields[17]),
        int(fields[19]) / ticks,
    )


def read_stat(pid: int) -> Stat:
    """Read a process's line. Raises OSError."""
    return parse_stat(read_file(f"{psutil.PROCFS_PATH}/{pid}/stat", 4096))


def parse_rss(line: bytes, page_bytes: int = _PAGE_BYTES) -> int:
    """Parse the resident bytes in /proc/PID/statm (proc_pid_statm(5)).

    >>> parse_rss(b"9043 7576 2699 1 0 5152 0", page_bytes=4096)
    31031296
    """
    return int(line.split(None, 2)[1]) * page_bytes


def read_rss(pid: int) -> int:
    """Read the resident bytes of a process. Raises OSError."""
    return parse_rss(read_file(f"{psutil.PROCFS_PATH}/{pid}/statm", 256))


def parse_cmdline(words: bytes) -> tuple[str, ...]:
    r"""Split /proc/PID/cmdline (proc_pid_cmdline(5)), or the beginning of it.

    >>> parse_cmdline(b"gunicorn\0-w\0002\0")
    ('gunicorn', '-w', '2')
    """
    return tuple(os.fsdecode(words).removesuffix("\0").split("\0")) if words else ()


def read_cmdline(pid: int, size: int = CMDLINE_BYTES) -> tuple[str, ...]:
    """Read the first bytes of a command line; empty for a kernel thread and a process that exits. Raises OSError."""
    return parse_cmdline(read_file(path_of(pid, "cmdline"), size))


def parse_status(text: bytes, name: bytes) -> list[bytes]:
    r"""Give the fields of one line of /proc/PID/status (proc_pid_status(5)); empty when the kernel has no such line.

    >>> parse_status(b"Name:\tcat\nNSpid:\t4711\t7\n", b"NSpid")
    [b'4711', b'7']
    """
    _, _, rest = text.partition(b"\n" + name + b":")
    return rest.partition(b"\n")[0].split()


def read_caught(pid: int) -> int | None:
    """Read the mask of the signals that a process catches, bit 0 for signal 1; None if the kernel does not show it.

    Raises OSError, also when the pid is that of a thread: those have a folder as well, though no list shows it.
    """
    status = read_file(path_of(pid, "status"))
    leader, caught = parse_status(status, b"Tgid"), parse_status(status, b"SigCgt")
    if leader and int(leader[0]) != pid:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return int(caught[0], 16) if caught else None


def owns_processes() -> bool:
    """Whether the pids of this procfs are those of this process's own namespace."""
    try:
        pids = read_ns_pids()
    except OSError:
        return False
    # Kernels before 4.1 have no such line; the procfs at /proc is that of this process's own namespace.
    return pids == [os.getpid()] or (not pids and psutil.PROCFS_PATH == "/proc")


def parse_last_pid(line: bytes) -> int | None:
    """Parse the pid that was given out last from /proc/loadavg (proc_loadavg(5)); None if it is not there (gVisor).

    >>> parse_last_pid(b"0.20 0.18 0.12 1/80 11206")
    11206
    """
    fields = line.split()
    return int(fields[4]) if len(fields) == 5 and int(fields[4]) > 0 else None  # noqa: PLR2004


def read_last_pid() -> int | None:
    """Read the pid that was given out last in this process's own namespace, to a process or to a thread.

    None when it cannot be trusted: in another namespace's procfs, and where lxcfs shows a file of its own. Raises
    OSError.
    """
    path = f"{psutil.PROCFS_PATH}/loadavg"
    if os.stat(path).st_dev != os.stat(psutil.PROCFS_PATH).st_dev or not owns_processes():
        return None
    return parse_last_pid(read_file(path, 256))


def read_ns_pids() -> list[int]:
    """Read this process's pids, in the namespace of the procfs first, in its own last; empty if it does not show them.

    Raises OSError when this process is not in that procfs.
    """
    return [int(pid) for pid in parse_status(read_file(f"{psutil.PROCFS_PATH}/self/status"), b"NSpid")]


def read_children(pid: int) -> list[int]:
    """List the pids of a process's children, zombies among them. Raises OSError.

    A list is unreliable while children die (proc_tid_children(5)): one may be left out.
    """
    folder = path_of(pid, "task")
    children: list[int] = []
    for thread in os.listdir(folder):
        children += map(int, _read_whole(f"{folder}/{thread}/children").split())
    return children


def list_processes() -> dict[int, int]:
    """List all processes: pid to inode number, which tells a process from a later one of the same pid. Raises OSError.

    The kernel may give a process another inode number when it drops its caches; an exec keeps it.
    """
    with os.scandir(psutil.PROCFS_PATH) as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}


def read_file(path: str, size: int = 1 << 16) -> bytes:
    # A third of the time that a file object takes.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def _read_whole(path: str) -> bytes:
    # The kernel gives a list a page at a time, however much is asked for.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        whole = b""
        while part := os.read(descriptor, 1 << 16):
            whole += part
        return whole
    finally:
        os.close(descriptor)


def path_of(pid: int, *names: str) -> str:
    return "/".join((psutil.PROCFS_PATH, str(pid), *names))
