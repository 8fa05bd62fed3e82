"""Which application each master belongs to, by name, parentage and what was seen before. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from datadog_checks.gunicorn.host.identity import Identity

from .roles import Handlers
from .titles import upgraded


class Candidate(NamedTuple):
    """A process that may be a master, as one look found it.

    It is titled as one, or has no title and Gunicorn's arguments. What a hook forks keeps a master's title for ever,
    a fresh worker for some milliseconds, and without titles workers have their master's arguments.
    """

    identity: Identity
    # From the title, otherwise from the arguments.
    name: str
    # None if it has a title.
    arguments: tuple[str, ...] | None
    parent: int
    session: int
    group: int
    # It was forked and has not exec'ed since. A master that USR2 started has exec'ed; None when unknown.
    forked: bool | None
    # Its parent is init, or is outside its session: then the parent is a reaper rather than the one that started it.
    reparented: bool
    handlers: Handlers = Handlers.UNKNOWN
    # It was asked to fork itself into the background (-D).
    is_daemon: bool = False

    def is_same(self, other: "Candidate") -> bool:
        """Whether a process is still what it was when it was seen as `other`: same title, handlers, and no exec."""
        return (self.name, self.arguments, self.forked, self.handlers) == (
            other.name,
            other.arguments,
            other.forked,
            other.handlers,
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """All candidates of the host.

    `unreadable` counts the processes that could not be read. `hides_others` is true if the process table leaves out
    other users' processes, `of_container` if it is that of a container. `embedded` are the scripts of Python programs
    that catch a master's signals, `mentions` the command lines that run gunicorn and were not recognized; both are
    known only after a look at every process.
    """

    candidates: tuple[Candidate, ...] = ()
    unreadable: int = 0
    hides_others: bool = False
    of_container: bool = False
    embedded: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()


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
        is_unknown = process.handlers is Handlers.UNKNOWN
        has_workers = (process.identity.pid, process.arguments) in forking
        # Where the kernel shows nothing, a master that USR2 started looks like a worker until it has workers.
        has_grown = is_unknown and process.forked is None and process.arguments is not None and has_workers
        assigned[process.identity] = assign_application(
            process,
            parent=parent and assigned.get(parent.identity),
            earlier=None if has_grown and not parent else earlier.get(process.identity),
            vanished=vanished,
            leads=has_workers or (is_unknown and crews[process.session, process.arguments] == 1),
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
    `vanished` the candidates that have gone since. `leads` says of one without a title whether it has children with the
    same arguments or, when the kernel shows no signals, is alone with them in its session.
    """
    if earlier and process.is_same(earlier.seen) and (earlier.application is not None or _was_fork(earlier)):
        return earlier._replace(seen=process)
    if process.arguments is not None and process.handlers not in (Handlers.MASTER, Handlers.UNKNOWN):
        # A worker, also one that has outlived its master, or what a preloaded application forked.
        return Assignment(process, None, child=parent is not None)
    if parent:
        return Assignment(process, _application_of_child(process, parent, leads=leads), child=True)
    if process.arguments is not None and process.forked is not False and not (leads or process.is_daemon):
        # A worker or a hook's fork that has outlived its master. A master that daemonised has forked last as well, but
        # has workers.
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
