"""Reading processes, which may vanish at any time, and whose pids may be reused."""

import os
from collections.abc import Callable, Collection
from enum import Enum
from typing import ParamSpec, TypeVar

import psutil

from . import portable, procfs
from .cgroups import NO_GROUPS, Groups
from .values import Identity, Process, Stat

P = ParamSpec("P")
T = TypeVar("T")

# PROC_PID_INIT_INO of include/linux/proc_ns.h: the inode number of the host's initial pid namespace.
_HOST_PIDS = 0xEFFFFFFC
# PROC_CGROUP_INIT_INO, likewise of its initial cgroup namespace.
_HOST_CGROUPS = 0xEFFFFFFB
# System containers (LXC) and WSL have their own pid namespaces too, but their first process is an init: systemd, init,
# init(Ubuntu). That of an application container is not.
_INITS = (b"systemd", b"init")


class Absence(Enum):
    """Why a process could not be read."""

    # Vanished, exiting or a zombie, or its pid has been reused: there is nothing to count.
    GONE = "gone"
    # It exists, but what it is remains unknown.
    UNREADABLE = "unreadable"


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Absence:
    """Call `read` and translate its errors. All reads of a process go through here.

    psutil's ZombieProcess is a NoSuchProcess.
    """
    try:
        return read(*args, **kwargs)
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return Absence.GONE
    except (psutil.Error, OSError, ValueError, IndexError):
        # The last two: a file that is not in Linux's format (gVisor, lxcfs).
        return Absence.UNREADABLE


def read_stat(pid: int) -> Stat:
    """Read the status of the current owner of a pid, if it is alive. Raises what `attempt` handles."""
    stat = procfs.read_stat(pid) if psutil.LINUX else portable.read_stat(pid)
    if not stat.alive:
        raise psutil.NoSuchProcess(pid)
    return stat


def read_started(pid: int) -> float | None:
    """Read the start time of a pid's current owner, which may be a zombie or a kernel thread; None except on Linux.

    Raises what `attempt` handles.
    """
    return procfs.read_stat(pid).started if psutil.LINUX else None


def read_rss(pid: int) -> int:
    """Read the resident bytes of a pid's current owner. Raises what `attempt` handles."""
    return procfs.read_rss(pid) if psutil.LINUX else portable.read_rss(pid)


def read_any_process(pid: int) -> Process:
    """Read everything about the current owner of a pid, even if its command line is empty.

    Raises what `attempt` handles.
    """
    stat = read_stat(pid)
    if psutil.LINUX:
        cmdline, caught, groups = procfs.read_cmdline(pid), procfs.read_caught(pid), procfs.read_groups(pid)
    else:
        cmdline, caught, groups = portable.read_cmdline(pid), None, NO_GROUPS
    # Read last, to prove that all of the above belongs to this process. It may have exec'ed in between.
    after = read_stat(pid)
    if after.started != stat.started:
        raise psutil.NoSuchProcess(pid)
    return Process(Identity(pid, stat.started), after, cmdline, caught, groups)


def read_process(pid: int) -> Process:
    """Read everything about the current owner of a pid, if it has a command line: an exiting process has none.

    Raises what `attempt` handles.
    """
    process = read_any_process(pid)
    if not process.cmdline:
        raise psutil.NoSuchProcess(pid)
    return process


def read_beginning(pid: int, size: int) -> tuple[str, ...]:
    """Read the first `size` bytes of a command line, except on Linux all of it. Raises what `attempt` handles."""
    return procfs.read_cmdline(pid, size) if psutil.LINUX else portable.read_cmdline(pid)


def read_folder(pid: int) -> str:
    """Read the current directory of a pid's current owner. Raises what `attempt` handles."""
    return str(psutil.Process(pid).cwd())


def read_caught(pid: int) -> int | None:
    """Read the mask of the signals that a process catches; None if unknown. Raises what `attempt` handles."""
    return procfs.read_caught(pid) if psutil.LINUX else None


def read_children(pid: int) -> list[int]:
    """List the children of the current owner of a pid, including zombies. Raises what `attempt` handles."""
    if psutil.LINUX:
        try:
            return procfs.read_children(pid)
        except (FileNotFoundError, ProcessLookupError):
            # The process has ended (psutil will raise); or a thread has ended, and its children were reparented; or the
            # kernel was built without CONFIG_PROC_CHILDREN.
            pass
    return portable.read_children(pid)


def read_groups(pid: int) -> tuple[Identity, Groups]:
    """Read the identity and the control groups of the current owner of a pid. Raises what `attempt` handles."""
    started = read_stat(pid).started
    groups = procfs.read_groups(pid) if psutil.LINUX else NO_GROUPS
    if read_stat(pid).started != started:
        raise psutil.NoSuchProcess(pid)
    return Identity(pid, started), groups


def is_alive(process: Identity) -> bool:
    """Whether the process is known to be alive: its pid has not been reused, and it is not a zombie."""
    stat = attempt(read_stat, process.pid)
    return isinstance(stat, Stat) and stat.started == process.create_time


def is_hidden(pid: int) -> bool:
    """Whether another user's process exists that procfs does not show: with hidepid=2, it seems to have vanished."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not os.path.exists(procfs.path_of(pid))
    except ProcessLookupError:
        pass
    return False


class ProcessTableError(Exception):
    """The process table as a whole cannot be read."""


def list_processes() -> dict[int, int]:
    """List all processes of the host: pid to a number that changes when the pid is reused, or 0 if unknown.

    Raises ProcessTableError.
    """
    try:
        return procfs.list_processes() if psutil.LINUX else portable.list_processes()
    except OSError as error:
        raise ProcessTableError(f"{error}; set `procfs_path` in datadog.yaml to the host's /proc") from error


def read_last_pid() -> int | None:
    """Read the most recently allocated pid; None if unknown. Raises what `attempt` handles."""
    return procfs.read_last_pid() if psutil.LINUX else None


def hides_others(listed: Collection[int]) -> bool:
    """Whether the list of all processes lacks those of other users (hidepid=2 in proc(5)): process 1 always exists."""
    return psutil.LINUX and 1 not in listed


def has_own_cgroups() -> bool:
    """Whether we see control groups from a cgroup namespace other than the host's: paths are relative to ours."""
    namespace = attempt(os.stat, "/proc/self/ns/cgroup") if psutil.LINUX else None
    return isinstance(namespace, os.stat_result) and namespace.st_ino != _HOST_CGROUPS


def is_of_container() -> bool:
    """Whether /proc shows only the processes of an application container, the Agent's own."""
    if not psutil.LINUX:
        return False
    namespace = attempt(os.stat, "/proc/self/ns/pid")
    if psutil.PROCFS_PATH != "/proc" or not isinstance(namespace, os.stat_result) or namespace.st_ino == _HOST_PIDS:
        return False
    first = attempt(procfs.read_file, "/proc/1/comm")
    return isinstance(first, Absence) or not first.startswith(_INITS)
