"""Processes that may be a missing server: found by a look at the host, but not recognized as Gunicorn."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from datadog_checks.gunicorn.host import processes
from datadog_checks.gunicorn.host.cgroups import NO_GROUPS
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.host.values import Stat
from datadog_checks.gunicorn.servers.applications import Candidate, Hint
from datadog_checks.gunicorn.servers.command_line import find_command, find_mention, find_script
from datadog_checks.gunicorn.servers.roles import catches_all_of_master
from datadog_checks.gunicorn.servers.titles import parse_title

# How many ancestors of a master to follow: an init, a supervisor, a shell, a wrapper.
_ANCESTORS = 8


@dataclass(slots=True)
class Hints:
    """The hints of one look by pid, as described in `Scan`."""

    embedded: dict[int, Hint] = field(default_factory=dict)
    mentions: dict[int, Hint] = field(default_factory=dict)

    def record(self, pid: int, beginning: tuple[str, ...]) -> None:
        """Record a process if the beginning of its command line, or what it catches, makes it a hint."""
        if pid == os.getpid() or parse_title(beginning) or find_command(beginning):
            return
        mention = find_mention(beginning)
        if mention:
            self.mentions[pid] = _build_hint(pid, mention)
        elif script := find_script(beginning):
            caught = attempt(processes.read_caught, pid)
            if isinstance(caught, int) and catches_all_of_master(caught):
                self.embedded[pid] = _build_hint(pid, script)

    def drop_ancestors(self, candidates: Iterable[Candidate]) -> None:
        """Drop the ancestors of candidates: shells and wrappers mention gunicorn, too, but are not missing servers."""
        for ancestor in _find_ancestors(candidates) if self.mentions else ():
            self.mentions.pop(ancestor, None)

    def among(self, pids: Collection[int]) -> "Hints":
        """Return the hints about these processes."""
        return Hints(
            {pid: hint for pid, hint in self.embedded.items() if pid in pids},
            {pid: hint for pid, hint in self.mentions.items() if pid in pids},
        )


def _build_hint(pid: int, text: str) -> Hint:
    read = attempt(processes.read_groups, pid)
    return Hint(text, NO_GROUPS if isinstance(read, Absence) else read[1])


def _find_ancestors(candidates: Iterable[Candidate]) -> Iterator[int]:
    for candidate in candidates:
        parent = candidate.parent
        for _ in range(_ANCESTORS):
            yield parent
            stat = attempt(processes.read_stat, parent)
            if not isinstance(stat, Stat) or parent <= 1:
                break
            parent = stat.parent
