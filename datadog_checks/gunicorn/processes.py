"""The one door to psutil and /proc/PID: looks at processes that may vanish at any moment."""

import os
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple, TypeVar

import psutil

from .servers import Identity, MasterTitle
from .titles import Role, Title, parse_title

T = TypeVar("T")

# PF_FORKNOEXEC of include/linux/sched.h, in the ninth field of /proc/PID/stat.
_FORKED_WITHOUT_EXEC = 0x40


class Absence(Enum):
    """Why a look told nothing."""

    # Vanished, a zombie, or another process has its pid by now: there is nothing to count.
    GONE = "gone"
    # It is there, and what it is stays unknown.
    UNREADABLE = "unreadable"


class Sighting(NamedTuple):
    """One look at a live process. `cpu_seconds` is its own since its start, user and system."""

    identity: Identity
    title: Title | None
    cpu_seconds: float


class Stat(NamedTuple):
    """What a process's own line in the process table says beyond psutil's words; `forked`: not exec'ed since."""

    parent: int
    group: int
    session: int
    forked: bool | None


def parse_stat(line: str) -> Stat:
    """Parse /proc/PID/stat (proc_pid_stat(5)); the name in brackets may hold blanks and brackets itself.

    >>> parse_stat("7 (a (b) c) S 1 6 5 0 -1 4194368 0")
    Stat(parent=1, group=6, session=5, forked=True)
    """
    _state, parent, group, session, _tty, _foreground, flags, *_ = line.rpartition(")")[2].split()
    return Stat(int(parent), int(group), int(session), forked=bool(int(flags) & _FORKED_WITHOUT_EXEC))


def attempt(read: Callable[[], T]) -> T | Absence:
    """Decide what every failure to look at a process means; all looks go through here.

    psutil's ZombieProcess is a NoSuchProcess.
    """
    try:
        return read()
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return Absence.GONE
    except (psutil.Error, OSError):
        return Absence.UNREADABLE


class Processes:
    """Looks at processes, and keeps psutil's object of each for the next run: a new one costs as much as three looks.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._kept: dict[int, psutil.Process] = {}
        self._kept_before: dict[int, psutil.Process] = {}

    def look_at(self, pid: int) -> Sighting | Absence:
        """Read title and CPU time of whichever process has the pid now. An exiting process has no title."""
        kept = self._kept.pop(pid, None) or self._kept_before.pop(pid, None)
        sighting = attempt(lambda: self._read(kept)) if kept else Absence.GONE
        if sighting is Absence.GONE:
            # Unknown so far, or another process has the pid of the one that was kept.
            sighting = attempt(lambda: self._read(psutil.Process(pid)))
        return sighting

    def _read(self, process: psutil.Process) -> Sighting:
        cpu = process.cpu_times()
        title = parse_title(process.cmdline())
        # Last, so that all of the above is known to be of this process.
        if not process.is_running():
            raise psutil.NoSuchProcess(process.pid)
        self._kept[process.pid] = process
        return Sighting(Identity(process.pid, process.create_time()), title, cpu.user + cpu.system)

    def children_of(self, parent: Identity) -> list[int] | Absence:
        """List the pids of a process's children, in no order; zombies are among them."""
        return attempt(lambda: self._read_children(parent))

    def _read_children(self, parent: Identity) -> list[int]:
        process = self._kept.get(parent.pid) or psutil.Process(parent.pid)
        children = read_children(process)
        if process.create_time() != parent.create_time or not process.is_running():
            raise psutil.NoSuchProcess(parent.pid)
        return children

    def forget_unseen(self) -> None:
        """Drop what is kept of processes that nobody has looked at since the last call."""
        self._kept_before, self._kept = self._kept, {}


def read_children(process: psutil.Process) -> list[int]:
    """List a process's children. On Linux from its own files: psutil would read the whole host's."""
    if psutil.LINUX:
        try:
            return list(_read_children_of_threads(process.pid))
        except FileNotFoundError:
            # Either it is gone, as psutil will say, or the kernel was built without CONFIG_PROC_CHILDREN.
            pass
    return [child.pid for child in process.children()]


def _read_children_of_threads(pid: int) -> Iterator[int]:
    for thread in os.listdir(_path(pid, "task")):
        with open(_path(pid, "task", thread, "children"), "rb") as file:
            yield from map(int, file.read().split())


def read_master_title(pid: int) -> MasterTitle | Absence | None:
    """Read what tells the application of a process titled as a master; None where it is not so titled."""
    return attempt(lambda: _read_master_title(psutil.Process(pid)))


def _read_master_title(process: psutil.Process) -> MasterTitle | None:
    title = parse_title(process.cmdline())
    if title is None or title.role is not Role.MASTER or title.name is None:
        return None
    stat = read_stat(process)
    parent = attempt(lambda: read_stat(psutil.Process(stat.parent)))
    if not process.is_running():
        raise psutil.NoSuchProcess(process.pid)
    return MasterTitle(
        Identity(process.pid, process.create_time()),
        title.name,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=stat.parent == 1 or (isinstance(parent, Stat) and parent.session != stat.session),
    )


def read_stat(process: psutil.Process) -> Stat:
    """Read a process's parent, group and session, of which psutil tells the parent only."""
    if psutil.LINUX:
        with open(_path(process.pid, "stat"), encoding="utf-8", errors="replace") as file:
            return parse_stat(file.read())
    return Stat(process.ppid(), os.getpgid(process.pid), os.getsid(process.pid), forked=None)


def scan_master_titles() -> Iterator[MasterTitle]:
    """Look at every process of the host for titles of masters."""
    for pid in _pids_titled_as_masters():
        found = read_master_title(pid)
        if isinstance(found, MasterTitle):
            yield found


def _pids_titled_as_masters() -> Iterator[int]:
    if not psutil.LINUX:
        yield from psutil.pids()
        return
    for name in os.listdir(psutil.PROCFS_PATH):
        if name.isdigit() and _starts_as_master(int(name)):
            yield int(name)


def _starts_as_master(pid: int) -> bool:
    def read() -> bytes:
        with open(_path(pid, "cmdline"), "rb", buffering=0) as file:
            return file.read(len(_MASTER_MARK))

    return attempt(read) == _MASTER_MARK


_MASTER_MARK = b"gunicorn: master ["


def _path(pid: int, *names: str) -> str:
    return "/".join((psutil.PROCFS_PATH, str(pid), *names))
