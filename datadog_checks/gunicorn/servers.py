"""Which application each master belongs to, by name, parentage and what was seen before. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .titles import upgraded


class Identity(NamedTuple):
    """A process for the whole of its life; the kernel gives its pid to others afterwards."""

    pid: int
    create_time: float


class Candidate(NamedTuple):
    """A process that may be a master, as one look found it.

    It is titled as one, or has no title and Gunicorn's arguments. What a hook forks keeps a master's title for ever,
    a fresh worker for some milliseconds, and without titles workers look like their master.
    """

    identity: Identity
    # In the title, else in the arguments.
    name: str
    # None where there is a title.
    argv: tuple[str, ...] | None
    parent: int
    session: int
    group: int
    # It was forked and has not exec'ed since. A master that USR2 started has exec'ed; None where nobody can tell.
    forked: bool | None
    # Its parent is init, or is outside its session: then the parent is a reaper rather than the one that started it.
    reparented: bool

    def is_as(self, other: "Candidate") -> bool:
        """Whether a process has neither changed its words nor exec'ed since it was seen as `other`."""
        return (self.name, self.argv, self.forked) == (other.name, other.argv, other.forked)


class Assignment(NamedTuple):
    """What a candidate was found to be: a master of `application`, or none where that is None."""

    seen: Candidate
    application: str | None


Assignments = Mapping[Identity, Assignment]


def assign_applications(seen: Iterable[Candidate], earlier: Assignments) -> dict[Identity, Assignment]:
    """Tell the application of each candidate in `seen`, which holds every one on the host.

    `earlier` is the answer to the look before. What was told about a process then stands for as long as its title
    does: a master named web.2 stays one of web's after web's own is gone, and an application of its own stays that.
    """
    by_pid = {process.identity.pid: process for process in seen}
    parents = {(process.parent, process.argv) for process in by_pid.values()}
    vanished = [was for identity, was in earlier.items() if _current(by_pid, identity) is None]
    assigned: dict[Identity, Assignment] = {}
    # Parents are older than their children.
    for process in sorted(by_pid.values(), key=lambda process: process.identity.create_time):
        parent = by_pid.get(process.parent)
        assigned[process.identity] = assign_application(
            process,
            parent=parent and assigned.get(parent.identity),
            earlier=earlier.get(process.identity),
            vanished=vanished,
            forks=(process.identity.pid, process.argv) in parents,
        )
    return assigned


def _current(by_pid: Mapping[int, Candidate], identity: Identity) -> Candidate | None:
    process = by_pid.get(identity.pid)
    return process if process and process.identity == identity else None


def assign_application(
    process: Candidate,
    *,
    parent: Assignment | None,
    earlier: Assignment | None,
    vanished: Iterable[Assignment] = (),
    forks: bool = False,
) -> Assignment:
    """Tell the application of one candidate.

    `parent` is its parent's where that is a candidate, `earlier` what was told of the process itself before,
    `vanished` the candidates that have gone since; `forks` says whether it has children of the same words.
    """
    if earlier and process.is_as(earlier.seen) and (earlier.application is not None or process.argv is None):
        return earlier._replace(seen=process)
    if parent:
        return Assignment(process, _application_of_child(process, parent, forks=forks))
    if process.argv is not None and process.forked and not forks:
        # A worker that outlived its master. A master that daemonised has forked last as well, but has workers.
        return Assignment(process, None)
    for old in vanished:
        if old.application is not None and _succeeds(process, old.seen):
            return Assignment(process, old.application)
    return Assignment(process, process.name)


def _application_of_child(process: Candidate, parent: Assignment, *, forks: bool) -> str | None:
    if process.forked:
        return None
    if process.argv is not None and process.argv != parent.seen.argv:
        # A titled master's child by USR2 has no title yet, or never will: then it has workers like itself.
        return process.name if forks or parent.seen.argv is not None else None
    if process.name not in (parent.seen.name, upgraded(parent.seen.name)):
        return process.name
    if process.forked is False or process.name != parent.seen.name or (process.argv is not None and forks):
        # USR2. A HUP takes the ".2" from a new master though its parent is alive (seen with 27.0).
        return parent.application
    # Nobody can tell whether it has exec'ed: a fork is far likelier.
    return None


def _succeeds(process: Candidate, old: Candidate) -> bool:
    """Whether USR2 to `old`, which is gone, can have started `process`."""
    return (
        process.name == upgraded(old.name)
        and not process.forked
        and process.identity.create_time > old.identity.create_time
        and (process.session, process.group) == (old.session, old.group)
        and (process.reparented or process.parent == old.identity.pid)
    )
