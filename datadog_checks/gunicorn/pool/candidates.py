"""Processes that may be masters, as candidates for an application."""

import os

import psutil

from datadog_checks.gunicorn.host import processes
from datadog_checks.gunicorn.host.processes import Absence, attempt
from datadog_checks.gunicorn.host.values import Process, Stat
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.servers.command_line import parse_arguments
from datadog_checks.gunicorn.servers.roles import Sighting, recognize
from datadog_checks.gunicorn.servers.titles import Role


def read_candidate(pid: int) -> Candidate | Absence | None:
    """Read a process that may be a master; None if it cannot be one."""
    process = attempt(processes.read_process, pid)
    return process if isinstance(process, Absence) else build_candidate(recognize(process))


def build_candidate(seen: Sighting) -> Candidate | None:
    """Build a candidate from a process with a master's title or Gunicorn's arguments; None for any other."""
    process, title, arguments, handlers = seen
    told = None if arguments is None else parse_arguments(arguments)
    if title:
        name = title.name if title.role is Role.MASTER else None
    elif told and told.paste:
        name = _resolve(told.paste, process)
    else:
        name = told and told.name
    if name is None:
        return None
    stat = process.stat
    parent = attempt(processes.read_stat, stat.parent)
    return Candidate(
        process.identity,
        name,
        arguments,
        parent=stat.parent,
        session=stat.session,
        group=stat.group,
        forked=stat.forked,
        reparented=stat.parent == 1 or (isinstance(parent, Stat) and parent.session != stat.session),
        handlers=handlers,
        is_daemon=told is not None and told.is_daemon,
        groups=process.groups,
    )


def _resolve(path: str, process: Process) -> str:
    """Make a path absolute, as Gunicorn does for --paste, unless the server's directory may not be read."""
    folder = "" if os.path.isabs(path) else attempt(_read_folder, process.identity.pid)
    return path if isinstance(folder, Absence) else os.path.normpath(os.path.join(folder, path))


def _read_folder(pid: int) -> str:
    return str(psutil.Process(pid).cwd())
