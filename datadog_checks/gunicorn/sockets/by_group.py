"""Finding the listeners of servers by their control groups, where their sockets may not be read."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from datadog_checks.gunicorn.host.cgroup_v2 import ControlGroup, read_control_group, read_mount, read_path
from datadog_checks.gunicorn.host.processes import Absence, attempt, is_alive, is_hidden, read_any_process, read_stat
from datadog_checks.gunicorn.host.procfs import has_default_path, read_uids
from datadog_checks.gunicorn.host.values import Identity, Process, Stat
from datadog_checks.gunicorn.servers.roles import Handlers, Sighting, recognize
from datadog_checks.gunicorn.servers.titles import Role

from .addresses import Address
from .listeners import Listeners, read_default_limit
from .namespaces import Namespace, Tables
from .obstacles import Member, Obstacle, Reason, judge_listeners, judge_members, judge_place

# How many processes besides a server's masters and workers are read in a run: each takes 0.2 ms of CPU.
_MANY_MEMBERS = 32


class Grouped(NamedTuple):
    """The listeners that control groups show, and the obstacles where they show none."""

    listeners: Listeners = MappingProxyType({})
    obstacles: tuple[Obstacle, ...] = ()


def read_by_group(
    namespace: Namespace, masters: Collection[Identity], others: Iterable[Identity], workers: Iterable[Identity]
) -> Grouped:
    """Read the listeners of some masters of an application from their control groups, in one network namespace.

    `others` are all masters of the application, `workers` their workers. Nothing is remembered: in the next run, any of
    the conditions may not hold any more.
    """
    listeners = dict[int, Address]()
    obstacles: dict[Obstacle, None] = {}
    groups: dict[ControlGroup, list[Identity]] = {}
    for master in masters:
        group = _read_own_group(master, namespace)
        if isinstance(group, ControlGroup):
            groups.setdefault(group, []).append(master)
        else:
            obstacles |= dict.fromkeys(group)
    known = {process.pid for process in others}, {process.pid for process in workers}
    for group, inside in groups.items():
        found = _read_inside(group, inside, namespace, *known)
        # Otherwise, what was read may be about another server.
        if all(map(is_alive, inside)):
            listeners |= found.listeners
            obstacles |= dict.fromkeys(found.obstacles)
    return Grouped(listeners, tuple(obstacles))


def _read_own_group(master: Identity, namespace: Namespace) -> ControlGroup | list[Obstacle]:
    path = attempt(read_path, master.pid)
    if isinstance(path, Absence):
        return [] if path is Absence.GONE else [Obstacle(Reason.UNREADABLE)]
    obstacles = judge_place(path, own_procfs=has_default_path(), own_network=namespace.own)
    if obstacles or path is None:
        return obstacles
    group = _read_group(path, namespace.tables)
    if isinstance(group, Reason):
        return [Obstacle(group)]
    if 0 in group.pids:
        # A process of a pid namespace that we are not in.
        return [Obstacle(Reason.CONTAINER)]
    return group if master.pid in group.pids else [Obstacle(Reason.UNREADABLE)]


def _read_group(path: str, tables: Tables) -> ControlGroup | Reason:
    if path not in tables.groups:
        mount = _read_mount(tables)
        if mount is None:
            return Reason.CGROUP_V1
        group = attempt(read_control_group, mount, path)
        if isinstance(group, Absence):
            return Reason.UNREADABLE
        tables.groups[path] = group
    return tables.groups[path]


def _read_mount(tables: Tables) -> str | None:
    if not tables.mounts:
        mount = attempt(read_mount)
        tables.mounts.append(None if isinstance(mount, Absence) else mount)
    return tables.mounts[0]


def _read_inside(
    group: ControlGroup,
    inside: Iterable[Identity],
    namespace: Namespace,
    masters: Collection[int],
    workers: Collection[int],
) -> Grouped:
    members = _read_members(group.pids.difference(masters, workers), namespace.tables.members)
    parents = _read_parents(members, masters) if members else {}
    obstacles = list(judge_members(members, masters, parents))
    uids = _read_uids(inside)
    if uids is None:
        return Grouped(obstacles=(*obstacles, Obstacle(Reason.UNREADABLE)))
    listening = namespace.listening_in_run.values()
    obstacles += judge_listeners(group.number, listening, uids, read_default_limit())
    if obstacles:
        return Grouped(obstacles=tuple(obstacles))
    return Grouped({listener.inode: listener.address for listener in listening if listener.group == group.number})


def _read_uids(masters: Iterable[Identity]) -> set[int] | None:
    uids: set[int] = set()
    for master in masters:
        some = attempt(read_uids, master.pid)
        if isinstance(some, Absence) or not some:
            return None
        uids.update(some)
    return uids


def _read_members(pids: Collection[int], known: dict[int, Member | None]) -> dict[int, Member | None]:
    """Read processes of a group, without those that have ended; `known` holds what the run has read."""
    if len(pids) > _MANY_MEMBERS:
        # Too many to read in every run, for instance in a supervisor's group: treat all of them as unreadable.
        return dict.fromkeys(pids)
    members: dict[int, Member | None] = {}
    for pid in pids:
        if pid in known:
            members[pid] = known[pid]
            continue
        process = attempt(read_any_process, pid)
        if process is not Absence.GONE or is_hidden(pid):
            members[pid] = known[pid] = None if isinstance(process, Absence) else _describe(process)
    return members


def _describe(process: Process) -> Member:
    return Member(process.stat.parent, process.stat.forked, _looks_like_master(recognize(process)))


def _looks_like_master(seen: Sighting) -> bool:
    if seen.title:
        return seen.title.role is Role.MASTER
    return seen.arguments is not None and seen.handlers is Handlers.MASTER


def _read_parents(members: Mapping[int, Member | None], masters: Iterable[int]) -> Mapping[int, int]:
    """Read the parents of masters, and of all processes that these and the members descend from."""
    parents = {pid: member.parent if member else 0 for pid, member in members.items()}
    for start in [*parents.values(), *masters]:
        pid = start
        while pid and pid not in parents:
            stat = attempt(read_stat, pid)
            parents[pid] = stat.parent if isinstance(stat, Stat) else 0
            pid = parents[pid]
    return parents
