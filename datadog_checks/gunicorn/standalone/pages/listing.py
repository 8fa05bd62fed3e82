"""The command `servers`: all Gunicorn servers on this host, by the name to configure."""

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from datadog_checks.gunicorn.diagnoses.findings import Finding
from datadog_checks.gunicorn.diagnoses.missing_servers import explain_hidden
from datadog_checks.gunicorn.host.cgroups import shorten_id
from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.pool.results import Pool
from datadog_checks.gunicorn.pool.watched import Key, Watched
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.servers.selection import Discovery, Selection
from datadog_checks.gunicorn.text import escape, shorten

from .table import format_table

# A title may have thousands of characters.
NAME_CHARACTERS = 64


class FoundBy(StrEnum):
    """The source of a master's name."""

    TITLE = "title"
    ARGUMENTS = "arguments"


class ListedServer(NamedTuple):
    """The servers of one name in one container. `complete` is false if a process that may be a worker is unreadable.

    `container` is the id of the container, or None.
    """

    proc_name: str
    container: str | None
    masters: tuple[int, ...]
    workers: int
    dirty_workers: int | None
    complete: bool
    found_by: tuple[FoundBy, ...]


class Listing(NamedTuple):
    """All servers of the host, and why others may be hidden."""

    servers: tuple[ListedServer, ...]
    hidden: tuple[Finding, ...]


def find_servers(host: Host | None = None) -> Listing:
    """Look at every process of the host. Raises ProcessTableError."""
    host = host or Host()
    scan = host.scan()
    fleet = Fleet(Selection(discovery=Discovery(limit=sys.maxsize)), host)
    fleet.find()
    looks = fleet.look()
    pools = {
        Key(application.name, container): pool
        for application in fleet.sample(looks) or ()
        for container, pool in application.pools
    }
    servers = (_build_server(key, fleet.servers[key], pools[key]) for key in pools.keys() & fleet.alive.keys())
    return Listing(tuple(sorted(servers, key=lambda server: (server[0], server[1] or ""))), tuple(explain_hidden(scan)))


def _build_server(key: Key, server: Watched, pool: Pool) -> ListedServer:
    found_by = {FoundBy.TITLE if each.arguments is None else FoundBy.ARGUMENTS for each in server.masters.values()}
    return ListedServer(
        proc_name=key.name,
        container=key.container,
        masters=tuple(sorted(master.pid for master in server.masters)),
        workers=sum(pool.states or ()),
        dirty_workers=pool.dirty_workers,
        complete=pool.states is not None,
        found_by=tuple(sorted(found_by)),
    )


def format_servers(listing: Listing) -> str:
    """Format a table with one row for each name, followed by notes."""
    lines = ["No Gunicorn was found on this host."]
    if listing.servers:
        header = ("proc_name", "container", "workers", "found by", "master pids")
        lines = format_table([header, *map(_row, listing.servers)])
    notes = list(_notes(listing))
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _row(server: ListedServer) -> tuple[str, ...]:
    workers = f"{server.workers}{'' if server.complete else ' or more'}"
    dirty = "" if server.dirty_workers is None else f", {server.dirty_workers} dirty"
    name = shorten(server.proc_name, NAME_CHARACTERS)
    container = shorten_id(server.container) if server.container else "-"
    return name, container, workers + dirty, ", ".join(server.found_by), ", ".join(map(str, server.masters))


def _notes(listing: Listing) -> Iterator[str]:
    if any(FoundBy.ARGUMENTS in server.found_by for server in listing.servers):
        yield (
            "Without a process title, the name is taken from the arguments: `--name`, otherwise the application. "
            "A name set in a configuration file is not visible."
        )
    if any(len(escape(server.proc_name)) > NAME_CHARACTERS for server in listing.servers):
        yield "Names that end in ... are truncated; --json prints them in full."
    yield from (str(finding) for finding in listing.hidden)


def format_servers_json(listing: Listing) -> str:
    """Format a JSON object with the servers and the notes on hidden processes."""
    document = {
        "servers": [server._asdict() for server in listing.servers],
        "hidden": [{"seen": finding.seen, "remedy": finding.remedy} for finding in listing.hidden],
    }
    return json.dumps(document, indent=2) + "\n"
