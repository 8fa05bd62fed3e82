"""Which application each master belongs to, by name, parentage and what was seen before. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .titles import upgraded


class Identity(NamedTuple):
    """A process for the whole of its life; the kernel gives its pid to others afterwards."""

    pid: int
    create_time: float


class MasterTitle(NamedTuple):
    """A process titled as a master, as one look found it.

    It need not be one: what a hook forks keeps the title for ever, a fresh worker for some milliseconds.
    """

    identity: Identity
    name: str
    parent: int
    session: int
    group: int
    # It was forked and has not exec'ed since. A master that USR2 started has exec'ed; None where nobody can tell.
    forked: bool | None
    # Its parent is init, or is outside its session: then the parent is a reaper rather than the one that started it.
    reparented: bool


class Assignment(NamedTuple):
    """What a process titled as a master was found to be: a master of `application`, or none where that is None."""

    seen: MasterTitle
    application: str | None


Assignments = Mapping[Identity, Assignment]


def assign_applications(seen: Iterable[MasterTitle], earlier: Assignments) -> dict[Identity, Assignment]:
    """Tell the application of each process in `seen`, which holds every process of the host titled as a master.

    `earlier` is the answer to the look before. What was told about a process then stands for as long as its title
    does: a master named web.2 stays one of web's after web's own is gone, and an application of its own stays that.
    """
    by_pid = {process.identity.pid: process for process in seen}
    vanished = [was for identity, was in earlier.items() if _current(by_pid, identity) is None]
    assigned: dict[Identity, Assignment] = {}
    # Parents are older than their children.
    for process in sorted(by_pid.values(), key=lambda process: process.identity.create_time):
        parent = by_pid.get(process.parent)
        assigned[process.identity] = assign_application(
            process, parent and assigned.get(parent.identity), earlier.get(process.identity), vanished
        )
    return assigned


def _current(by_pid: Mapping[int, MasterTitle], identity: Identity) -> MasterTitle | None:
    process = by_pid.get(identity.pid)
    return process if process and process.identity == identity else None


def assign_application(
    process: MasterTitle, parent: Assignment | None, earlier: Assignment | None, vanished: Iterable[Assignment]
) -> Assignment:
    """Tell the application of one process.

    `parent` is its parent's where that is titled as a master, `earlier` what was told of the process itself before,
    `vanished` the masters that have gone since.
    """
    if earlier and earlier.seen.name == process.name:
        return earlier._replace(seen=process)
    if parent:
        return Assignment(process, _application_of_child(process, parent))
    for old in vanished:
        if old.application is not None and _succeeds(process, old.seen):
            return Assignment(process, old.application)
    return Assignment(process, process.name)


def _application_of_child(process: MasterTitle, parent: Assignment) -> str | None:
    if process.forked:
        return None
    if process.name == upgraded(parent.seen.name):
        return parent.application
    if process.name == parent.seen.name:
        # A HUP takes the ".2" from a master that USR2 started, though its parent is alive (seen with 27.0).
        # Where nobody can tell whether it has exec'ed, a fork that kept the title is far likelier.
        return parent.application if process.forked is False else None
    return process.name


def _succeeds(process: MasterTitle, old: MasterTitle) -> bool:
    """Whether USR2 to `old`, which is gone, can have started `process`."""
    return (
        process.name == upgraded(old.name)
        and not process.forked
        and process.identity.create_time > old.identity.create_time
        and (process.session, process.group) == (old.session, old.group)
        and (process.reparented or process.parent == old.identity.pid)
    )
