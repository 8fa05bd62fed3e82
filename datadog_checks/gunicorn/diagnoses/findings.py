"""Observations, each with how to fix the problem, and the names in them. Pure."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from datadog_checks.gunicorn.text import quote

# A host can have many servers; show those with the most similar names.
NAMES_SHOWN = 5


class Finding(NamedTuple):
    """An observation, with a short name, and how to fix the problem."""

    name: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.seen} {self.remedy}"


def list_names(names: Collection[str]) -> str:
    """List the first names in order, and count the others."""
    return list_first(sorted(set(names)))


def list_first(names: Sequence[str]) -> str:
    """List the first names, and count the others."""
    listed = ", ".join(map(quote, names[:NAMES_SHOWN]))
    more = len(names) - NAMES_SHOWN
    return f"{listed} and {more} more" if more > 0 else listed


def sort_by_likeness(name: str, names: Iterable[str]) -> list[str]:
    """Sort names, those most similar to `name` first."""

    def likeness(other: str) -> float:
        # Case is the most common mistake. A name from another process can have any length.
        return difflib.SequenceMatcher(None, name.lower()[:200], other.lower()[:200]).ratio()

    return sorted(sorted(names), key=likeness, reverse=True)
