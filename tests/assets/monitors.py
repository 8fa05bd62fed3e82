"""Finds the faults of a recommended monitor."""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from . import log_queries, metric_queries, shapes
from .declared import SERVICE_CHECKS, find_unknown_names
from .stories import log_alerts, metric_alerts, status_alerts
from .stories.log_alerts import LogAlert
from .stories.metric_alerts import MetricAlert, UnknownGrammarError
from .stories.status_alerts import StatusAlert

Json = dict[str, Any]
Alert = MetricAlert | LogAlert | StatusAlert

# The monitor validator of earlier ddev releases required both of these.
LONGEST_DESCRIPTION, NAME_HAS = 300, "gunicorn"
MOST_LINES = 10
PARSERS = {"query alert": metric_alerts.parse, "log alert": log_alerts.parse, "service check": status_alerts.parse}
# The limit for log monitors; the window of metric monitors may be longer.
LONGEST_HOURS = 48
BLOCK = re.compile(r"{{([#^/])(is_\w+)}}")
VARIABLE = re.compile(r"{{(\w+)(\.name)?}}")


def find_all_faults(monitor: Json) -> list[str]:
    if misfits := list(shapes.find_misfits(monitor, shapes.MONITOR)):
        return misfits
    definition, options = monitor["definition"], monitor["definition"]["options"]
    kind, query = definition["type"], definition["query"]
    if kind not in PARSERS:
        return [f"type {kind}"]
    try:
        alert = PARSERS[kind](query)
    except UnknownGrammarError as error:
        return [f"unknown query: {error}"]
    if misfits := list(shapes.find_misfits(options, shapes.OPTIONS_BY_TYPE[kind])):
        return misfits
    return [*find_faults_of_frame(monitor), *find_faults_of_alert(alert, definition)]


def find_faults_of_alert(alert: Alert, definition: Json) -> Iterator[str]:
    thresholds = definition["options"]["thresholds"]
    match alert:
        case MetricAlert():
            yield from find_faults_of_metrics([metric.query for metric in alert.metrics])
        case StatusAlert():
            yield from find_faults_of_service_check(alert, thresholds)
        case LogAlert():
            yield from log_queries.find_unknown_facets(alert.keys)
    if "host" not in alert.keys or not {"app", "service"} & {*alert.keys}:
        yield f"grouped by {alert.keys}"
    if not isinstance(alert, StatusAlert):
        if not 0 < alert.last <= LONGEST_HOURS * 3600:
            yield f"window of {alert.last} seconds"
        yield from find_faults_of_thresholds(alert.operator, alert.critical, thresholds)
    known = {*alert.keys, "value"} | ({"check_message"} if isinstance(alert, StatusAlert) else set())
    for text in (definition["name"], definition["message"]):
        yield from find_faults_of_text(text, known)


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
        yield "only one of renotify_interval and renotify_statuses is set"
    for heading in ("## What it means", "## What to look at first\n\n1. "):
        if heading not in definition["message"]:
            yield f"message without {heading}"
    lines = [line for line in definition["message"].splitlines() if line and not line.startswith("{{")]
    if len(lines) > MOST_LINES:
        yield f"a message of {len(lines)} lines"
    yield from find_unknown_names(json.dumps(monitor))


def find_faults_of_thresholds(operator: str, critical: float, thresholds: Json) -> Iterator[str]:
    if thresholds["critical"] != critical:
        yield f"thresholds: {thresholds}"
    warning = thresholds.get("warning")
    sign = 1 if operator.startswith(">") else -1
    if warning is not None and sign * warning >= sign * critical:
        yield "warns later than it alerts"
    for level in ("critical", "warning"):
        recovery = thresholds.get(f"{level}_recovery")
        if recovery is not None and (level not in thresholds or sign * recovery >= sign * thresholds[level]):
            yield f"the {level} recovers before it is over"


def find_faults_of_service_check(alert: StatusAlert, thresholds: Json) -> Iterator[str]:
    if alert.check not in SERVICE_CHECKS:
        yield f"no such service check: {alert.check}"
    # https://docs.datadoghq.com/monitors/types/service_check: one more than the highest threshold.
    if not 0 < max(thresholds.values()) == alert.count - 1 < 100:
        yield f"thresholds: {thresholds} of {alert.count}"


def find_faults_of_metrics(queries: list[metric_queries.MetricQuery]) -> Iterator[str]:
    for query in queries:
        yield from metric_queries.find_faults(query)
    yield from metric_queries.find_faults_of_sum([query for query in queries if query.code])


def find_faults_of_text(text: str, known: set[str]) -> Iterator[str]:
    opened = []
    for sign, name in BLOCK.findall(text):
        if sign != "/":
            opened.append(name)
        elif not opened or opened.pop() != name:
            yield f"{name} is closed but not open"
    if opened:
        yield f"{opened} stay open"
    rest = BLOCK.sub("", text)
    for name, of_tag in VARIABLE.findall(rest):
        if name not in known or (name in {"value", "check_message"}) == bool(of_tag):
            yield f"no such variable: {name}{of_tag}"
    if "{{" in VARIABLE.sub("", rest):
        yield "stray braces"
