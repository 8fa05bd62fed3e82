"""`agent diagnose`: the steps of a run, each with its result."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from datadog_checks.gunicorn.host.cgroups import shorten_id
from datadog_checks.gunicorn.host.processes import ProcessTableError
from datadog_checks.gunicorn.pool.container_option import ContainerError
from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.pool.version import VersionError, read_version
from datadog_checks.gunicorn.settings import Settings
from datadog_checks.gunicorn.text import quote

from .findings import Finding
from .missing_connections import explain_unknown_connections
from .missing_servers import explain_absence, explain_hidden
from .run_warnings import explain_limits


class Diagnosis(NamedTuple):
    """One line of `agent diagnose`. `result` is the method of the base package's `Diagnosis` that reports it."""

    name: str
    result: Literal["success", "warning", "fail"]
    seen: str
    remedy: str | None = None


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
    found: dict[str, dict[str, None]] = {}
    for key, server in fleet.alive.items():
        if server.connections:
            counts = server.connections.look(server.masters, server.look().workers)
            if not counts:
                finding = explain_unknown_connections(fleet, key, server.connections)
                yield Diagnosis(finding.name, "warning", finding.seen, finding.remedy)
            listeners = (f"{quote(str(address))} ({way})" for address, way in server.connections.found_by.items())
            found.setdefault(key.name, {}).update(dict.fromkeys(listeners))
    for name, counted in found.items():
        if counted:
            whose = f" of {quote(name)}" if len(found) > 1 else ""
            seen = f"Connections{whose} are counted for these listeners: {', '.join(counted)}."
            yield Diagnosis("connections", "success", seen)


def _diagnose_version(command: Sequence[str]) -> Diagnosis:
    try:
        version = read_version(command)
    except VersionError as error:
        remedy = "Set `gunicorn` to the full path of the server's program."
        return Diagnosis("version", "warning", f"No version metadata: {error}.", remedy)
    return Diagnosis("version", "success", f"Gunicorn's version is {version}.")


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
