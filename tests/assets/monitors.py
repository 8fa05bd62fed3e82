"""Errors of a recommended monitor."""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from . import log_queries, metric_queries, shapes
from .declared import SERVICE_CHECKS, find_unknown_names

Json = dict[str, Any]

# The monitor validator of earlier ddev releases required both of these.
LONGEST_DESCRIPTION, NAME_HAS = 300, "gunicorn"
# https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor
COMPARISON = r" (?P<operator>[<>]=?) (?P<critical>-?\d+(\.\d+)?)"
QUERIES = {
    "query alert": re.compile(
        r"(?P<time>(avg|max|min|sum)\(last_(?P<last>\d+[mh])\)|(pct_)?change\((avg|max|min|sum)\(last_\d+[mh]\),"
        r"((5|10|15|30)m|[124]h|1d)_ago\)):(?P<expression>.+)" + COMPARISON
    ),
    "service check": re.compile(
        r'"(?P<check>[\w.]+)"\.over\("\*"\)\.by\((?P<by>"\w+"(,"\w+")*)\)\.last\((?P<count>\d+)\)\.count_by_status\(\)'
    ),
    "log alert": re.compile(
        r'logs\("(?P<search>[^"]+)"\)\.index\("\*"\)\.rollup\("count"\)\.by\("(?P<by>\w+(,\w+)*)"\)'
        r'\.last\("(?P<last>\d+[mh])"\)' + COMPARISON
    ),
}
# The limit for log monitors; the window of metric monitors may be longer.
LONGEST_HOURS = 48
BLOCK = re.compile(r"{{([#^/])(is_\w+)}}")
VARIABLE = re.compile(r"{{(\w+)(\.name)?}}")


def find_all_faults(monitor: Json) -> list[str]:
    if misfits := list(shapes.find_misfits(monitor, shapes.MONITOR)):
        return misfits
    definition, options = monitor["definition"], monitor["definition"]["options"]
    match = QUERIES[definition["type"]].fullmatch(definition["query"]) if definition["type"] in QUERIES else None
    if not match:
        return [f"{definition['type']}: {definition['query']}"]
    found = match.groupdict()
    if misfits := list(shapes.find_misfits(options, shapes.OPTIONS_BY_TYPE[definition["type"]])):
        return misfits
    faults = [*find_faults_of_frame(monitor)]
    match definition["type"]:
        case "query alert":
            groups = next(metric_queries.find_queries(found["expression"])).by
            faults += find_faults_of_metric_query(found["time"], found["expression"], groups)
        case "service check":
            groups = re.findall(r"\w+", found["by"])
            faults += find_faults_of_service_check(found["check"], int(found["count"]), options["thresholds"])
        case _:
            groups = found["by"].split(",")
            faults += log_queries.find_faults(found["search"])
            faults += log_queries.find_unknown_facets(groups)
    if "host" not in groups or not {"app", "service"} & set(groups):
        faults.append(f"by {groups}")
    if found.get("last") and not 0 < int(found["last"][:-1]) / (60 if found["last"][-1] == "m" else 1) <= LONGEST_HOURS:
        faults.append(f"window of {found['last']}")
    if "operator" in found:
        faults += find_faults_of_thresholds(found["operator"], float(found["critical"]), options["thresholds"])
    known = {*groups, "value"} | ({"check_message"} if "check" in found else set())
    for text in (definition["name"], definition["message"]):
        faults += find_faults_of_text(text, known)
    return faults


def find_faults_of_frame(monitor: Json) -> Iterator[str]:
    definition = monitor["definition"]
    created, updated = (date.fromisoformat(monitor[field]) for field in ("created_at", "last_updated_at"))
    if updated < created:
        yield "dates"
    if len(monitor["description"]) > LONGEST_DESCRIPTION:
        yield f"a description of {len(monitor['description'])} characters"
    if NAME_HAS not in definition["name"].lower():
        yield f"name: {definition['name']}"
    options = definition["options"]
    if (options["renotify_interval"] > 0) != ("renotify_statuses" in options):
        yield "repeated for no status, or never"
    for heading in ("## What it means", "## What to do first\n\n1. "):
        if heading not in definition["message"]:
            yield f"message without {heading}"
    yield from find_unknown_names(json.dumps(monitor))


def find_faults_of_thresholds(operator: str, critical: float, thresholds: Json) -> Iterator[str]:
    if thresholds["critical"] != critical:
        yield f"thresholds: {thresholds}"
    warning = thresholds.get("warning")
    if warning is not None and (warning >= critical if operator.startswith(">") else warning <= critical):
        yield "warns later than it alerts"


def find_faults_of_service_check(check: str, count: int, thresholds: Json) -> Iterator[str]:
    if check not in SERVICE_CHECKS:
        yield f"no such service check: {check}"
    if not 0 < max(thresholds.values()) <= count <= 100:
        yield f"thresholds: {thresholds} of {count}"


def find_faults_of_metric_query(time: str, expression: str, groups: list[str]) -> Iterator[str]:
    queries = list(metric_queries.find_queries(expression))
    for query in queries:
        yield from metric_queries.find_faults(query)
        if query.by != groups:
            yield f"{query.metric} by {query.by}"
        # https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/
        if ".as_count()" in query.modifiers and not time.startswith("sum("):
            yield f"as_count in {time}"
    form = metric_queries.strip_queries(expression)
    if not re.fullmatch(r"(\d+ \* )?(q|\(q( \+ q)*\))( / q)?", form):
        yield f"no arithmetic that we know: {form}"
    if "+" in form:
        yield from metric_queries.find_faults_of_sum(queries[: form.count("+") + 1])


def find_faults_of_text(text: str, known: set[str]) -> Iterator[str]:
    opened = []
    for sign, name in BLOCK.findall(text):
        if sign != "/":
            opened.append(name)
        elif not opened or opened.pop() != name:
            yield f"{name} is closed, and not open"
    if opened:
        yield f"{opened} stay open"
    rest = BLOCK.sub("", text)
    for name, of_tag in VARIABLE.findall(rest):
        if name not in known or (name in {"value", "check_message"}) == bool(of_tag):
            yield f"no such variable: {name}{of_tag}"
    if "{{" in VARIABLE.sub("", rest):
        yield "a brace too much"
