"""What is there instead of the server that was looked for, and what to do about it. Pure."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .processes import Scan
from .servers import Assignment
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
    others = list(masters)
    titled = {str(was.application) for was in others if was.seen.argv is None}
    untitled = {str(was.application) for was in others if was.seen.argv is not None}
    if titled:
        nearest = _nearest(proc_name, titled)
        yield Finding(
            "other names",
            f"Gunicorn runs on this host under {_names(nearest, titled)}.",
            f"If {quote(nearest[0])} was meant, set `proc_name` to it.",
        )
    if untitled:
        nearest = _nearest(proc_name, untitled)
        yield Finding(
            "setproctitle",
            f"Gunicorn runs on this host without a process title, as {_names(nearest, untitled)}.",
            f"Install setproctitle for it and restart it, or set `proc_name` to {quote(nearest[0])}.",
        )
    yield from explain_hidden(scan)


def explain_presence(proc_name: str, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Say what could be better about the servers that a scan found of the application `proc_name`."""
    if any(was.application == proc_name and was.seen.argv is not None for was in masters):
        yield Finding(
            "setproctitle",
            f"A server of {quote(proc_name)} has no process title: it was found by its arguments.",
            "Install setproctitle for it and restart it, to tell helper processes from workers.",
        )


def explain_hidden(scan: Scan) -> Iterator[Finding]:
    """Say which processes a scan could not see."""
    if scan.unreadable:
        yield Finding(
            "unreadable processes",
            f"{scan.unreadable} processes of this host could not be read.",
            "Mount /proc without hidepid=1, or with gid= a group of the Agent's user.",
        )
    if scan.hides_others:
        yield Finding(
            "hidden processes",
            "Processes of other users are hidden from the Agent.",
            "Mount /proc without hidepid=2, or with gid= a group of the Agent's user; "
            "an Agent in a container needs the host's process namespace.",
        )


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    # The shape of a name decides, not its case.
    by_shape = {other.lower()[:200]: other for other in sorted(names)}
    nearest = difflib.get_close_matches(name.lower()[:200], by_shape, n=NAMES_SHOWN, cutoff=0)
    return [by_shape[shape] for shape in nearest]


def _names(shown: Sequence[str], names: Iterable[str]) -> str:
    more = len(set(names)) - len(shown)
    listed = ", ".join(map(quote, shown))
    return f"{listed} and {more} other names" if more else listed
