"""Finds the faults of log queries."""

import re
from collections.abc import Iterable, Iterator

from .declared import FACETS, STATUSES, find_unknown_names

RESERVED = {"host", "service", "source", "status"}
TERM = re.compile(r"@?[\w.]+:(\([^()]*\)|\[\d+ TO \d+\]|>\d+|[\w*]+)|\$\w+")
STATUS_RANGE = re.compile(r"@http\.status_code:\[(\d+) TO (\d+)\]")
STATUS = re.compile(r"(?<!\S)status:(?:\(([^)]*)\)|(\w+))")


def find_faults(search: str) -> Iterator[str]:
    if not search.startswith("source:gunicorn"):
        yield f"not limited to gunicorn: {search}"
    if rest := TERM.sub("", search).strip():
        yield f"unknown terms: {rest}"
    yield from find_unknown_names(search)
    for several, one in STATUS.findall(search):
        for status in {*(several or one).split(" OR ")} - STATUSES:
            yield f"no such status: {status}"
    for first, last in STATUS_RANGE.findall(search):
        if not first.endswith("00") or not last.endswith("99"):
            yield f"not a complete class: {first} to {last}"


def find_unknown_facets(facets: Iterable[str]) -> Iterator[str]:
    for facet in facets:
        if facet not in RESERVED and facet.removeprefix("@") not in FACETS:
            yield f"no such facet: {facet}"
        elif (facet in RESERVED) == facet.startswith("@"):
            yield f"wrongly written: {facet}"
