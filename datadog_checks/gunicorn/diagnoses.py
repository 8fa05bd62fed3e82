"""What is there instead of the server that was looked for, and what to do about it. Pure."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from .servers.applications import Assignment, Scan
from .servers.command_line import has_name
from .sockets.addresses import Address
from .text import quote

# A host can have many servers; the nearest names are the ones that may have been meant.
NAMES_SHOWN = 5


class Finding(NamedTuple):
    """One thing that was seen, by a name for it, and what to do about it."""

    name: str
    seen: str
    remedy: str


def explain_absence(proc_name: str, scan: Scan, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Say what a scan saw of Gunicorn when none of its masters is of the application `proc_name`."""
    others = [was for was in masters if was.application != proc_name]
    nameless = {str(was.application) for was in others if _is_nameless(was)}
    named = {str(was.application) for was in others if not _is_nameless(was)}
    if nameless:
        # A configuration file may give it the name that was looked for. The others were named on purpose.
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
    yield from explain_hidden(scan)


def _is_nameless(master: Assignment) -> bool:
    return master.seen.arguments is not None and not has_name(master.seen.arguments)


def explain_presence(proc_name: str, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Say what could be better about the servers that a scan found of the application `proc_name`."""
    if any(was.application == proc_name and was.seen.arguments is not None for was in masters):
        yield Finding(
            "setproctitle",
            f"A server of {quote(proc_name)} has no process title: it was found by its arguments.",
            "Install setproctitle for it and restart it, to tell helper processes from workers.",
        )


def explain_missing_connections(bind: Sequence[Address]) -> Finding:
    """Say why no connections were counted; `bind` are the addresses that the instance gives."""
    missing = "No metric `gunicorn.connections`: "
    if bind:
        listed = ", ".join(quote(str(address)) for address in bind)
        return Finding(
            "connections",
            f"{missing}the option `bind` names {listed}, and no server listens there.",
            "Set `bind` to the addresses that the server's log shows as `Listening at`.",
        )
    return Finding(
        "connections",
        f"{missing}the server's listeners are unknown.",
        "Set `bind` to its addresses. Root, with the capability SYS_PTRACE, and the server's user may read them.",
    )


def explain_hidden(scan: Scan) -> Iterator[Finding]:
    """Say which processes a scan could not see."""
    if scan.unreadable:
        yield Finding(
            "unreadable processes",
            f"Processes of this host could not be read: {scan.unreadable}.",
            "Mount /proc without hidepid=1, or with gid= a group of the Agent's user.",
        )
    if scan.hides_others:
        yield Finding(
            "hidden processes",
            "Processes of other users are hidden from the Agent.",
            "Mount /proc without hidepid=2, or with gid= a group of the Agent's user.",
        )
    if scan.of_container:
        yield Finding(
            "container",
            "The Agent runs in a container and sees the processes of that container only.",
            "Give it the host's process namespace (`--pid host`, `hostPID: true`), or its /proc by `procfs_path`.",
        )


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    def likeness(other: str) -> float:
        # Case is what is mistaken first. Names of other processes can be of any length.
        return difflib.SequenceMatcher(None, name.lower()[:200], other.lower()[:200]).ratio()

    return sorted(sorted(names), key=likeness, reverse=True)[:NAMES_SHOWN]


def _names(shown: Sequence[str], names: Collection[str]) -> str:
    listed = ", ".join(map(quote, shown))
    more = len(names) - len(shown)
    return f"{listed} and {more} more" if more else listed
