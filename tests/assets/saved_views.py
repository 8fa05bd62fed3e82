"""Finds the faults of a saved view that ddev's validator does not find."""

from collections.abc import Iterator
from typing import Any

from . import log_queries, shapes

Json = dict[str, Any]


def find_all_faults(view: Json) -> list[str]:
    if view["page"] not in shapes.SAVED_VIEWS:
        return [f"page: {view['page']}"]
    if misfits := list(shapes.find_misfits(view, shapes.SAVED_VIEWS[view["page"]])):
        return misfits
    faults = [] if view["name"].startswith("Gunicorn ") else [f"name: {view['name']}"]
    return faults if view["type"] == "process" else [*faults, *find_faults_of_logs(view)]


def find_faults_of_logs(view: Json) -> Iterator[str]:
    yield from log_queries.find_faults(view["query"])
    options, facets = view["options"], view["visible_facets"]
    shown = options.get("columns") or [group["facet"] for group in options["group_bys"]]
    yield from log_queries.find_unknown_facets([*facets, *shown])
    if missing := {*shown} - {*facets}:
        yield f"shown but not a visible facet: {missing}"
    if not view["timerange"]["interval_ms"] > 0:
        yield "timerange"
    for number in ("limit", "step_ms"):
        if not options.get(number, "1").isdecimal():
            yield f"{number}: {options[number]}"
