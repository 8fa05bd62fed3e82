"""Which application each master belongs to, by name, parentage and what was seen before. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .titles import upgraded


class Identity(NamedTuple):
    """A process for the whole of its life; the kernel gives its pid to others afterwards.

    `create_time` is in seconds by the clock of `procfs.read_clock`.
    """

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
    arguments: tuple[str, ...] | None
    parent: int
    session: int
    group: int
    # It was forked and has not exec'ed since. A master that USR2 started has exec'ed; None where nobody can tell.
    forked: bool | None
    # Its parent is init, or is outside its session: then the parent is a reaper rather than the one that started it.
    reparented: bool

    def is_as(self, other: "Candidate") -> bool:
        """Whether a process has neither changed its words nor exec'ed since it was seen as `other`."""
        return (self.name, self.arguments, self.forked) == (other.name, other.arguments, other.forked)


@dataclass(frozen=True, slots=True)
class Scan:
    """All candidates of the host.

    `unreadable` counts the processes that did not say what they are. `hides_others` is true where the process table
    leaves out other users' processes, `of_container` where it is that of a container.
    """

    candidates: tuple[Candidate, ...] = ()
    unreadable: int = 0
    hides_others: bool = False
    of_container: bool = False


class Assignment(NamedTuple):
    """What a candidate was found to be: a master of `application`, or none where that is None.

    `child` says whether its parent was a candidate then.
    """

    seen: Candidate
    application: str | None
    child: bool = False


Assignments = Mapping[Identity, Assignment]


def assign_applications(seen: Iterable[Candidate], earlier: Assignments) -> dict[Identity, Assignment]:
    """Tell the application of each candidate in `seen`, which holds every one on the host.

    `earlier` is the answer to the look before. What was told about a process then stands for as long as its title
    does: a master named web.2 stays one of web's after web's own is gone, and an application of its own stays that.
    """
    by_pid = {process.identity.pid: process for process in seen}
    forking = {(process.parent, process.arguments) for process in by_pid.values()}
    crews = Counter((process.session, process.arguments) for process in by_pid.values())
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
            leads=(process.identity.pid, process.arguments) in forking
            or crews[process.session, process.arguments] == 1,
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
    leads: bool = False,
) -> Assignment:
    """Tell the application of one candidate.

    `parent` is its parent's where that is a candidate, `earlier` what was told of the process itself before,
    `vanished` the candidates that have gone since. `leads` says of one without a title whether it has children of the
    same words, or is alone with them.
    """
    if earlier and process.is_as(earlier.seen) and (earlier.application is not None or _was_fork(earlier)):
        return earlier._replace(seen=process)
    if parent:
        return Assignment(process, _application_of_child(process, parent, leads=leads), child=True)
    if process.arguments is not None and process.forked and not leads:
        # A worker that outlived its master. A master that daemonised has forked last as well, but has workers.
        return Assignment(process, None)
    for old in vanished:
        if old.application is not None and _succeeds(process, old.seen):
            return Assignment(process, old.application)
    return Assignment(process, process.name)


def _was_fork(earlier: Assignment) -> bool:
    return earlier.child and earlier.seen.forked is not False


def _application_of_child(process: Candidate, parent: Assignment, *, leads: bool) -> str | None:
    if process.arguments is not None and (process.forked or parent.seen.arguments is None):
        # A worker, what a titled master forked before it had its title, or its successor by USR2 that has none yet.
        return None
    if process.name not in (parent.seen.name, upgraded(parent.seen.name)):
        return process.name
    if process.forked:
        # It kept the title of its parent, who may have lost a ".2" since.
        return None
    if process.forked is False or process.name != parent.seen.name or (process.arguments is not None and leads):
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
