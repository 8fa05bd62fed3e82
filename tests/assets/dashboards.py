"""Errors of a dashboard."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import log_queries, metric_queries, shapes
from .declared import CODES, SERVICE_CHECKS, find_unknown_names

GROUPS = [
    "State now: is it saturated, and since when?",
    "Saturation",
    "Churn and resources",
    "Requests by status class",
    "Latency",
    "Logs",
]
VARIABLES = ["$app", "$host", "$service"]
COLUMNS = 12
FUNCTIONS = {"default_zero"}
# Columns of a log stream, in addition to attributes.
FIELDS = {"content", "host", "service", "status_line", "timestamp"}

Json = dict[str, Any]


def find_all_faults(dashboard: Json) -> list[str]:
    if misfits := list(shapes.find_misfits(dashboard, shapes.DASHBOARD)):
        return misfits
    groups = [widget["definition"] for widget in dashboard["widgets"]]
    widgets = list(itertools.chain.from_iterable(group["widgets"] for group in groups))
    faults = [*find_unknown_names(json.dumps(dashboard)), *find_faults_of_layout(dashboard["widgets"])]
    if [group["title"] for group in groups] != GROUPS:
        faults.append("groups")
    for group in groups:
        faults += find_faults_of_layout(group["widgets"])
        if group["widgets"][0]["definition"]["type"] != "note":
            faults.append(f"{group['title']} does not say how to read it")
    for widget in widgets:
        faults += find_faults_of_widget(widget["definition"])
    if Counter(find_codes_by_class(widgets)) != Counter((f"{code // 100}xx", code) for code in CODES):
        faults.append("status classes are incomplete")
    variables = [(variable["name"], variable["prefix"]) for variable in dashboard["template_variables"]]
    if variables != [(name.removeprefix("$"), name.removeprefix("$")) for name in VARIABLES]:
        faults.append("template variables")
    ids = [widget["id"] for widget in [*dashboard["widgets"], *widgets]]
    if len(ids) != len(set(ids)):
        faults.append("ids are not unique")
    return faults


def find_faults_of_layout(widgets: list[Json]) -> Iterator[str]:
    taken = Counter()
    for widget in widgets:
        place = widget["layout"]
        taken.update(
            itertools.product(
                range(place["x"], place["x"] + place["width"]), range(place["y"], place["y"] + place["height"])
            )
        )
        if inner := widget["definition"].get("widgets"):
            height = max(within["layout"]["y"] + within["layout"]["height"] for within in inner)
            if place["height"] != height + 1:
                yield f"height of {widget['definition']['title']}"
    # Widgets neither overlap nor exceed the width nor leave gaps.
    rows = max(y for _, y in taken) + 1
    if taken != Counter(itertools.product(range(COLUMNS), range(rows))):
        yield f"layout of {[widget['definition'].get('title') for widget in widgets]}"


def find_faults_of_widget(widget: Json) -> Iterator[str]:
    if misfits := list(shapes.find_misfits(widget, shapes.WIDGETS[widget["type"]])):
        yield from misfits
        return
    for request in widget.get("requests", []):
        if widget["type"] == "list_stream":
            yield from find_faults_of_search(request["query"]["query_string"])
            if unknown := {c["field"] for c in request["columns"] if not c["field"].startswith("@")} - FIELDS:
                yield f"no such column: {unknown}"
        else:
            yield from find_faults_of_request(request)
    if widget["type"] == "check_status" and (widget["check"] not in SERVICE_CHECKS or widget["tags"] != VARIABLES):
        yield f"{widget['check']} of {widget['tags']}"


def find_faults_of_request(request: Json) -> Iterator[str]:
    queries = {}
    for query in request["queries"]:
        yield from shapes.find_misfits(query, shapes.QUERIES[query["data_source"]])
        queries[query["name"]] = None
        if query["data_source"] == "logs":
            yield from find_faults_of_logs(query)
            continue
        if metric_queries.strip_queries(query["query"]) != "q":
            yield f"no query: {query['query']}"
            continue
        queries[query["name"]] = parsed = next(metric_queries.find_queries(query["query"]))
        yield from metric_queries.find_faults(parsed)
        if parsed.filters[-3:] != VARIABLES:
            yield f"without variables: {query['query']}"
        if (request["response_format"] == "scalar") != ("aggregator" in query):
            yield f"aggregator of {query['query']}"
    used = set(itertools.chain.from_iterable(names(formula) for formula in request["formulas"]))
    if used != set(queries) or len(queries) != len(request["queries"]):
        yield f"{sorted(queries)}, of which {sorted(used)} are used"
    for formula in request["formulas"]:
        yield from find_faults_of_formula(formula, [queries[name] for name in names(formula) if queries.get(name)])


def find_faults_of_formula(formula: Json, queries: list[metric_queries.MetricQuery]) -> Iterator[str]:
    if "+" in formula["formula"]:
        # A divisor is not part of the sum.
        yield from metric_queries.find_faults_of_sum([query for query in queries if query.code or query.is_figure])
    elif queries and queries[0].code and formula.get("alias") != str(queries[0].code):
        yield f"{queries[0].code} is called {formula.get('alias')}"


def find_faults_of_logs(query: Json) -> Iterator[str]:
    compute, groups = query["compute"], query["group_by"]
    yield from find_faults_of_search(query["search"]["query"])
    yield from log_queries.find_unknown_facets([*(group["facet"] for group in groups), compute.get("metric", "status")])
    if any(group["sort"] != {"order": "desc", **compute} for group in groups):
        yield f"not sorted by {compute}"
    if (compute["aggregation"] == "count") == ("metric" in compute):
        yield f"no measure, or one too many: {compute}"


def find_faults_of_search(search: str) -> Iterator[str]:
    yield from log_queries.find_faults(search)
    if re.findall(r"\$\w+", search) != VARIABLES:
        yield f"without variables: {search}"


def find_codes_by_class(widgets: list[Json]) -> Iterator[tuple[str, int]]:
    for widget in widgets:
        if widget["definition"].get("title") == "Requests per second by status class":
            (request,) = widget["definition"]["requests"]
            codes = {query["name"]: int(query["query"].split("{")[0][-3:]) for query in request["queries"]}
            for formula in request["formulas"]:
                for name in names(formula):
                    yield formula["alias"], codes[name]


def names(formula: Json) -> list[str]:
    return [name for name in re.findall(r"[a-z]\w*", formula["formula"]) if name not in FUNCTIONS]
