"""The states that a monitor goes through over telemetry."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from . import log_alerts, metric_alerts, status_alerts
from .metric_alerts import COMPARISONS, MINUTE, UnknownGrammarError
from .telemetry import Telemetry

Json = dict[str, Any]
ALERT, WARN, OK, NO_DATA = "Alert", "Warn", "OK", "No Data"


class Change(NamedTuple):
    """A group of a monitor changes its state, or its alert is notified again; the time in seconds."""

    time: float
    group: tuple[str, ...]
    state: str


def replay(monitor: Json, telemetry: Telemetry) -> list[Change]:
    """Evaluate a monitor's definition every minute, or at every status, from the beginning to the end.

    Raises:
        UnknownGrammarError: The evaluator does not know the type or the query.

    """
    definition = monitor["definition"]
    match definition["type"]:
        case "query alert":
            alert = metric_alerts.parse(definition["query"])
            groups = metric_alerts.evaluate(alert, telemetry)
            full, comparison = alert.last + (alert.ago or 0), COMPARISONS[alert.operator]
        case "log alert":
            groups = log_alerts.evaluate(log_alerts.parse(definition["query"]), telemetry)
            full, comparison = 0, COMPARISONS[">"]
        case "service check":
            return sorted(replay_statuses(status_alerts.parse(definition["query"]), definition["options"], telemetry))
        case unknown:
            raise UnknownGrammarError(unknown)
    options = definition["options"]
    wait = max(options.get("new_group_delay", 0), full if options.get("require_full_window") else 0)
    changes = []
    for group, born, values in groups:
        state = OK
        for minute, value in enumerate(values, start=1):
            if minute * MINUTE < born + wait:
                continue
            new = judge(value, state, options, comparison)
            if new != state:
                changes.append(Change(minute * MINUTE, group, new))
                state = new
    return sorted(changes)


def judge(value: float | None, state: str, options: Json, comparison: Any) -> str:
    """Return the state that follows; an alarm lasts until its recovery threshold, if it has one, is no longer met."""
    if value is None:
        return OK if options["on_missing_data"] == "resolve" else NO_DATA
    thresholds = options["thresholds"]
    alert, warn = thresholds["critical"], thresholds.get("warning")
    if comparison(value, thresholds.get("critical_recovery", alert) if state == ALERT else alert):
        return ALERT
    if warn is not None and comparison(value, thresholds.get("warning_recovery", warn) if state != OK else warn):
        return WARN
    return OK


def replay_statuses(alert: status_alerts.StatusAlert, options: Json, telemetry: Telemetry) -> Iterator[Change]:
    needed = {"CRITICAL": options["thresholds"]["critical"], "OK": options["thresholds"]["ok"]}
    timeout, again = options["timeout_h"] * 3600, options["renotify_interval"] * MINUTE
    for group, statuses in status_alerts.find_statuses(alert, telemetry):
        state, streak, previous, notified = OK, 0, "", 0.0
        born, last = statuses[0][0], statuses[0][0]
        for time, status in [*statuses, (telemetry.end, "")]:
            while state == ALERT and again and notified + again <= min(time, last + timeout):
                notified += again
                yield Change(notified, group, ALERT)
            if state == ALERT and timeout and time - last >= timeout:
                state = OK
                yield Change(last + timeout, group, OK)
            if not status:
                break
            streak = min(streak + 1, alert.count) if status == previous else 1
            previous, last = status, time
            wanted = {"CRITICAL": ALERT, "OK": OK}[status]
            if time >= born + options["new_group_delay"] and streak >= needed[status] and wanted != state:
                state, notified = wanted, time
                yield Change(time, group, state)
