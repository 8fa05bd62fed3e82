"""The one door to psutil and /proc/PID: looks at processes that may vanish at any moment."""

import os
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import psutil

from .argv import find_arguments, parse_arguments
from .servers import Candidate, Identity, Scan
from .titles import Role, Title, parse_title

P = ParamSpec("P")
T = TypeVar("T")

# PF_FORKNOEXEC of include/linux/sched.h, in the ninth field of /proc/PID/stat.
_FORKED_WITHOUT_EXEC = 0x40
# PROC_PID_INIT_INO of include/linux/proc_ns.h, the process namespace that the host started with.
_HOST_PIDS = 0xEFFFFFFC


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


class Sighting(NamedTuple):
    """One look at a live process.

    Where its command line is no title, `arguments` are Gunicorn's if it is that, and `forked` tells whether it has not
    exec'ed since it was forked (None where nobody can tell). `cpu_seconds` is its own since its start, user and system.
    """

    identity: Identity
    title: Title | None
    arguments: tuple[str, ...] | None
    forked: bool | None
    cpu_seconds: float


class Processes:
    """Looks at processes, and keeps psutil's object of each for the next run: a new one costs as much as three looks.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._kept: dict[int, psutil.Process] = {}
        self._kept_before: dict[int, psutil.Process] = {}

    def look_at(self, pid: int, *, verify: bool = True) -> Sighting | Absence:
        """Read title and CPU time of whichever process has the pid now.

        Without `verify` the process is taken for the one that was kept, which costs a third less.
        """
        kept = self._kept.pop(pid, None) or self._kept_before.pop(pid, None)
        sighting = attempt(self._read, kept, verify) if kept else Absence.GONE
        if sighting is Absence.GONE:
            # Unknown so far, or another process has the pid of the one that was kept.
            sighting = attempt(self._read_anew, pid, verify)
        return sighting

    def _read_anew(self, pid: int, verify: bool) -> Sighting:
        return self._read(psutil.Process(pid), verify)

    def _read(self, process: psutil.Process, verify: bool) -> Sighting:
        cpu = process.cpu_times()
        cmdline = tuple(process.cmdline())
        title = parse_title(cmdline)
        sighting = Sighting(
            Identity(process.pid, process.create_time()),
            title,
            arguments=None if title else find_arguments(cmdline),
            forked=None if title else read_stat(process.pid).forked,
            cpu_seconds=cpu.user + cpu.system,
        )
        # Last, so that all of the above is known to be of this process. One that exits has no words any more.
        if not cmdline or (verify and not process.is_running()):
            raise psutil.NoSuchProcess(process.pid)
        self._kept[process.pid] = process
        return sighting

    def children_of(self, parent: Identity, *, verify: bool = True) -> list[int] | Absence:
        """List the pids of a process's children, in no order; zombies are among them."""
        return attempt(self._read_children, parent, verify)

    def _read_children(self, parent: Identity, verify: bool) -> list[int]:
        process = self._kept.get(parent.pid) or psutil.Process(parent.pid)
        children = read_children(process)
        if process.create_time() != parent.create_time or (verify and not process.is_running()):
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
        except (FileNotFoundError, ProcessLookupError):
            # The process is gone, as psutil will say, or one of its threads is and its children are another's; or the
            # kernel was built without CONFIG_PROC_CHILDREN.
            pass
    return [child.pid for child in process.children()]


def _read_children_of_threads(pid: int) -> Iterator[int]:
    for thread in os.listdir(_path(pid, "task")):
        yield from map(int, _read_whole(_path(pid, "task", thread, "children")).split())


class Stat(NamedTuple):
    """What a process's own line in the process table says beyond psutil's words; `forked`: not exec'ed since."""

    parent: int
    group: int
    session: int
    forked: bool | None


def parse_stat(line: bytes) -> Stat:
    """Parse /proc/PID/stat (proc_pid_stat(5)); the name in brackets may hold blanks and brackets itself.

    >>> parse_stat(b"7 (a (b) c) S 1 6 5 0 -1 4194368 0")
    Stat(parent=1, group=6, session=5, forked=True)
    """
    _state, parent, group, session, _tty, _foreground, flags, *_ = line.rpartition(b")")[2].split()
    return Stat(int(parent), int(group), int(session), forked=bool(int(flags) & _FORKED_WITHOUT_EXEC))


def read_stat(pid: int) -> Stat:
    """Read a process's parent, group and session, of which psutil tells the parent only."""
    if psutil.LINUX:
        return parse_stat(_read_file(_path(pid, "stat")))
    return Stat(psutil.Process(pid).ppid(), os.getpgid(pid), os.getsid(pid), forked=None)


def read_candidate(pid: int) -> Candidate | Absence | None:
    """Read what tells the application of a process that may be a master; None where its words are others."""
    return attempt(_read_candidate, pid)


def _read_candidate(pid: int) -> Candidate | None:
    process = psutil.Process(pid)
    cmdline = tuple(process.cmdline())
    title = parse_title(cmdline)
    arguments = None if title else find_arguments(cmdline)
    if title:
        name = title.name if title.role is Role.MASTER else None
    else:
        name = None if arguments is None else parse_arguments(arguments)
    if name is None:
        return None
    stat = read_stat(pid)
    parent = attempt(read_stat, stat.parent)
    if not process.is_running():
        raise psutil.NoSuchProcess(pid)
    return Candidate(
        Identity(pid, process.create_time()),
        name,
        arguments,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=stat.parent == 1 or (isinstance(parent, Stat) and parent.session != stat.session),
    )


class ProcessTableError(Exception):
    """The process table as a whole cannot be read."""


def use_procfs(path: str | None) -> None:
    """Look where the Agent's option `procfs_path` says, as all of its checks do that use psutil."""
    if path and psutil.LINUX:
        psutil.PROCFS_PATH = path.rstrip("/") or "/"


def scan_host() -> Scan:
    """Look at every process of the host.

    Raises ProcessTableError.
    """
    try:
        pids = psutil.pids()
    except OSError as error:
        raise ProcessTableError(f"{error}; `procfs_path` in datadog.yaml names the host's /proc") from error
    found = [read_candidate(pid) if suspect is True else suspect for pid, suspect in _sieve(pids)]
    return Scan(
        candidates=tuple(candidate for candidate in found if isinstance(candidate, Candidate)),
        unreadable=found.count(Absence.UNREADABLE),
        # It is always there, but for those who may not see it (hidepid=2 in proc(5)).
        hides_others=psutil.LINUX and 1 not in pids,
        of_container=psutil.LINUX and _is_of_container(),
    )


def _is_of_container() -> bool:
    namespace = attempt(os.stat, "/proc/self/ns/pid")
    return psutil.PROCFS_PATH == "/proc" and isinstance(namespace, os.stat_result) and namespace.st_ino != _HOST_PIDS


# Whom titles tell to be no master. Their number grows with that of the workers on the host.
_OTHERS = (b"gunicorn: worker", b"gunicorn: dirty", b"[ready] gunicorn: worker")
# Enough for an interpreter, its options and the path of a script.
_SIEVE_BYTES = 4096


def _sieve(pids: Iterable[int]) -> Iterator[tuple[int, Literal[True] | Absence]]:
    """Give the processes that may be candidates, and those that did not say; psutil would need ten times as long."""
    if not psutil.LINUX:
        yield from ((pid, True) for pid in pids)
        return
    root = psutil.PROCFS_PATH
    for pid in pids:
        words = attempt(_read_file, f"{root}/{pid}/cmdline", _SIEVE_BYTES)
        if isinstance(words, Absence):
            yield pid, words
        elif b"gunicorn" in words and not words.startswith(_OTHERS):
            yield pid, True


def _read_file(path: str, size: int = 1 << 16) -> bytes:
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


def _path(pid: int, *names: str) -> str:
    return "/".join((psutil.PROCFS_PATH, str(pid), *names))
