"""The command `servers`: all Gunicorn servers on this host, by the name to configure."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from datadog_checks.gunicorn.diagnoses import Finding, explain_hidden
from datadog_checks.gunicorn.host.processes import is_still
from datadog_checks.gunicorn.pool.registry import Host
from datadog_checks.gunicorn.pool.watched import Watched
from datadog_checks.gunicorn.servers.applications import Candidate
from datadog_checks.gunicorn.text import escape, shorten

from .table import format_table

# A title may have thousands of characters.
NAME_CHARACTERS = 64


class FoundBy(StrEnum):
    """The source of a master's name."""

    TITLE = "title"
    ARGUMENTS = "arguments"


class Server(NamedTuple):
    """The servers of one name. `complete` is false if a process that may be a worker could not be read."""

    proc_name: str
    masters: tuple[int, ...]
    workers: int
    dirty_workers: int | None
    complete: bool
    found_by: tuple[FoundBy, ...]


class Listing(NamedTuple):
    """All servers of the host, and why others may be hidden."""

    servers: tuple[Server, ...]
    hidden: tuple[Finding, ...]


def find_servers(host: Host | None = None) -> Listing:
    """Look at every process of the host. Raises ProcessTableError."""
    host = host or Host()
    scan = host.scan()
    masters: dict[str, list[Candidate]] = {}
    for assignment in host.applications():
        masters.setdefault(str(assignment.application), []).append(assignment.seen)
    servers = (_look_at(name, host, masters[name]) for name in sorted(masters))
    return Listing(tuple(server for server in servers if server), tuple(explain_hidden(scan)))


def _look_at(name: str, host: Host, masters: list[Candidate]) -> Server | None:
    watched = Watched(name, host, masters=[master for master in masters if is_still(master.identity)])
    if not watched.masters:
        # They have exited since.
        return None
    first = watched.look()
    pool = watched.sample(first)
    return Server(
        proc_name=name,
        masters=tuple(sorted(master.pid for master in watched.masters)),
        workers=sum(pool.states or ()),
        dirty_workers=pool.dirty_workers,
        complete=pool.states is not None,
        found_by=tuple(
            sorted(
                {
                    FoundBy.TITLE if master.arguments is None else FoundBy.ARGUMENTS
                    for master in watched.masters.values()
                }
            )
        ),
    )


def format_servers(listing: Listing) -> str:
    """Format a table with one row for each name, followed by notes."""
    lines = ["No Gunicorn was found on this host."]
    if listing.servers:
        # Pids come last, because a name may have many masters, one in each container.
        header = ("proc_name", "workers", "found by", "master pids")
        lines = format_table([header, *map(_row, listing.servers)])
    notes = list(_notes(listing))
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _row(server: Server) -> tuple[str, ...]:
    workers = f"{server.workers}{'' if server.complete else ' or more'}"
    dirty = "" if server.dirty_workers is None else f", {server.dirty_workers} dirty"
    name = shorten(server.proc_name, NAME_CHARACTERS)
    return name, workers + dirty, ", ".join(server.found_by), ", ".join(map(str, server.masters))


def _notes(listing: Listing) -> Iterator[str]:
    if any(FoundBy.ARGUMENTS in server.found_by for server in listing.servers):
        yield (
            "Without a process title, the name is taken from the arguments: `--name`, otherwise the application. "
            "A name set in a configuration file is not visible."
        )
    if any(len(escape(server.proc_name)) > NAME_CHARACTERS for server in listing.servers):
        yield "Names that end in ... are truncated; --json prints them in full."
    yield from (f"{finding.seen} {finding.remedy}" for finding in listing.hidden)


def format_servers_json(listing: Listing) -> str:
    """Format a JSON object with the servers and the notes on hidden processes."""
    document = {
        "servers": [server._asdict() for server in listing.servers],
        "hidden": [{"seen": finding.seen, "remedy": finding.remedy} for finding in listing.hidden],
    }
    return json.dumps(document, indent=2) + "\n"
