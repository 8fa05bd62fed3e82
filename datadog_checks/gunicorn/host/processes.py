"""The one door to psutil and /proc/PID: looks at processes that may vanish at any moment."""

import os
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import psutil

from datadog_checks.gunicorn.pool.usage import Usage
from datadog_checks.gunicorn.servers.applications import Candidate, Identity, Scan
from datadog_checks.gunicorn.servers.command_line import find_arguments, parse_arguments
from datadog_checks.gunicorn.servers.titles import Role, Title, parse_title

from . import procfs

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


class Sighting(NamedTuple):
    """One look at a live process.

    Where its command line is no title, `arguments` are Gunicorn's if it is that, and `forked` tells whether it has not
    exec'ed since it was forked (None where nobody can tell).
    """

    identity: Identity
    title: Title | None
    arguments: tuple[str, ...] | None
    forked: bool | None


class _Kept(NamedTuple):
    process: psutil.Process
    identity: Identity


class Processes:
    """Looks at processes, and keeps psutil's object of each for the next run: a new one costs as much as three looks.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._kept_before: dict[int, _Kept] = {}

    def look_at(self, pid: int, *, verify: bool = True) -> Sighting | Absence:
        """Read the words of whichever process has the pid now.

        Without `verify` the process is taken for the one that was kept, which costs a third less.
        """
        kept = self._find(pid)
        sighting = attempt(self._read, kept, verify) if kept else Absence.GONE
        if sighting is Absence.GONE:
            # Unknown so far, or another process has the pid of the one that was kept.
            sighting = attempt(self._read_anew, pid, verify)
        return sighting

    def _find(self, pid: int) -> _Kept | None:
        if pid in self._kept_before:
            self._kept[pid] = self._kept_before.pop(pid)
        return self._kept.get(pid)

    def _read_anew(self, pid: int, verify: bool) -> Sighting:
        process = psutil.Process(pid)
        self._kept[pid] = _Kept(process, Identity(pid, procfs.read_stat(pid).started))
        return self._read(self._kept[pid], verify)

    def _read(self, kept: _Kept, verify: bool) -> Sighting:
        process, identity = kept
        cmdline = tuple(process.cmdline())
        title = parse_title(cmdline)
        sighting = Sighting(
            identity,
            title,
            arguments=None if title else find_arguments(cmdline),
            forked=None if title else procfs.read_stat(process.pid).forked,
        )
        # Last, so that all of the above is known to be of this process. One that exits has no words any more.
        if not cmdline or (verify and not process.is_running()):
            raise psutil.NoSuchProcess(process.pid)
        return sighting

    def cpu_seconds(self, process: Identity) -> float | Absence:
        """Read the CPU time that a process which was looked at has used, without a check that it is still the same."""
        return self._read_more(process, _read_cpu_seconds)

    def measure(self, process: Identity) -> Usage | Absence:
        """Read what a process that was looked at uses."""
        return self._read_more(process, _read_usage)

    def _read_more(self, process: Identity, read: Callable[[psutil.Process], T]) -> T | Absence:
        kept = self._find(process.pid)
        return attempt(read, kept.process) if kept and kept.identity == process else Absence.GONE

    def children_of(self, parent: Identity) -> list[int] | Absence:
        """List the pids of the children of whichever process has the pid now, in no order; zombies are among them."""
        kept = self._find(parent.pid)
        return attempt(lambda: procfs.read_children(kept.process if kept else psutil.Process(parent.pid)))

    def forget_unseen(self) -> None:
        """Drop what is kept of processes that nobody has looked at since the last call."""
        self._kept_before, self._kept = self._kept, {}


def _read_cpu_seconds(process: psutil.Process) -> float:
    cpu = process.cpu_times()
    seconds: float = cpu.user + cpu.system
    return seconds


def _read_usage(process: psutil.Process) -> Usage:
    memory = process.memory_info()
    usage = Usage(_read_cpu_seconds(process), memory.rss, process.num_threads())
    # One that exits, or is a zombie, has no memory; one that was swapped out has no resident memory only.
    if not memory.vms or not process.is_running():
        raise psutil.NoSuchProcess(process.pid)
    return usage


def is_still(process: Identity) -> bool:
    """Whether the process that has the pid now is the one that was meant."""
    stat = attempt(procfs.read_stat, process.pid)
    return isinstance(stat, procfs.Stat) and stat.started == process.create_time


def read_candidate(pid: int) -> Candidate | Absence | None:
    """Read what tells the application of a process that may be a master; None where its words are others."""
    return attempt(_read_candidate, pid)


def _read_candidate(pid: int) -> Candidate | None:
    process = psutil.Process(pid)
    # At most 64 KiB: somebody else's arguments may be megabytes long.
    cmdline = procfs.parse_cmdline(procfs.read_file(procfs.path_of(pid, "cmdline"))) if psutil.LINUX else None
    cmdline = tuple(process.cmdline()) if cmdline is None else cmdline
    title = parse_title(cmdline)
    arguments = None if title else find_arguments(cmdline)
    if title:
        name = title.name if title.role is Role.MASTER else None
    else:
        name = None if arguments is None else parse_arguments(arguments)
    if name is None:
        return None
    stat = procfs.read_stat(pid)
    parent = attempt(procfs.read_stat, stat.parent)
    if not process.is_running():
        raise psutil.NoSuchProcess(pid)
    return Candidate(
        Identity(pid, stat.started),
        name,
        arguments,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=stat.parent == 1 or (isinstance(parent, procfs.Stat) and parent.session != stat.session),
    )


class ProcessTableError(Exception):
    """The process table as a whole cannot be read."""


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
    if psutil.PROCFS_PATH != "/proc" or not isinstance(namespace, os.stat_result) or namespace.st_ino == _HOST_PIDS:
        return False
    first = attempt(procfs.read_file, "/proc/1/comm")
    return isinstance(first, Absence) or not first.startswith(_INITS)


# Enough for an interpreter, its options and the path of a script. Of a stranger no more is read: its command line may
# be megabytes long.
_SIEVE_BYTES = 4096


def _sieve(pids: Iterable[int]) -> Iterator[tuple[int, Literal[True] | Absence]]:
    """Give the processes that may be candidates, and those that did not say; psutil would need ten times as long."""
    if not psutil.LINUX:
        yield from ((pid, True) for pid in pids)
        return
    root = psutil.PROCFS_PATH
    for pid in pids:
        words = attempt(procfs.read_file, f"{root}/{pid}/cmdline", _SIEVE_BYTES)
        if isinstance(words, Absence):
            yield pid, words
        elif b"gunicorn" in words and _may_be_master(procfs.parse_cmdline(words)):
            yield pid, True


def _may_be_master(cmdline: tuple[str, ...]) -> bool:
    """Whether a command line, of which this is the beginning, may be a master's."""
    title = parse_title(cmdline)
    return title.role is Role.MASTER if title else find_arguments(cmdline) is not None
