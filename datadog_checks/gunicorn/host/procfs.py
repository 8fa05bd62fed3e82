"""Processes in Linux's /proc: `read_*` reads a file, `parse_*` parses its text.

psutil reads the same files, but several times, or those of all processes. `processes.attempt` handles the errors.
"""

import errno
import os
import time

import psutil

from .cgroups import NO_GROUPS, Groups, parse_groups
from .values import Stat

# PF_FORKNOEXEC of include/linux/sched.h, in the flags of /proc/PID/stat.
_FORKED_WITHOUT_EXEC = 0x40
# Clock ticks per second.
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# The limit for command lines of other processes, which may be megabytes long.
CMDLINE_BYTES = 1 << 16


def use_procfs(path: str | None) -> None:
    """Use the Agent's option `procfs_path`, as all checks that use psutil do."""
    if path and psutil.LINUX:
        psutil.PROCFS_PATH = path.rstrip("/") or "/"


def has_default_path() -> bool:
    """Whether processes are read from /proc itself."""
    return psutil.PROCFS_PATH == "/proc"


def read_clock() -> float:
    """Read the clock of process start times, in seconds; on Linux it is monotonic.

    The kernel counts the start of a process from boot, in whole ticks (proc_pid_stat(5), field 22). This clock does the
    same, so that start times compare in order. psutil adds the wall-clock time of the boot: when the wall clock is set,
    start times and ages change.
    """
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS) / _TICKS if psutil.LINUX else time.time()


def parse_stat(line: bytes, ticks: int = _TICKS) -> Stat:
    """Parse /proc/PID/stat (proc_pid_stat(5)), with `ticks` clock ticks per second.

    The name in parentheses may itself contain blanks and parentheses. gVisor shows 0 for the flags.

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
    """Read the status of a process. Raises OSError."""
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


def parse_cmdline(content: bytes) -> tuple[str, ...]:
    r"""Split /proc/PID/cmdline (proc_pid_cmdline(5)), or the beginning of it.

    >>> parse_cmdline(b"gunicorn\0-w\0002\0")
    ('gunicorn', '-w', '2')
    """
    return tuple(os.fsdecode(content).removesuffix("\0").split("\0")) if content else ()


def read_cmdline(pid: int, size: int = CMDLINE_BYTES) -> tuple[str, ...]:
    """Read the first bytes of a command line; empty for kernel threads and exiting processes. Raises OSError."""
    return parse_cmdline(read_file(path_of(pid, "cmdline"), size))


def parse_status(text: bytes, name: bytes) -> list[bytes]:
    r"""Parse the fields of one line of /proc/PID/status (proc_pid_status(5)); empty if the line is missing.

    >>> parse_status(b"Name:\tcat\nNSpid:\t4711\t7\n", b"NSpid")
    [b'4711', b'7']
    """
    _, _, rest = text.partition(b"\n" + name + b":")
    return rest.partition(b"\n")[0].split()


def read_caught(pid: int) -> int | None:
    """Read the mask of the signals that a process catches, bit 0 for signal 1; None if the kernel does not show it.

    Raises OSError, also if the pid is a thread id: threads have a directory in /proc, too, although it is not listed.
    """
    status = read_file(path_of(pid, "status"))
    leader, caught = parse_status(status, b"Tgid"), parse_status(status, b"SigCgt")
    if leader and int(leader[0]) != pid:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return int(caught[0], 16) if caught else None


def read_groups(pid: int) -> Groups:
    """Read the control groups of a process; none if the kernel has none. Raises OSError."""
    try:
        content = read_file(path_of(pid, "cgroup"))
    except FileNotFoundError:
        # It may have vanished as well, which the caller has to find out.
        return NO_GROUPS
    return parse_groups(os.fsdecode(content))


def read_uids(pid: int) -> list[int]:
    """Read the user ids of a process: real, effective, saved and of its files. Raises OSError."""
    return [int(uid) for uid in parse_status(read_file(path_of(pid, "status")), b"Uid")]


def owns_processes() -> bool:
    """Whether this procfs shows the pids of our own pid namespace."""
    try:
        pids = read_ns_pids()
    except (OSError, ValueError):
        return False
    # Kernels before 4.1 have no NSpid line; then assume it of /proc itself.
    return pids == [os.getpid()] or (not pids and has_default_path())


def parse_last_pid(line: bytes) -> int | None:
    """Parse the most recently allocated pid in /proc/loadavg (proc_loadavg(5)); None if it is missing (gVisor).

    >>> parse_last_pid(b"0.20 0.18 0.12 1/80 11206")
    11206
    """
    fields = line.split()
    return int(fields[4]) if len(fields) == 5 and int(fields[4]) > 0 else None  # noqa: PLR2004


def read_last_pid() -> int | None:
    """Read the most recently allocated pid of our own pid namespace; it may belong to a thread.

    None if it cannot be trusted: in the procfs of another namespace, and if lxcfs replaces the file. Raises OSError.
    """
    path = f"{psutil.PROCFS_PATH}/loadavg"
    if os.stat(path).st_dev != os.stat(psutil.PROCFS_PATH).st_dev or not owns_processes():
        return None
    return parse_last_pid(read_file(path, 256))


def read_ns_pids() -> list[int]:
    """Read our own pids, from the namespace of the procfs to our own; empty if the kernel does not show them.

    Raises OSError if this procfs does not show our process.
    """
    return [int(pid) for pid in parse_status(read_file(f"{psutil.PROCFS_PATH}/self/status"), b"NSpid")]


def read_children(pid: int) -> list[int]:
    """List the pids of a process's children, including zombies. Raises OSError.

    While children exit, the list may miss some of them (proc_tid_children(5)).
    """
    folder = path_of(pid, "task")
    children: list[int] = []
    for thread in os.listdir(folder):
        children += map(int, read_whole(f"{folder}/{thread}/children").split())
    return children


def list_processes() -> dict[int, int]:
    """List all processes: pid to inode number, which changes when the pid is reused. Raises OSError.

    The inode number also changes when the kernel drops its caches, but not on exec.
    """
    with os.scandir(psutil.PROCFS_PATH) as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}


def read_file(path: str, size: int = 1 << 16) -> bytes:
    # Takes a third of the time of a file object.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def read_whole(path: str) -> bytes:
    """Read a file of any length. Raises OSError."""
    # The kernel returns at most one page for each read.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        whole = b""
        while part := os.read(descriptor, 1 << 16):
            whole += part
        return whole
    finally:
        os.close(descriptor)


def path_of(pid: int | str, *names: str) -> str:
    return "/".join((psutil.PROCFS_PATH, str(pid), *names))
