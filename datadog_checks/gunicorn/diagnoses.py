"""What prevents an instance from collecting its metrics, and how to fix it."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from .host.processes import ProcessTableError
from .pool.version import VersionError, read_version
from .pool.watched import Watched
from .servers.applications import Assignment, Scan
from .servers.command_line import parse_arguments
from .settings import Settings
from .sockets.addresses import Address
from .sockets.connections import Connections
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


def diagnose_configuration(error: Exception) -> Diagnosis:
    """Report that an instance's configuration is invalid."""
    return Diagnosis("configuration", "fail", str(error), "Correct the option in conf.yaml and restart the Agent.")


def diagnose(watched: Watched, settings: Settings, absence: str, *, with_version: bool) -> Iterator[Diagnosis]:
    """Try each step of a run and report the results. `absence` is the message of a run that finds no master."""
    try:
        masters = watched.find()
    except ProcessTableError as error:
        yield Diagnosis("process table", "fail", f"{error}.", "Correct `procfs_path` in datadog.yaml.")
        return
    if masters:
        pids = ", ".join(str(master.pid) for master in masters)
        yield Diagnosis("master", "success", f"Found the master process of {quote(watched.name)}: {pids}.")
        yield Diagnosis("cpu", "success", f"Workers are classified as working or idle by {watched.cpu_source}.")
        for finding in explain_presence(watched.name, watched.host.applications()):
            yield Diagnosis(finding.name, "warning", finding.seen, finding.remedy)
        if watched.connections:
            yield _diagnose_connections(watched, watched.connections, settings.bind)
    else:
        yield Diagnosis("master", "fail", absence)
        for finding in explain_absence(watched.name, watched.host.last_scan(), watched.host.applications()):
            yield Diagnosis(finding.name, "fail", finding.seen, finding.remedy)
    if with_version:
        yield _diagnose_version(settings.command)


def _diagnose_connections(watched: Watched, connections: Connections, bind: Sequence[Address]) -> Diagnosis:
    counts = connections.look(watched.masters, watched.look().workers)
    if counts:
        listeners = ", ".join(quote(str(address)) for address in counts)
        return Diagnosis("connections", "success", f"Connections are counted for these listeners: {listeners}.")
    finding = explain_missing_connections(bind)
    return Diagnosis(finding.name, "warning", finding.seen, finding.remedy)


def _diagnose_version(command: Sequence[str]) -> Diagnosis:
    try:
        version = read_version(command)
    except VersionError as error:
        remedy = "Set `gunicorn` to the full path of the server's program."
        return Diagnosis("version", "warning", f"No version metadata: {error}.", remedy)
    return Diagnosis("version", "success", f"Gunicorn's version is {version}.")


def explain_absence(proc_name: str, scan: Scan, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Report which Gunicorn processes a scan found when no master belongs to the application `proc_name`."""
    others = [was for was in masters if was.application != proc_name]
    nameless = {str(was.application) for was in others if _is_nameless(was)}
    named = {str(was.application) for was in others if not _is_nameless(was)}
    if nameless:
        # The name may come from a configuration file. Servers with an explicit name are listed below.
        nearest = _nearest(proc_name, nameless)
        yield Finding(
            "setproctitle",
            f"Gunicorn runs on this host without a process title, as {_names(nearest, nameless)}.",
            f"Install setproctitle for it and restart it, or set `proc_name` to {quote(nearest[0])}.",
        )
    if named:
        nearest = _nearest(proc_name, named)
        yield Finding(
            "other names",
            f"Gunicorn runs on this host under {_names(nearest, named)}.",
            f"If {quote(nearest[0])} was meant, set `proc_name` to it.",
        )
    if scan.embedded:
        yield Finding(
            "embedded",
            f"Python programs run Gunicorn without a process title: {_list(scan.embedded)}.",
            "Install setproctitle for them and restart them: without a title, their name is unknown.",
        )
    if scan.mentions:
        yield Finding(
            "not recognized",
            f"Processes mention gunicorn but were not recognized as servers: {_list(scan.mentions)}.",
            "If one of them is the server, install setproctitle for it and restart it.",
        )
    yield from explain_hidden(scan)


def _is_nameless(master: Assignment) -> bool:
    arguments = master.seen.arguments and parse_arguments(master.seen.arguments)
    return master.seen.arguments is not None and not (arguments and arguments.is_named)


def _list(texts: Collection[str]) -> str:
    names = sorted(set(texts))
    return _names(names[:NAMES_SHOWN], names)


def explain_presence(proc_name: str, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Report what to improve about the servers of the application `proc_name`."""
    if any(was.application == proc_name and was.seen.arguments is not None for was in masters):
        yield Finding(
            "setproctitle",
            f"A server of {quote(proc_name)} has no process title; it was found by its arguments.",
            "Install setproctitle for it and restart it, so that its name does not depend on its arguments.",
        )


def explain_missing_connections(bind: Sequence[Address]) -> Finding:
    """Explain why no connections were counted; `bind` is the option of the instance."""
    missing = "No metric `gunicorn.connections`: "
    if bind:
        listed = ", ".join(quote(str(address)) for address in bind)
        return Finding(
            "connections",
            f"{missing}no server listens on {listed}, the value of the option `bind`.",
            "Set `bind` to the addresses that the server's log shows as `Listening at`.",
        )
    return Finding(
        "connections",
        f"{missing}the server's listeners are unknown.",
        "Set `bind` to its addresses. Only root with the capability SYS_PTRACE, or the server's user, can find them.",
    )


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


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    def likeness(other: str) -> float:
        # Case is the most common mistake. A name from another process can have any length.
        return difflib.SequenceMatcher(None, name.lower()[:200], other.lower()[:200]).ratio()

    return sorted(sorted(names), key=likeness, reverse=True)[:NAMES_SHOWN]


def _names(shown: Sequence[str], names: Collection[str]) -> str:
    listed = ", ".join(map(quote, shown))
    more = len(names) - len(shown)
    return f"{listed} and {more} more" if more else listed
