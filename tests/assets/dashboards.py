"""Finds the faults of a dashboard."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import log_queries, metric_queries, shapes
from .declared import CODES, DECLARED_METRICS, PIPELINE, SERVICE_CHECKS, find_unknown_names
from .formulas import FormulaError, Unit, calculate, find_names

GROUPS = [
    "Now: which server is full?",
    "Saturation",
    "Workers, memory and CPU",
    "Requests by status class",
    "Request durations",
    "Logs",
]
VARIABLES = {
    "app": "app",
    "host": "host",
    "service": "service",
    "env": "env",
    "cluster": "kube_cluster_name",
    "namespace": "kube_namespace",
}
# A variable filters only what carries its tag. The service check has no tags of containers, metrics have `service` only
# if the configuration says so, and log lines `app` likewise.
ON_METRICS = ["$app", "$host", "$env", "$cluster", "$namespace"]
ON_SERVICE_CHECKS = ["$app", "$host", "$env", "$cluster"]
ON_LOGS = ["$host", "$service", "$env", "$cluster", "$namespace"]
# The tags of one server. A quotient of different metrics is only valid for each server: some have only one of them.
SERVER = ["app", "host", "container_name"]
DEPLOYMENTS = ["source:change_tracking $service $env", "tags:deployment $service $env"]
COLUMNS = 12
# Columns of a log stream, in addition to attributes.
FIELDS = {"content", "host", "service", "status_line", "timestamp"}
MEASURES = {facet["path"]: Unit(facet["unit"]["name"]) for facet in PIPELINE["facets"] if "unit" in facet}
LINES = Unit("line")
LINK = re.compile(
    r"/(?P<page>logs|process)\?query=(?P<query>[^&]+)&from_ts={{timestamp_start}}&to_ts={{timestamp_end}}&live=false"
)
LINKS = {"Gunicorn logs": "logs", "Gunicorn processes": "process"}

Json = dict[str, Any]


def find_all_faults(dashboard: Json) -> list[str]:
    if misfits := list(shapes.find_misfits(dashboard, shapes.DASHBOARD)):
        return misfits
    groups = [widget["definition"] for widget in dashboard["widgets"]]
    widgets = list(itertools.chain.from_iterable(group["widgets"] for group in groups))
    faults = [*find_unknown_names(json.dumps(dashboard)), *find_faults_of_layout(dashboard["widgets"])]
    if [group["title"] for group in groups] != GROUPS:
        faults.append("groups")
    if widgets[0]["definition"]["type"] != "query_table":
        faults.append("the table of servers is not the first thing on the page")
    for group in groups:
        faults += find_faults_of_layout(group["widgets"])
        if [widget["definition"]["type"] for widget in group["widgets"]].count("note") != 1:
            faults.append(f"{group['title']} does not say how to read it")
    for widget in widgets:
        faults += find_faults_of_widget(widget["definition"])
    if {variable["name"]: variable["prefix"] for variable in dashboard["template_variables"]} != VARIABLES:
        faults.append("template variables")
    ids = [widget["id"] for widget in [*dashboard["widgets"], *widgets]]
    if len(ids) != len(set(ids)):
        faults.append("ids are not unique")
    if not faults and Counter(find_codes_by_class(widgets)) != Counter((f"{code // 100}xx", code) for code in CODES):
        faults.append("status classes are incomplete")
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
    requests = widget.get("requests", [])
    find_faults = find_faults_of_stream if widget["type"] == "list_stream" else find_faults_of_request
    if faults := list(itertools.chain.from_iterable(map(find_faults, requests))):
        yield from faults
        return
    if widget["type"] == "timeseries" and [event["q"] for event in widget["events"]] != DEPLOYMENTS:
        yield f"{widget['title']} does not show deployments"
    if widget["type"] == "check_status" and (
        widget["check"] not in SERVICE_CHECKS or widget["tags"] != ON_SERVICE_CHECKS
    ):
        yield f"{widget['check']} of {widget['tags']}"
    if queries := list(parse_metric_queries(requests).values()):
        yield from find_faults_of_links(widget["title"], widget.get("custom_links", []), queries[0].by)
        if widget["type"] == "toplist" and "time" not in widget:
            yield f"{widget['title']} does not show the last minutes"


def find_faults_of_stream(request: Json) -> Iterator[str]:
    yield from find_faults_of_search(request["query"]["query_string"])
    if unknown := {c["field"] for c in request["columns"] if not c["field"].startswith("@")} - FIELDS:
        yield f"no such column: {unknown}"


def find_faults_of_request(request: Json) -> Iterator[str]:
    scalar = request["response_format"] == "scalar"
    if faults := list(itertools.chain.from_iterable(find_faults_of_query(q, scalar) for q in request["queries"])):
        yield from faults
        return
    yield from find_faults_of_formulas(request)
    for order in request.get("sort", {}).get("order_by", []):
        if order["index"] not in range(len(request["formulas"])):
            yield f"no formula {order['index']} to sort by"
    yield from find_faults_of_conditions(request.get("conditional_formats", []))


def find_faults_of_query(query: Json, scalar: bool) -> Iterator[str]:
    if misfits := list(shapes.find_misfits(query, shapes.QUERIES[query["data_source"]])):
        yield from misfits
    elif query["data_source"] == "logs":
        yield from find_faults_of_logs(query)
    elif metric_queries.strip_queries(query["query"]) != "q":
        yield f"not a query: {query['query']}"
    else:
        parsed = next(metric_queries.find_queries(query["query"]))
        yield from metric_queries.find_faults(parsed)
        if [item for item in parsed.filters if item.startswith("$")] != ON_METRICS:
            yield f"other variables than {ON_METRICS}: {query['query']}"
        if scalar != ("aggregator" in query):
            yield f"aggregator of {query['query']}"


def find_faults_of_formulas(request: Json) -> Iterator[str]:
    queries = parse_metric_queries([request])
    units = {query["name"]: find_unit(query) for query in request["queries"]}
    if len({tuple(query.by) for query in queries.values()}) > 1:
        yield f"not grouped alike: {list(queries)}"
    used = set()
    for formula in request["formulas"]:
        try:
            names = find_names(formula["formula"])
            used |= set(names)
            unit = calculate(formula["formula"], units)
        except FormulaError as error:
            yield f"{formula['formula']}: {error}"
            continue
        yield from find_faults_of_formula(formula, unit, [queries[name] for name in names if name in queries])
    if used != set(units) or len(units) != len(request["queries"]):
        yield f"{sorted(units)}, of which {sorted(used)} are used"


def parse_metric_queries(requests: list[Json]) -> dict[str, metric_queries.MetricQuery]:
    queries = itertools.chain.from_iterable(request.get("queries", []) for request in requests)
    return {
        query["name"]: next(metric_queries.find_queries(query["query"]))
        for query in queries
        if query["data_source"] == "metrics"
    }


def find_unit(query: Json) -> Unit:
    if query["data_source"] == "logs":
        return MEASURES.get(query["compute"].get("metric", "").removeprefix("@"), LINES)
    parsed = next(metric_queries.find_queries(query["query"]))
    row = DECLARED_METRICS[parsed.metric]
    if ".as_count()" in parsed.modifiers:
        return Unit(row["unit_name"])
    return Unit(row["unit_name"], "second" if ".as_rate()" in parsed.modifiers else row["per_unit_name"] or None)


def find_faults_of_formula(formula: Json, unit: Unit, queries: list[metric_queries.MetricQuery]) -> Iterator[str]:
    if formula["number_format"] != format_unit(unit):
        yield f"{formula['formula']} is in {unit}, not {formula['number_format']}"
    if "/" in formula["formula"] and unit.per and any(query.by != SERVER for query in queries):
        yield f"{formula['formula']} mixes servers"
    if gauges := [q.metric for q in queries if "default_zero" in formula["formula"] and is_gauge(q)]:
        yield f"a missing value is not 0: {gauges}"
    if "+" in formula["formula"]:
        # A divisor is not part of the sum.
        yield from metric_queries.find_faults_of_sum([query for query in queries if query.code or query.is_aggregated])
    elif queries and queries[0].code and formula.get("alias") != str(queries[0].code):
        yield f"{queries[0].code} is called {formula.get('alias')}"
    yield from find_faults_of_conditions(formula.get("conditional_formats", []))


def is_gauge(query: metric_queries.MetricQuery) -> bool:
    return DECLARED_METRICS[query.metric]["metric_type"] == "gauge"


def format_unit(unit: Unit) -> Json:
    """Build the `number_format` of a unit."""
    if unit == LINES:
        return {"unit": {"type": "custom_unit_label", "label": "lines"}}
    per = {"per_unit_name": unit.per} if unit.per else {}
    return {"unit": {"type": "canonical_unit", "unit_name": unit.name, **per}}


def find_faults_of_conditions(conditions: list[Json]) -> Iterator[str]:
    # The first condition that holds decides the color.
    for comparator, strictest_first in ((">", True), (">=", True), ("<=", False)):
        values = [item["value"] for item in conditions if item["comparator"] == comparator]
        if values != sorted(values, reverse=strictest_first) or len(values) != len(set(values)):
            yield f"conditions that never decide: {comparator} {values}"


def find_faults_of_links(title: str, links: list[Json], groups: list[str]) -> Iterator[str]:
    if [link["label"] for link in links] != list(LINKS):
        yield f"{title} has the links {[link['label'] for link in links]}"
    for link in links:
        match = LINK.fullmatch(link["link"])
        if match is None or match["page"] != LINKS[link["label"]]:
            yield f"{link['label']} leads to {link['link']}"
            continue
        variables = re.findall(r"{{([^{}]*)}}", match["query"])
        # The host is the only tag of a server that log lines and processes always have.
        if variables != ["host" if "host" in groups else "$host"]:
            yield f"{link['link']} has the variables {variables}"
        search = re.sub(r" {{[^{}]*}}", "", match["query"])
        if match["page"] == "logs":
            yield from log_queries.find_faults(search)
        elif search != "gunicorn":
            yield f"not limited to gunicorn: {search}"


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
    if re.findall(r"\$\w+", search) != ON_LOGS:
        yield f"other variables than {ON_LOGS}: {search}"


def find_codes_by_class(widgets: list[Json]) -> Iterator[tuple[str, int]]:
    for widget in widgets:
        if widget["definition"].get("title") == "Requests per second by status class":
            (request,) = widget["definition"]["requests"]
            codes = {query["name"]: int(query["query"].split("{")[0][-3:]) for query in request["queries"]}
            for formula in request["formulas"]:
                for name in find_names(formula["formula"]):
                    yield formula["alias"], codes[name]
