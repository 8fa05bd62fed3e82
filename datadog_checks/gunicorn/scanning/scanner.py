"""A look at the host: reads the processes that may have become Gunicorn since the previous look."""

import math
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from datadog_checks.gunicorn.host import processes, procfs
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.command_line import find_command
from datadog_checks.gunicorn.servers.titles import Role, parse_title

from .candidates import look_for_workers, read_candidate
from .hints import Hints

# Enough for an interpreter, its options and the path of a script. Command lines may be megabytes long.
_BEGINNING_BYTES = 4096
# Younger processes are read again at every look, because a shell may exec late; older ones after this interval.
_YOUNG_SECONDS = 600.0
# List all processes again after this time, or when more pids than this and an eighth of the known processes have been
# allocated since the last look.
_LISTED_SECONDS = 60.0
_FEW_PIDS = 64
# More newly allocated pids than this are not tried one by one.
_MANY_PIDS = 4096
# A look that takes longer is blocked.
BLOCKED_SECONDS = 1.0
# How long a look waits for other threads to finish reading a process, once it has read all others. A command line takes
# 0.02 ms, but for ever if the process is in uninterruptible sleep.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 0.05, 0.002
# A pid without a process is read again for this time: it may belong to a fork, or be in the middle of an exec.
_UNBORN_SECONDS = 1.0
# Only command lines with a match are parsed.
_CLUE = re.compile(r"gunicorn|pex|\.pyz")


class _Stranger(NamedTuple):
    """A process that is not Gunicorn, and when to read it again (`due`, by `time.monotonic`).

    `number` changes when the pid is reused; it is 0 if unknown.
    """

    number: int
    born: float
    due: float


@dataclass(slots=True)
class HostLook:
    """The results of one look at the host, which the next look builds on. A `full` look reads every process.

    It began at `clock` (`procfs.read_clock`), which is `now` by `time.monotonic`; all processes were last listed at
    `listed`. `last_pid` is the most recently allocated pid when the look began. `unborn` are pids that were allocated
    but had no process yet, and when that was first seen.
    """

    full: bool
    clock: float = -math.inf
    now: float = -math.inf
    listed: float = -math.inf
    last_pid: int | None = None
    unborn: dict[int, float] = field(default_factory=dict)
    hides_others: bool = False
    strangers: dict[int, _Stranger] = field(default_factory=dict)
    gunicorns: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    candidates: list[Candidate] = field(default_factory=list)
    hints: Hints = field(default_factory=Hints)

    def add(self, later: "HostLook") -> None:
        """Add the candidates of a later look that did not read every process."""
        known = {candidate.identity for candidate in self.candidates}
        self.candidates += [candidate for candidate in later.candidates if candidate.identity not in known]
        self.gunicorns |= later.gunicorns


class Scanner:
    """Takes looks at the host, in several threads at once."""

    def __init__(self) -> None:
        # The thread that is reading each pid.
        self._readers: dict[int, int] = {}

    def look(self, before: HostLook, *, full: bool) -> HostLook:
        """Take a look that builds on the previous one. Raises ProcessTableError."""
        look = HostLook(full, procfs.read_clock(), time.monotonic())
        last_pid = attempt(processes.read_last_pid)
        look.last_pid = last_pid if isinstance(last_pid, int) else None
        numbers = processes.list_processes() if _must_list(look, before) else None
        newcomers = _follow(look, before) if numbers is None else _compare(look, before, numbers)
        look.unreadable = before.unreadable & look.strangers.keys()
        # There may be thousands of processes: those that are not read are only copied and compared.
        due = [pid for pid, stranger in look.strangers.items() if full or stranger.due <= look.now]
        self._read_all(newcomers.union(due), look, numbers or {})
        _carry_over(look, before)
        return look

    def _read_all(self, pids: Iterable[int], look: HostLook, numbers: Mapping[int, int]) -> None:
        """Read processes; one whose command line blocks another thread is left for the next look."""
        busy = [pid for pid in pids if not self._read(pid, look, numbers)]
        # What was blocked at the previous look is not worth waiting for.
        end = time.perf_counter() + (0.0 if look.unreadable.issuperset(busy) else _PATIENCE_SECONDS)
        while (busy := [pid for pid in busy if not self._read(pid, look, numbers)]) and time.perf_counter() < end:
            time.sleep(_PAUSE_SECONDS)
        for pid in busy:
            look.strangers[pid] = _Stranger(numbers.get(pid, 0), look.clock, look.now)
            look.unreadable.add(pid)

    def _read(self, pid: int, look: HostLook, numbers: Mapping[int, int]) -> bool:
        """Read a process and record what it is, unless another thread is reading it. Returns whether it was read."""
        if self._readers.setdefault(pid, thread := threading.get_ident()) != thread:
            return False
        try:
            look.unreadable.discard(pid)
            _record(pid, look, look.strangers.pop(pid, None), numbers.get(pid, 0))
        finally:
            del self._readers[pid]
        return True


def _record(pid: int, look: HostLook, before: _Stranger | None, number: int) -> None:
    """Read a process and record what it is."""
    beginning = attempt(processes.read_beginning, pid, _BEGINNING_BYTES)
    if isinstance(beginning, tuple) and _may_be_master(beginning):
        candidate = read_candidate(pid)
        if isinstance(candidate, Candidate):
            look.candidates.append(look_for_workers(candidate))
        if candidate is Absence.GONE:
            # It may be in the middle of an exec.
            look.unborn[pid] = look.now
        else:
            look.gunicorns.add(pid)
    elif beginning is Absence.GONE:
        if before is None and not number:
            look.unborn[pid] = look.now
    else:
        look.strangers[pid] = _build_stranger(pid, look, before, number)
        if isinstance(beginning, Absence):
            look.unreadable.add(pid)
        elif look.full:
            look.hints.record(pid, beginning)


def _must_list(look: HostLook, before: HostLook) -> bool:
    """Whether to list all processes, because those that are new since the previous look are unknown or too many.

    Pids are allocated in order, and listing 3,000 processes takes ten times as long as the rest of a run.
    """
    if look.full or look.last_pid is None or before.last_pid is None:
        return True
    few = _FEW_PIDS + len(before.strangers) // 8
    return not 0 <= look.last_pid - before.last_pid <= few or look.now - before.listed > _LISTED_SECONDS


def _compare(look: HostLook, before: HostLook, listed: Mapping[int, int]) -> set[int]:
    """Keep the strangers that are in a new list of all processes, and return the pids of all others to read."""
    look.listed, look.hides_others = look.now, processes.hides_others(listed)
    look.strangers = {pid: known for pid, known in before.strangers.items() if _is_same(known, listed.get(pid))}
    # Allocated before the list was made, and not in it: still being forked, or a thread, or gone.
    look.unborn = dict.fromkeys(_find_allocated(before.last_pid, look.last_pid) - listed.keys(), look.now)
    return (listed.keys() - look.strangers.keys()) | (before.gunicorns & listed.keys())


def _follow(look: HostLook, before: HostLook) -> set[int]:
    """Keep all strangers, and return the pids that were allocated since the previous look, and those of Gunicorn."""
    look.listed, look.hides_others = before.listed, before.hides_others
    look.strangers = before.strangers.copy()
    newcomers = before.unborn.keys() | _find_allocated(before.last_pid, look.last_pid) | before.gunicorns
    # A pid that was allocated again belongs to a new process.
    for pid in newcomers:
        look.strangers.pop(pid, None)
    return newcomers


def _find_allocated(before: int | None, last: int | None) -> set[int]:
    """List the pids that were allocated after `before`, up to `last`; none if there are too many to be worth it."""
    return set(range(before + 1, last + 1)) if before and last and last - before <= _MANY_PIDS else set()


def _carry_over(look: HostLook, before: HostLook) -> None:
    """Keep what the previous look found and this one could not."""
    # A server that could not be read this time remains one.
    look.gunicorns |= before.gunicorns & look.unreadable
    # The processes of others would exist by now.
    unborn = {pid: before.unborn.get(pid, since) for pid, since in look.unborn.items()}
    look.unborn = {pid: since for pid, since in unborn.items() if look.now - since <= _UNBORN_SECONDS}
    if look.full:
        look.hints.drop_ancestors(look.candidates)
    else:
        # Only a full look finds these.
        look.hints = before.hints.among(look.strangers)


def _is_same(stranger: _Stranger, number: int | None) -> bool:
    """Whether a pid still belongs to the same stranger; false if the system has no such numbers."""
    return bool(number) and stranger.number in (number, 0)


def _build_stranger(pid: int, look: HostLook, before: _Stranger | None, number: int) -> _Stranger:
    if before:
        born, number = before.born, number or before.number
    else:
        started = attempt(processes.read_started, pid)
        born = started if isinstance(started, float) else look.clock
    if look.clock - born < _YOUNG_SECONDS:
        return _Stranger(number, born, look.now)
    # Spread over time: otherwise, all processes of one look would be due at once.
    early = 0.0 if before and not look.full else pid % _YOUNG_SECONDS
    return _Stranger(number, born, look.now + _YOUNG_SECONDS - early)


def _may_be_master(beginning: tuple[str, ...]) -> bool:
    """Whether a command line with this beginning may be a master's."""
    if not any(map(_CLUE.search, beginning)):
        return False
    title = parse_title(beginning)
    return title.role is Role.MASTER if title else find_command(beginning) is not None
