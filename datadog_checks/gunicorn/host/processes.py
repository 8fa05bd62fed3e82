"""The one door to processes: they may vanish between any two looks, or be others by then."""

import os
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, ParamSpec, TypeVar

import psutil

from . import portable, procfs
from .identity import Identity
from .procfs import Stat

P = ParamSpec("P")
T = TypeVar("T")

# PROC_PID_INIT_INO of include/linux/proc_ns.h, the process namespace that the host started with.
_HOST_PIDS = 0xEFFFFFFC
# The first process of a system container (LXC) or of WSL, which have process namespaces of their own as well, is an
# init: systemd, init, init(Ubuntu). That of an application's container is not.
_INITS = (b"systemd", b"init")


class Absence(Enum):
    """Why a look told nothing."""

    # Vanished, exiting, a zombie, or another process has its pid by now: there is nothing to count.
    GONE = "gone"
    # It is there, and what it is stays unknown.
    UNREADABLE = "unreadable"


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Absence:
    """Decide what every failure to look at a process means; all looks go through here.

    psutil's ZombieProcess is a NoSuchProcess.
    """
    try:
        return read(*args, **kwargs)
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return Absence.GONE
    except (psutil.Error, OSError):
        return Absence.UNREADABLE


class Process(NamedTuple):
    """One process, read once. `caught` is the mask of the signals that it catches, None when unknown."""

    identity: Identity
    stat: Stat
    cmdline: tuple[str, ...]
    caught: int | None


def read_stat(pid: int) -> Stat:
    """Read the process table's line of a pid's current owner, which is alive. Raises what `attempt` handles."""
    stat = procfs.read_stat(pid) if psutil.LINUX else portable.read_stat(pid)
    if not stat.alive:
        raise psutil.NoSuchProcess(pid)
    return stat


def read_rss(pid: int) -> int:
    """Read the resident bytes of a pid's current owner. Raises what `attempt` handles."""
    return procfs.read_rss(pid) if psutil.LINUX else portable.read_rss(pid)


def read_process(pid: int) -> Process:
    """Read all of a pid's current owner. Raises what `attempt` handles."""
    stat = read_stat(pid)
    if psutil.LINUX:
        cmdline, caught = procfs.read_cmdline(pid), procfs.read_caught(pid)
    else:
        cmdline, caught = portable.read_cmdline(pid), None
    # Last, so that all of the above is known to be of this process; an exec may have come in between.
    after = read_stat(pid)
    if after.started != stat.started or not cmdline:
        raise psutil.NoSuchProcess(pid)
    return Process(Identity(pid, stat.started), after, cmdline, caught)


def read_children(pid: int) -> list[int]:
    """List the pids of the children of a pid's current owner, zombies among them. Raises what `attempt` handles."""
    if psutil.LINUX:
        try:
            return procfs.read_children(pid)
        except (FileNotFoundError, ProcessLookupError):
            # The process is gone, as psutil will say, or one of its threads is and its children are another's; or the
            # kernel was built without CONFIG_PROC_CHILDREN.
            pass
    return portable.read_children(pid)


def is_still(process: Identity) -> bool:
    """Whether the current owner of the pid is the process that was meant."""
    stat = attempt(read_stat, process.pid)
    return isinstance(stat, Stat) and stat.started == process.create_time


class ProcessTableError(Exception):
    """The process table as a whole cannot be read."""


def list_processes() -> dict[int, int]:
    """List all processes of the host: pid to a number that a later owner of the pid does not have, or 0 if unknown.

    Raises ProcessTableError.
    """
    try:
        return procfs.list_processes() if psutil.LINUX else portable.list_processes()
    except OSError as error:
        raise ProcessTableError(f"{error}; `procfs_path` in datadog.yaml names the host's /proc") from error


def is_of_container() -> bool:
    """Whether the process table is that of an application's container: all but it is hidden there."""
    namespace = attempt(os.stat, "/proc/self/ns/pid")
    if psutil.PROCFS_PATH != "/proc" or not isinstance(namespace, os.stat_result) or namespace.st_ino == _HOST_PIDS:
        return False
    first = attempt(procfs.read_file, "/proc/1/comm")
    return isinstance(first, Absence) or not first.startswith(_INITS)
