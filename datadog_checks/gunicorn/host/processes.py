"""Reading processes, which may vanish at any time, and whose pids may be reused."""

import os
from collections.abc import Callable
from enum import Enum
from typing import ParamSpec, TypeVar

import psutil

from . import portable, procfs
from .values import Identity, Process, Stat

P = ParamSpec("P")
T = TypeVar("T")

# PROC_PID_INIT_INO of include/linux/proc_ns.h: the inode number of the host's initial pid namespace.
_HOST_PIDS = 0xEFFFFFFC
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
        # The last two: a file that is not as Linux writes it (gVisor, lxcfs).
        return Absence.UNREADABLE


def read_stat(pid: int) -> Stat:
    """Read the status of the current owner of a pid, if it is alive. Raises what `attempt` handles."""
    stat = procfs.read_stat(pid) if psutil.LINUX else portable.read_stat(pid)
    if not stat.alive:
        raise psutil.NoSuchProcess(pid)
    return stat


def read_rss(pid: int) -> int:
    """Read the resident bytes of a pid's current owner. Raises what `attempt` handles."""
    return procfs.read_rss(pid) if psutil.LINUX else portable.read_rss(pid)


def read_process(pid: int) -> Process:
    """Read everything about the current owner of a pid. Raises what `attempt` handles."""
    stat = read_stat(pid)
    if psutil.LINUX:
        cmdline, caught = procfs.read_cmdline(pid), procfs.read_caught(pid)
    else:
        cmdline, caught = portable.read_cmdline(pid), None
    # Read last, to prove that all of the above belongs to this process. It may have exec'ed in between.
    after = read_stat(pid)
    if after.started != stat.started or not cmdline:
        raise psutil.NoSuchProcess(pid)
    return Process(Identity(pid, stat.started), after, cmdline, caught)


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


def is_still(process: Identity) -> bool:
    """Whether the pid still belongs to this process."""
    stat = attempt(read_stat, process.pid)
    return isinstance(stat, Stat) and stat.started == process.create_time


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


def is_of_container() -> bool:
    """Whether /proc shows only the processes of an application container, the Agent's own."""
    namespace = attempt(os.stat, "/proc/self/ns/pid")
    if psutil.PROCFS_PATH != "/proc" or not isinstance(namespace, os.stat_result) or namespace.st_ino == _HOST_PIDS:
        return False
    first = attempt(procfs.read_file, "/proc/1/comm")
    return isinstance(first, Absence) or not first.startswith(_INITS)
