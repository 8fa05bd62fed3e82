"""What prevents an instance from collecting its metrics, and how to fix it."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from .host.cgroups import Groups, shorten_id
from .host.processes import ProcessTableError
from .pool.fleet import ContainerError, Fleet
from .pool.version import VersionError, read_version
from .pool.watched import Key
from .servers.applications import Assignment, Scan
from .servers.command_line import parse_arguments
from .servers.selection import Selection
from .settings import Settings
from .sockets.addresses import Address
from .sockets.connections import Connections
from .sockets.control_group import Obstacle, Reason
from .text import quote

# A host can have many servers; show those with the most similar names.
NAMES_SHOWN = 5


class Diagnosis(NamedTuple):
    """One line of `agent diagnose`. `result` is the method of the base package's `Diagnosis` that reports it."""

    name: str
    result: Literal["success", "warning", "fail"]
    seen: str
    remedy: str | None = None


class Finding(NamedTuple):
    """An observation, with a short name, and how to fix the problem."""

    name: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.seen} {self.remedy}"


def diagnose_configuration(error: Exception) -> Diagnosis:
    """Report that an instance's configuration is invalid."""
    return Diagnosis("configuration", "fail", str(error), "Correct the option in conf.yaml and restart the Agent.")


def diagnose(fleet: Fleet, settings: Settings, *, with_version: bool) -> Iterator[Diagnosis]:
    """Try each step of a run and report the results."""
    try:
        fleet.find()
    except ProcessTableError as error:
        yield Diagnosis("process table", "fail", f"{error}.", "Correct `procfs_path` in datadog.yaml.")
        return
    except ContainerError as error:
        yield Diagnosis("container", "fail", f"{error}.", "Set `container` to the whole id of the container.")
        return
    yield from _diagnose_masters(fleet)
    if fleet.alive:
        yield Diagnosis("cpu", "success", f"Workers are classified as working or idle by {fleet.cpu_source}.")
        for finding in explain_presence(fleet):
            yield Diagnosis(finding.name, "warning", finding.seen, finding.remedy)
        for warning in explain_limits(fleet):
            yield Diagnosis("limits", "warning", warning)
        if settings.collect_connections:
            yield from _diagnose_connections(fleet)
    if with_version and _asks_version(fleet, settings):
        yield _diagnose_version(settings.command)


def _asks_version(fleet: Fleet, settings: Settings) -> bool:
    """Whether a run asks a program for the version, or would if a server was running."""
    if fleet.selection.discovery:
        return False
    if settings.command_given:
        return True
    # A program on the host may have another version than a server in a container.
    return bool(fleet.find_oldest(in_containers=False)[1]) if fleet.alive else not fleet.selection.container


def _diagnose_masters(fleet: Fleet) -> Iterator[Diagnosis]:
    for key, server in fleet.alive.items():
        pids = ", ".join(str(master.pid) for master in sorted(server.masters, key=lambda master: master.create_time))
        where = f" in container {shorten_id(key.container)}" if key.container else ""
        yield Diagnosis("master", "success", f"Found the master process of {quote(key.name)}{where}: {pids}.")
    if fleet.alive:
        return
    if fleet.selection.discovery:
        yield Diagnosis("master", "success", "No Gunicorn server that `discovery` selects is running.")
        findings: Iterable[Finding] = explain_hidden(fleet.host.last_scan())
    else:
        yield Diagnosis("master", "fail", fleet.selection.absence)
        findings = explain_absence(fleet.selection, fleet.host.last_scan(), fleet.host.applications())
    for finding in findings:
        yield Diagnosis(finding.name, "fail", finding.seen, finding.remedy)


def _diagnose_connections(fleet: Fleet) -> Iterator[Diagnosis]:
    found: dict[str, dict[Address, str]] = {}
    for key, server in fleet.alive.items():
        if server.connections:
            counts = server.connections.look(server.masters, server.look().workers)
            if not counts:
                finding = explain_unknown_connections(fleet, key, server.connections)
                yield Diagnosis(finding.name, "warning", finding.seen, finding.remedy)
            found.setdefault(key.name, {}).update(server.connections.found_by)
    for name, addresses in found.items():
        if addresses:
            listeners = ", ".join(f"{quote(str(address))} ({way})" for address, way in addresses.items())
            whose = f" of {quote(name)}" if len(found) > 1 else ""
            seen = f"Connections{whose} are counted for these listeners: {listeners}."
            yield Diagnosis("connections", "success", seen)


def _diagnose_version(command: Sequence[str]) -> Diagnosis:
    try:
        version = read_version(command)
    except VersionError as error:
        remedy = "Set `gunicorn` to the full path of the server's program."
        return Diagnosis("version", "warning", f"No version metadata: {error}.", remedy)
    return Diagnosis("version", "success", f"Gunicorn's version is {version}.")


def explain_limits(fleet: Fleet) -> Iterator[str]:
    """Warn of applications that `discovery` leaves out, and of a `bind` that has no effect."""
    discovery = fleet.selection.discovery
    if discovery and fleet.left_out:
        yield (
            f"Applications left out by `discovery`: {fleet.left_out}, beyond its limit of {discovery.limit}. "
            "Raise its `limit`, or select fewer with `include` and `exclude`."
        )
    if fleet.has_unclear_bind:
        yield (
            "`bind` has no effect because the container has several applications. Give each an instance of its own, "
            "with `proc_name`."
        )


def explain_absence(selection: Selection, scan: Scan, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Report which Gunicorn processes a scan found where a server is missing: on the host or in the container."""
    container = selection.container
    where = f"in container {container.given}" if container else "on this host"

    def is_there(groups: Groups) -> bool:
        return container is None or container.has(groups)

    proc_name = selection.proc_name or ""
    others = [master for master in masters if master.application != proc_name and is_there(master.candidate.groups)]
    nameless = {str(master.application) for master in others if _is_nameless(master)}
    named = {str(master.application) for master in others if not _is_nameless(master)}
    if nameless:
        # The name may come from a configuration file. Servers with an explicit name are listed below.
        nearest = _find_nearest(proc_name, nameless)
        yield Finding(
            "setproctitle",
            f"Gunicorn runs {where} without a process title, as {_format_names(nearest, nameless)}.",
            f"Install setproctitle for it and restart it, or set `proc_name` to {quote(nearest[0])}.",
        )
    if named:
        nearest = _find_nearest(proc_name, named)
        yield Finding(
            "other names",
            f"Gunicorn runs {where} under {_format_names(nearest, named)}.",
            f"If {quote(nearest[0])} was meant, set `proc_name` to it.",
        )
    embedded = [hint.text for hint in scan.embedded if is_there(hint.groups)]
    if embedded:
        yield Finding(
            "embedded",
            f"Python programs run Gunicorn without a process title: {_format_list(embedded)}.",
            "Install setproctitle for them and restart them: without a title, their name is unknown.",
        )
    mentions = [hint.text for hint in scan.mentions if is_there(hint.groups)]
    if mentions:
        yield Finding(
            "not recognized",
            f"Processes mention gunicorn but were not recognized as servers: {_format_list(mentions)}.",
            "If one of them is the server, install setproctitle for it and restart it.",
        )
    if container and container.pod and scan.has_own_groups:
        yield Finding(
            "control groups",
            "The Agent runs in a cgroup namespace of its own, where the other containers of its own pod show no pod. "
            "The server may be in one of them.",
            "Set `container` to the id of the container.",
        )
    yield from explain_hidden(scan)


def _is_nameless(master: Assignment) -> bool:
    arguments = master.candidate.arguments
    parsed = arguments and parse_arguments(arguments)
    return arguments is not None and not (parsed and parsed.is_named)


def _format_list(texts: Collection[str]) -> str:
    names = sorted(set(texts))
    return _format_names(names[:NAMES_SHOWN], names)


def explain_presence(fleet: Fleet) -> Iterator[Finding]:
    """Report what to improve about the servers that are running."""
    untitled = {
        key.name
        for key, server in fleet.alive.items()
        if any(master.arguments is not None for master in server.masters.values())
    }
    for name in sorted(untitled):
        yield Finding(
            "setproctitle",
            f"A server of {quote(name)} has no process title; it was found by its arguments.",
            "Install setproctitle for it and restart it, so that its name does not depend on its arguments.",
        )


# Where a control group of its own would help.
_CROWDED = {Reason.ROOT_GROUP, Reason.OTHER_SERVER, Reason.STRANGER}


def find_unknown_connections(fleet: Fleet) -> dict[Key, Connections]:
    """Find the servers of which the last look counted no connections."""
    # Without workers, a server has no connections either.
    return {
        key: server.connections
        for key, server in fleet.alive.items()
        if server.connections and server.workers and not server.connections.found_by
    }


def explain_unknown_connections(fleet: Fleet, key: Key, connections: Connections) -> Finding:
    """Explain why the last look counted no connections of a server."""
    name = key.name if len(fleet.alive) > 1 else None
    return explain_missing_connections(
        connections.bind,
        name,
        connections.obstacles,
        is_hidden=connections.is_hidden,
        is_discovered=fleet.selection.discovery is not None,
    )


def explain_missing_connections(
    bind: Sequence[Address],
    name: str | None,
    obstacles: Collection[Obstacle] = (),
    *,
    is_hidden: bool = True,
    is_discovered: bool = False,
) -> Finding:
    """Explain why no connections were counted, of one of several applications if a `name` is given.

    `bind` is the option of the instance, `obstacles` are what the look ran into. `is_hidden` if the sockets of a master
    could not be read, `is_discovered` if the instance has the option `discovery`, which excludes `bind`.
    """
    missing = f"No metric `gunicorn.connections`{f' for {quote(name)}' if name else ''}: "
    shared = [obstacle for obstacle in obstacles if obstacle.reason is Reason.SHARED_NAME]
    if shared:
        return Finding(
            "connections",
            f"{missing}{_explain_obstacle(shared[0])}",
            "Give each server an address of its own, or run the Agent with the right to read their sockets.",
        )
    if bind:
        listed = ", ".join(quote(str(address)) for address in bind)
        return Finding(
            "connections",
            f"{missing}no server listens on {listed}, the value of the option `bind`.",
            "Set `bind` to the addresses that the server's log shows as `Listening at`.",
        )
    reasons = {obstacle.reason for obstacle in obstacles}
    seen = [f"{missing}the server's listeners are unknown.", *map(_explain_obstacle, obstacles)]
    elsewhere = ", in an instance with `proc_name`, and `exclude` its name from `discovery`" if is_discovered else ""
    remedy = [f"Set `bind` to its addresses{elsewhere}."]
    if reasons and reasons <= _CROWDED:
        remedy.append("Or start the server in a control group of its own, for instance as a service of systemd.")
    if is_hidden and reasons != {Reason.UNCLEAR}:
        remedy.append("Only root with the capability SYS_PTRACE, or the server's user, can read its sockets.")
    return Finding("connections", " ".join(seen), " ".join(remedy))


def _explain_obstacle(obstacle: Obstacle) -> str:
    return obstacle.reason.format(_format_names(obstacle.details[:NAMES_SHOWN], obstacle.details))


def explain_hidden(scan: Scan) -> Iterator[Finding]:
    """Report which processes a scan could not see."""
    if scan.unreadable:
        yield Finding(
            "unreadable processes",
            f"Processes of this host could not be read: {scan.unreadable}.",
            "Mount /proc without hidepid=1, or with gid= set to a group of the Agent's user.",
        )
    if scan.hides_others:
        yield Finding(
            "hidden processes",
            "Processes of other users are hidden from the Agent.",
            "Mount /proc without hidepid=2, or with gid= set to a group of the Agent's user.",
        )
    if scan.of_container:
        yield Finding(
            "container",
            "The Agent runs in a container and sees only the processes of that container.",
            "Use the host's pid namespace (`--pid host`, `hostPID: true`), or set `procfs_path` to the host's /proc.",
        )


def _find_nearest(name: str, names: Iterable[str]) -> list[str]:
    def likeness(other: str) -> float:
        # Case is the most common mistake. A name from another process can have any length.
        return difflib.SequenceMatcher(None, name.lower()[:200], other.lower()[:200]).ratio()

    return sorted(sorted(names), key=likeness, reverse=True)[:NAMES_SHOWN]


def _format_names(shown: Sequence[str], names: Collection[str]) -> str:
    listed = ", ".join(map(quote, shown))
    more = len(names) - len(shown)
    return f"{listed} and {more} more" if more else listed
