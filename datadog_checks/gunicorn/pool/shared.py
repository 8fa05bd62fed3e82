"""What all instances of one Agent process know about the Gunicorn servers of this host."""

import math
import os
import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from datadog_checks.gunicorn.host import processes, procfs
from datadog_checks.gunicorn.host.identity import Identity
from datadog_checks.gunicorn.host.processes import Absence, Process, attempt
from datadog_checks.gunicorn.host.procfs import Stat
from datadog_checks.gunicorn.servers.applications import (
    Assignment,
    Candidate,
    Scan,
    assign_application,
    assign_applications,
)
from datadog_checks.gunicorn.servers.command_line import (
    find_command,
    find_script,
    is_python,
    parse_arguments,
    runs_gunicorn,
)
from datadog_checks.gunicorn.servers.roles import Sighting, catches_all_of_master, recognize
from datadog_checks.gunicorn.servers.titles import Role, parse_title

# Enough for an interpreter, its options and the path of a script. Of a stranger no more is read: its command line may
# be megabytes long.
_BEGINNING_BYTES = 4096
# A process that is younger is asked at every look: a shell execs late. The others are asked again after this time.
_YOUNG_SECONDS = 600.0
# How long the pids that were given out since are enough to know, and how many of them may be at least.
_LISTED_SECONDS = 60.0
_FEW = 64
# Another thread that reads one command line for so long is blocked (a process that cannot be interrupted).
_BLOCKED_SECONDS = 1.0
# An init, a supervisor, a shell and a wrapper stand above a master.
_ANCESTORS = 8


class _Stranger(NamedTuple):
    """A process that is not Gunicorn, and when it is to be asked again (`time.monotonic`).

    `number` tells it from a later process of its pid; it is 0 when unknown.
    """

    number: int
    born: float
    due: float


@dataclass(slots=True)
class _Look:
    """What one look at the host has found so far, and what the next one builds on.

    It began at `clock`, by the clock of processes, which is `now` by time.monotonic. The host's processes were listed
    at `listed`; `last_pid` was given out before the look began. `unborn` are pids that were given out, but had no
    process yet.
    """

    everyone: bool
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
    embedded: list[str] = field(default_factory=list)
    mentions: dict[int, str] = field(default_factory=dict)


class Host:
    """The last look at the host and what it told, shared: instances run in several threads.

    Processes are read outside of the lock: one whose command line cannot be read for a while holds up its reader only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking = 0
        self._last_look = _Look(everyone=False)
        self._last = Scan()
        self._assigned: dict[Identity, Assignment] = {}
        # By thread: the process that it reads, and since when.
        self._reading: dict[int, tuple[int, float]] = {}

    def masters_of(self, application: str, newer_than: float, *, urgent: bool = False) -> list[Candidate]:
        """List an application's masters by a look that began after `newer_than` (`time.monotonic`); they may have gone.

        Looks only if no instance has done so since: many instances cost one look. An `urgent` look asks every process;
        otherwise the last one will do while another thread looks.
        """
        with self._lock:
            is_old = self._last_look.now <= newer_than and (urgent or not self._looking)
        if is_old:
            self.scan(everyone=urgent)
        with self._lock:
            return [was.seen for was in self._assigned.values() if was.application == application]

    def scan(self, *, everyone: bool = True) -> Scan:
        """Look at the processes of the host: at all of them, or only at those that may have become Gunicorn since.

        Raises ProcessTableError.
        """
        with self._lock:
            self._looking += 1
            before = self._last_look
        try:
            look = _Look(everyone, procfs.read_clock(), time.monotonic())
            self._look_around(look, before)
        finally:
            with self._lock:
                self._looking -= 1
        with self._lock:
            if look.now < self._last_look.now:
                # Another thread's look began later and ended earlier.
                return self._last
            self._last_look = look
            self._assigned = assign_applications(look.candidates, self._assigned)
            self._last = Scan(
                candidates=tuple(look.candidates),
                unreadable=len(look.unreadable),
                hides_others=look.hides_others,
                of_container=psutil.LINUX and processes.is_of_container(),
                embedded=tuple(look.embedded),
                mentions=(*look.mentions.values(), *_list_unrecognized(self._assigned.values())),
            )
            return self._last

    def applications(self) -> list[Assignment]:
        """List every master of the host with its application, as the last look and `learn` know them."""
        with self._lock:
            return [was for was in self._assigned.values() if was.application is not None]

    def last_scan(self) -> Scan:
        """Give what the last look found."""
        with self._lock:
            return self._last

    def learn(self, process: Candidate, parent: Identity | None = None) -> str | None:
        """Tell the application of a candidate that was met outside of a look at the host, and remember it.

        `parent` is given for a master's child that is a master itself. Without a title, and on a kernel that shows
        neither flags nor signals, that is known by the workers of its own; a look before it had them proves nothing.
        """
        with self._lock:
            leads = parent is not None and process.arguments is not None
            assignment = assign_application(
                process,
                parent=self._assigned.get(parent) if parent else None,
                earlier=None if leads else self._assigned.get(process.identity),
                leads=leads,
            )
            self._assigned[process.identity] = assignment
            return assignment.application

    def _look_around(self, look: _Look, before: _Look) -> None:
        newcomers = self._find_newcomers(look, before)
        if newcomers is None:
            listed = processes.list_processes()
            look.listed = look.now
            # Process 1 is always there, but for users who may not see it (hidepid=2 in proc(5)).
            look.hides_others = psutil.LINUX and 1 not in listed
            known = {pid: was for pid, was in before.strangers.items() if _is_same(was, listed.get(pid))}
            newcomers = listed.keys() - known.keys()
        else:
            listed, known = {}, before.strangers
            look.listed, look.hides_others = before.listed, before.hides_others
            newcomers |= before.gunicorns
        # There may be thousands: what is not asked is copied and compared, and nothing else.
        asked = newcomers.union(known if look.everyone else [pid for pid, was in known.items() if was.due <= look.now])
        look.strangers = {} if look.everyone else known.copy()
        look.unreadable = before.unreadable & look.strangers.keys() if before.unreadable else set()
        blocked = {pid for pid, since in list(self._reading.values()) if look.now - since > _BLOCKED_SECONDS}
        for pid in asked:
            was = look.strangers.pop(pid, None) or known.get(pid)
            look.unreadable.discard(pid)
            if pid in blocked:
                look.strangers[pid] = _Stranger(listed.get(pid, 0), look.clock, look.now)
                look.unreadable.add(pid)
            else:
                self._ask(pid, look, was, listed.get(pid, 0))
        # The others have had their time.
        look.unborn = {pid for pid in look.unborn if pid > (before.last_pid or 0)}
        for relative in _find_relatives(look.candidates) if look.mentions else ():
            look.mentions.pop(relative, None)

    def _find_newcomers(self, look: _Look, before: _Look) -> set[int] | None:
        """Find the pids that were given out since the look before; None when the processes have to be listed instead.

        Listing 3,000 processes takes the kernel ten times as long as a run takes; pids are given out in order.
        """
        last_pid = attempt(procfs.read_last_pid) if psutil.LINUX else None
        look.last_pid = last_pid if isinstance(last_pid, int) else None
        if look.everyone or look.last_pid is None or before.last_pid is None:
            return None
        given_out = look.last_pid - before.last_pid
        if not 0 <= given_out <= _FEW + len(before.strangers) // 8 or look.now - before.listed > _LISTED_SECONDS:
            return None
        return before.unborn.union(range(before.last_pid + 1, look.last_pid + 1))

    def _ask(self, pid: int, look: _Look, before: _Stranger | None, number: int) -> None:
        """Ask a process what it is, and note the answer."""
        thread = threading.get_ident()
        self._reading[thread] = pid, time.monotonic()
        try:
            beginning = attempt(_read_beginning, pid)
            if isinstance(beginning, tuple) and _may_be_master(beginning):
                candidate = read_candidate(pid)
                if isinstance(candidate, Candidate):
                    look.candidates.append(candidate)
                if candidate is not Absence.GONE:
                    look.gunicorns.add(pid)
            elif beginning is Absence.GONE:
                if before is None and not number:
                    look.unborn.add(pid)
            else:
                look.strangers[pid] = _build_stranger(pid, look, before, number)
                if isinstance(beginning, Absence):
                    look.unreadable.add(pid)
                elif look.everyone:
                    _note_hints(pid, beginning, look)
        finally:
            del self._reading[thread]


def _is_same(stranger: _Stranger, number: int | None) -> bool:
    """Whether a listed process is still the stranger that had its pid; not when the system does not number them."""
    return bool(number) and stranger.number in (number, 0)


def _build_stranger(pid: int, look: _Look, before: _Stranger | None, number: int) -> _Stranger:
    if before:
        born, asked = before.born, look.now
        number = number or before.number
    else:
        stat = attempt(processes.read_stat, pid) if psutil.LINUX else Absence.UNREADABLE
        born = stat.started if isinstance(stat, Stat) else look.clock
        # Spread over time, or all that were there at the first look would be asked again at once.
        asked = look.now - pid % _YOUNG_SECONDS
    is_young = look.clock - born < _YOUNG_SECONDS
    return _Stranger(number, born, look.now if is_young else asked + _YOUNG_SECONDS)


def _read_beginning(pid: int) -> tuple[str, ...]:
    if psutil.LINUX:
        return procfs.read_cmdline(pid, _BEGINNING_BYTES)
    return tuple(psutil.Process(pid).cmdline())


# Only a command line that has one of these words is parsed.
_HINTS = re.compile(r"gunicorn|\.pex|\.pyz")


def _may_be_master(beginning: tuple[str, ...]) -> bool:
    """Whether a command line, of which this is the beginning, may be a master's."""
    if not any(map(_HINTS.search, beginning)):
        return False
    title = parse_title(beginning)
    return title.role is Role.MASTER if title else find_command(beginning) is not None


def _note_hints(pid: int, beginning: tuple[str, ...], look: _Look) -> None:
    """Note what a missing server may be: an embedded one without a title, or one that is not recognized."""
    if pid == os.getpid() or parse_title(beginning) or find_command(beginning):
        return
    if runs_gunicorn(beginning):
        look.mentions[pid] = " ".join(beginning)
    elif is_python(beginning):
        caught = attempt(procfs.read_caught, pid) if psutil.LINUX else None
        script = find_script(beginning)
        if script and isinstance(caught, int) and catches_all_of_master(caught):
            look.embedded.append(script)


def _list_unrecognized(assigned: Iterable[Assignment]) -> Iterator[str]:
    """List what has Gunicorn's arguments and is nobody's worker: it may be starting, or be something else."""
    for process, application, is_child in assigned:
        if application is None and process.arguments is not None and not is_child:
            yield " ".join(("gunicorn", *process.arguments))


def _find_relatives(candidates: Collection[Candidate]) -> Iterator[int]:
    """Find the ancestors of candidates: a shell or a wrapper has the same words."""
    for candidate in candidates:
        parent = candidate.parent
        for _ in range(_ANCESTORS):
            yield parent
            stat = attempt(processes.read_stat, parent)
            if not isinstance(stat, Stat) or parent <= 1:
                break
            parent = stat.parent


def read_candidate(pid: int) -> Candidate | Absence | None:
    """Read what tells the application of a process that may be a master; None if it cannot be one."""
    process = attempt(processes.read_process, pid)
    return process if isinstance(process, Absence) else build_candidate(recognize(process))


def build_candidate(seen: Sighting) -> Candidate | None:
    """Build a candidate from a process that has a master's title or Gunicorn's arguments; None from any other."""
    process, title, arguments, handlers = seen
    told = None if arguments is None else parse_arguments(arguments)
    if title:
        name = title.name if title.role is Role.MASTER else None
    elif told and told.paste:
        name = _resolve(told.paste, process)
    else:
        name = told and told.name
    if name is None:
        return None
    stat = process.stat
    parent = attempt(processes.read_stat, stat.parent)
    return Candidate(
        process.identity,
        name,
        arguments,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=stat.parent == 1 or (isinstance(parent, Stat) and parent.session != stat.session),
        handlers=handlers,
        is_daemon=told is not None and told.is_daemon,
    )


def _resolve(path: str, process: Process) -> str:
    """Make a path absolute as Gunicorn does with --paste; it stays relative if the server's folder may not be read."""
    folder = "" if os.path.isabs(path) else attempt(_read_folder, process.identity.pid)
    return path if isinstance(folder, Absence) else os.path.normpath(os.path.join(folder, path))


def _read_folder(pid: int) -> str:
    return str(psutil.Process(pid).cwd())


# The Agent makes one check object of every instance, all in one interpreter.
HOST = Host()
