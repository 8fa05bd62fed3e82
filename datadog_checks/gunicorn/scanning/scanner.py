"""A look at the host: reads the processes that may have become Gunicorn since the previous look."""

import math
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from datadog_checks.gunicorn.host import processes, procfs
from datadog_checks.gunicorn.host.cgroups import NO_GROUPS
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.host.values import Stat
from datadog_checks.gunicorn.servers.applications import Candidate, Hint
from datadog_checks.gunicorn.servers.command_line import find_command, find_mention, find_script, is_python
from datadog_checks.gunicorn.servers.roles import catches_all_of_master
from datadog_checks.gunicorn.servers.titles import Role, parse_title

from .candidates import read_candidate

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
# A thread that takes longer to read a command line is blocked (a process in uninterruptible sleep).
BLOCKED_SECONDS = 1.0
# How many ancestors of a master to follow: an init, a supervisor, a shell, a wrapper.
_ANCESTORS = 8


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
    but had no process yet.
    """

    full: bool
    clock: float = -math.inf
    now: float = -math.inf
    listed: float = -math.inf
    last_pid: int | None = None
    unborn: set[int] = field(default_factory=set)
    hides_others: bool = False
    strangers: dict[int, _Stranger] = field(default_factory=dict)
    gunicorns: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    candidates: list[Candidate] = field(default_factory=list)
    embedded: dict[int, Hint] = field(default_factory=dict)
    mentions: dict[int, Hint] = field(default_factory=dict)


class Scanner:
    """Takes looks at the host, in several threads at once."""

    def __init__(self) -> None:
        # The pid that each thread is reading, and since when.
        self._reading: dict[int, tuple[int, float]] = {}

    def look(self, before: HostLook, *, full: bool) -> HostLook:
        """Take a look that builds on the previous one. Raises ProcessTableError."""
        look = HostLook(full, procfs.read_clock(), time.monotonic())
        self._look_around(look, before)
        return look

    def _look_around(self, look: HostLook, before: HostLook) -> None:
        newcomers = self._find_newcomers(look, before)
        if newcomers is None:
            listed = processes.list_processes()
            look.listed = look.now
            look.hides_others = processes.hides_others(listed)
            known = {pid: stranger for pid, stranger in before.strangers.items() if _is_same(stranger, listed.get(pid))}
            newcomers = (listed.keys() - known.keys()) | (before.gunicorns & listed.keys())
            # Allocated before the list was made, and not in it: still being forked, or a thread, or gone.
            look.unborn = _find_allocated(before.last_pid, look.last_pid) - listed.keys()
        else:
            listed, known = {}, before.strangers
            look.listed, look.hides_others = before.listed, before.hides_others
            newcomers |= before.gunicorns
        # There may be thousands of processes: those that are not read are only copied and compared.
        due = known if look.full else [pid for pid, stranger in known.items() if stranger.due <= look.now]
        look.strangers = {} if look.full else known.copy()
        look.unreadable = before.unreadable & look.strangers.keys() if before.unreadable else set()
        blocked = {pid for pid, since in list(self._reading.values()) if look.now - since > BLOCKED_SECONDS}
        for pid in newcomers.union(due):
            stranger = look.strangers.pop(pid, None) or known.get(pid)
            look.unreadable.discard(pid)
            if pid in blocked:
                look.strangers[pid] = _Stranger(listed.get(pid, 0), look.clock, look.now)
                look.unreadable.add(pid)
            else:
                # A pid that was allocated again belongs to a new process.
                self._read(pid, look, None if not listed and pid in newcomers else stranger, listed.get(pid, 0))
        # A server that could not be read this time remains one.
        look.gunicorns |= before.gunicorns & look.unreadable
        # Drop the pids from before the previous look: their processes would exist by now.
        look.unborn = {pid for pid in look.unborn if pid > (before.last_pid or 0)}
        if look.full:
            for ancestor in _find_ancestors(look.candidates) if look.mentions else ():
                look.mentions.pop(ancestor, None)
        else:
            # Only a full look finds these.
            look.embedded = {pid: hint for pid, hint in before.embedded.items() if pid in look.strangers}
            look.mentions = {pid: hint for pid, hint in before.mentions.items() if pid in look.strangers}

    def _find_newcomers(self, look: HostLook, before: HostLook) -> set[int] | None:
        """Find the pids that were allocated since the previous look; None if all processes have to be listed instead.

        Pids are allocated in order, and listing 3,000 processes takes ten times as long as the rest of a run.
        """
        last_pid = attempt(processes.read_last_pid)
        look.last_pid = last_pid if isinstance(last_pid, int) else None
        if look.full or look.last_pid is None or before.last_pid is None:
            return None
        allocated = look.last_pid - before.last_pid
        if not 0 <= allocated <= _FEW_PIDS + len(before.strangers) // 8 or look.now - before.listed > _LISTED_SECONDS:
            return None
        return before.unborn | _find_allocated(before.last_pid, look.last_pid)

    def _read(self, pid: int, look: HostLook, before: _Stranger | None, number: int) -> None:
        """Read a process and record what it is."""
        thread = threading.get_ident()
        self._reading[thread] = pid, time.monotonic()
        try:
            beginning = attempt(processes.read_beginning, pid, _BEGINNING_BYTES)
            if isinstance(beginning, tuple) and _may_be_master(beginning):
                candidate = read_candidate(pid)
                if isinstance(candidate, Candidate):
                    look.candidates.append(candidate)
                # A process that seems to be gone may be in the middle of an exec.
                (look.unborn if candidate is Absence.GONE else look.gunicorns).add(pid)
            elif beginning is Absence.GONE:
                if before is None and not number:
                    look.unborn.add(pid)
            else:
                look.strangers[pid] = _build_stranger(pid, look, before, number)
                if isinstance(beginning, Absence):
                    look.unreadable.add(pid)
                elif look.full:
                    _record_hints(pid, beginning, look)
        finally:
            del self._reading[thread]


def _find_allocated(before: int | None, last: int | None) -> set[int]:
    """List the pids that were allocated after `before`, up to `last`; none if there are too many to be worth it."""
    return set(range(before + 1, last + 1)) if before and last and last - before <= _MANY_PIDS else set()


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


# Only command lines with a match are parsed.
_HINTS = re.compile(r"gunicorn|\.pex|\.pyz")


def _may_be_master(beginning: tuple[str, ...]) -> bool:
    """Whether a command line with this beginning may be a master's."""
    if not any(map(_HINTS.search, beginning)):
        return False
    title = parse_title(beginning)
    return title.role is Role.MASTER if title else find_command(beginning) is not None


def _record_hints(pid: int, beginning: tuple[str, ...], look: HostLook) -> None:
    """Record processes that may be a missing server: embedded without a title, or not recognized."""
    if pid == os.getpid() or parse_title(beginning) or find_command(beginning):
        return
    mention = find_mention(beginning)
    if mention:
        look.mentions[pid] = _build_hint(pid, mention)
    elif is_python(beginning):
        caught = attempt(processes.read_caught, pid)
        script = find_script(beginning)
        if script and isinstance(caught, int) and catches_all_of_master(caught):
            look.embedded[pid] = _build_hint(pid, script)


def _build_hint(pid: int, text: str) -> Hint:
    read = attempt(processes.read_groups, pid)
    return Hint(text, NO_GROUPS if isinstance(read, Absence) else read[1])


def _find_ancestors(candidates: Collection[Candidate]) -> Iterator[int]:
    """Find the ancestors of candidates: shells and wrappers mention gunicorn, too, but are not missing servers."""
    for candidate in candidates:
        parent = candidate.parent
        for _ in range(_ANCESTORS):
            yield parent
            stat = attempt(processes.read_stat, parent)
            if not isinstance(stat, Stat) or parent <= 1:
                break
            parent = stat.parent
