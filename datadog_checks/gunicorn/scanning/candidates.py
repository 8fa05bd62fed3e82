"""Processes that may be masters, as candidates for an application."""

import os

from datadog_checks.gunicorn.host import processes
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.host.values import Process, Stat
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.arguments import parse_arguments
from datadog_checks.gunicorn.servers.roles import Sighting, find_role, recognize
from datadog_checks.gunicorn.servers.titles import Role, is_upgraded


def read_candidate(pid: int) -> Candidate | Absence | None:
    """Read a process that may be a master; None if it cannot be one."""
    process = attempt(processes.read_process, pid)
    return process if isinstance(process, Absence) else build_candidate(recognize(process))


def build_candidate(sighting: Sighting) -> Candidate | None:
    """Build a candidate from a process with a master's title or Gunicorn's arguments; None for any other."""
    process, title, arguments, handlers = sighting
    parsed = None if arguments is None else parse_arguments(arguments)
    if title:
        name = title.name if title.role is Role.MASTER else None
    elif parsed and parsed.paste:
        name = _resolve(parsed.paste, process)
    else:
        name = parsed and parsed.name
    if name is None:
        return None
    stat = process.stat
    return Candidate(
        process.identity,
        name,
        arguments,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=is_upgraded(name) and _is_reparented(stat),
        handlers=handlers,
        is_daemon=parsed is not None and parsed.is_daemon,
        groups=process.groups,
    )


def _is_reparented(stat: Stat) -> bool:
    parent = attempt(processes.read_stat, stat.parent)
    return stat.parent == 1 or (isinstance(parent, Stat) and parent.session != stat.session)


def look_for_workers(candidate: Candidate) -> Candidate:
    """Note whether a process has workers that has a master's title and was forked: a daemon, or a fork of a hook."""
    if candidate.arguments is not None or not candidate.forked:
        return candidate
    children = attempt(processes.read_children, candidate.identity.pid)
    return candidate._replace(leads=not isinstance(children, Absence) and any(map(_may_be_worker, children)))


def _may_be_worker(pid: int) -> bool:
    process = attempt(processes.read_process, pid)
    if isinstance(process, Absence):
        # A worker that has exited, which a master in a crash loop has more often than one that is alive.
        return process is Absence.GONE
    return find_role(recognize(process), None, lambda: False) is Role.WORKER


def _resolve(path: str, process: Process) -> str:
    """Make a path absolute, as Gunicorn does for --paste, or return it unchanged if the directory is unreadable."""
    folder = "" if os.path.isabs(path) else attempt(processes.read_folder, process.identity.pid)
    return path if isinstance(folder, Absence) else os.path.normpath(os.path.join(folder, path))
