"""Which application each master belongs to, by its name, its parent and earlier scans. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from datadog_checks.gunicorn.host.cgroups import NO_GROUPS, Groups
from datadog_checks.gunicorn.host.values import Identity

from .roles import Handlers
from .titles import upgraded


class Candidate(NamedTuple):
    """A process that may be a master, as one look found it.

    It has a master's title, or no title and Gunicorn's arguments. Other processes may have them, too: one forked by a
    hook keeps the master's title, a new worker keeps it for some milliseconds, and workers without titles have their
    master's arguments.
    """

    identity: Identity
    # From the title, otherwise from the arguments.
    name: str
    # None if it has a title.
    arguments: tuple[str, ...] | None
    parent: int
    session: int
    group: int
    # True if it has not exec'ed since its fork; None if unknown. A master started by USR2 has exec'ed.
    forked: bool | None
    # Its parent is init, or is outside its session: a reaper rather than the process that started it. False for a name
    # that is not one of an upgrade.
    reparented: bool
    handlers: Handlers = Handlers.UNKNOWN
    # Started with -D.
    is_daemon: bool = False
    # It has workers; they are looked for only if it has a title and has not exec'ed since its fork.
    leads: bool = False
    groups: Groups = NO_GROUPS

    def is_same(self, other: "Candidate") -> bool:
        """Whether nothing changed since the process was seen as `other`: same title, same handlers, no exec."""
        return (self.name, self.arguments, self.forked, self.handlers) == (
            other.name,
            other.arguments,
            other.forked,
            other.handlers,
        )


class Hint(NamedTuple):
    """A process that may be a server, as `text`, and where it runs."""

    text: str
    groups: Groups = NO_GROUPS


@dataclass(frozen=True, slots=True)
class Scan:
    """All candidates of the host.

    `unreadable` counts the processes that could not be read. `hides_others` is true if the processes of other users are
    hidden, `of_container` if only those of a container are visible, `has_own_groups` if control groups are relative to
    those of a container. `embedded` lists the scripts of Python programs that catch a master's signals, `mentions` the
    command lines that mention gunicorn but were not recognized; both are complete only if every process was read.
    """

    candidates: tuple[Candidate, ...] = ()
    unreadable: int = 0
    hides_others: bool = False
    of_container: bool = False
    has_own_groups: bool = False
    embedded: tuple[Hint, ...] = ()
    mentions: tuple[Hint, ...] = ()


class Assignment(NamedTuple):
    """The decision about a candidate: it is a master of `application`, or not a master if that is None.

    `child` is true if its parent was a candidate, too.
    """

    candidate: Candidate
    application: str | None
    child: bool = False


Assignments = Mapping[Identity, Assignment]


def assign_applications(candidates: Iterable[Candidate], earlier: Assignments) -> dict[Identity, Assignment]:
    """Assign an application to each candidate; `candidates` are all those of the host.

    `earlier` holds the previous assignments, which stand while the title of the process stays the same: a new master
    web.2 stays in the application web after the old master exits, and an application web.2 of its own stays one.
    """
    by_pid = {process.identity.pid: process for process in candidates}
    forking = {(process.parent, process.arguments) for process in by_pid.values()}
    crews = Counter((process.session, process.arguments) for process in by_pid.values())
    vanished = [assignment for identity, assignment in earlier.items() if _current(by_pid, identity) is None]
    assigned: dict[Identity, Assignment] = {}
    # By age, because parents are older than their children.
    for process in sorted(by_pid.values(), key=lambda process: process.identity.create_time):
        parent = by_pid.get(process.parent)
        is_unknown, is_untitled = process.handlers is Handlers.UNKNOWN, process.arguments is not None
        has_workers = (process.identity.pid, process.arguments) in forking
        # Where the kernel shows nothing, a master that USR2 started looks like a worker until it has workers.
        has_grown = is_unknown and process.forked is None and is_untitled and has_workers
        is_alone = is_unknown and is_untitled and crews[process.session, process.arguments] == 1
        assigned[process.identity] = assign_application(
            process,
            parent=parent and assigned.get(parent.identity),
            earlier=None if has_grown and not parent else earlier.get(process.identity),
            vanished=vanished,
            leads=process.leads or has_workers or is_alone,
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
    """Assign an application to one candidate.

    `parent` is the assignment of its parent, if that is a candidate; `earlier` is its own previous assignment;
    `vanished` holds those of candidates that have exited since. `leads` is true for a process that has workers: without
    a title, children with the same arguments. If the kernel shows no signals, it is also true for the only process with
    its arguments in its session.
    """
    was_master = earlier is not None and earlier.application is not None
    if earlier and process.is_same(earlier.candidate) and (was_master or _was_fork(earlier)):
        return earlier._replace(candidate=process)
    if _is_surely_no_master(process):
        return Assignment(process, None, child=parent is not None)
    if parent:
        return Assignment(process, _find_application_of_child(process, parent, leads=leads), child=True)
    if _may_be_orphan(process) and not (leads or was_master):
        return Assignment(process, None)
    for old in vanished:
        if old.application is not None and _is_successor(process, old.candidate):
            return Assignment(process, old.application)
    return Assignment(process, process.name)


def _is_surely_no_master(process: Candidate) -> bool:
    """Whether it is a worker, which its application may have titled, or a helper of a preloaded application."""
    if process.arguments is None:
        return bool(process.forked) and process.handlers is Handlers.WORKER
    return process.handlers not in (Handlers.MASTER, Handlers.UNKNOWN)


def _may_be_orphan(process: Candidate) -> bool:
    """Whether it may be a worker, or a process forked by a hook, whose master has exited.

    A daemon has not exec'ed since its fork either, but has workers, or says so in its arguments.
    """
    if process.arguments is None:
        return bool(process.forked)
    return process.forked is not False and not process.is_daemon


def _was_fork(earlier: Assignment) -> bool:
    return earlier.child and earlier.candidate.forked is not False


def _find_application_of_child(process: Candidate, parent: Assignment, *, leads: bool) -> str | None:
    if process.arguments is not None and (process.forked or parent.candidate.arguments is None):
        # A worker; or a process forked before its master set its title; or a new master by USR2 without a title yet.
        return None
    if process.name not in (parent.candidate.name, upgraded(parent.candidate.name)):
        return process.name
    if process.forked:
        # It has inherited the title of its parent, which may have dropped ".2" since.
        return None
    if process.forked is False or process.name != parent.candidate.name or (process.arguments is not None and leads):
        # USR2. On HUP a new master drops the ".2" even if its parent is alive (seen with 27.0).
        return parent.application
    # It is unknown whether it has exec'ed: a fork is far more likely.
    return None


def _is_successor(process: Candidate, old: Candidate) -> bool:
    """Whether `process` may have been started by USR2 to `old`, which has exited."""
    return (
        process.name == upgraded(old.name)
        and not process.forked
        and process.identity.create_time > old.identity.create_time
        # Sessions and groups of other pid namespaces may be unknown, and are then equal.
        and (process.session, process.group) == (old.session, old.group)
        and process.groups.containers == old.groups.containers
        and (process.reparented or process.parent == old.identity.pid)
    )
