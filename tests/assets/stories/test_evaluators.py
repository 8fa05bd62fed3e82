"""The evaluators themselves, on a few points: what they compute, and that they reject what they do not know."""

import pytest

from . import log_alerts, metric_alerts, status_alerts
from .metric_alerts import UnknownGrammarError
from .replay import ALERT, NO_DATA, OK, Change, replay
from .telemetry import Telemetry

TAGS = frozenset({"app:shop", "host:web-1"})
GROUP = ("shop", "web-1")
QUEUED = "sum:gunicorn.connections{state:queued} by {app,host}.rollup(max, 60)"


def send(metric, *values, interval=60, tags=TAGS):
    """Send a value in the middle of each interval; None is a gap."""
    telemetry = Telemetry()
    for index, value in enumerate(values):
        if value is not None:
            telemetry.send((index + 0.5) * interval, metric, value, tags)
    telemetry.end = len(values) * interval
    return telemetry


def values_of(query, telemetry):
    ((group, _, values),) = metric_alerts.evaluate(metric_alerts.parse(query), telemetry)
    assert group == GROUP
    return values


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("avg(last_2m):{}", [1, 2, 3, 4, 4]),
        ("max(last_2m):{}", [1, 3, 3, 5, 5]),
        ("min(last_2m):{}", [1, 1, 3, 3, 3]),
        ("sum(last_3m):{}", [1, 4, 7, 11, 11]),
        ("avg(last_1m):2 * {} + 1 - {} / 2", [2.5, 5.5, 5.5, 8.5, 5.5]),
        ("avg(last_1m):clamp_max({}, 2)", [1, 2, 2, 2, 2]),
        ("avg(last_1m):clamp_min({}, 2)", [2, 3, 3, 5, 3]),
        ("avg(last_1m):cutoff_min({}, 3)", [None, 3, 3, 5, 3]),
        ("avg(last_1m):cutoff_max({}, 3)", [1, 3, 3, None, 3]),
        ("avg(last_1m):1 / ({} - 3)", [-0.5, None, None, 0.5, None]),
        ("change(avg(last_1m),2m_ago):{}", [None, None, 2, 2, 0]),
    ],
)
def test_an_expression_is_evaluated_every_minute(expression, values):
    telemetry = send("gunicorn.connections", 1, 3, 3, 5, 3, tags=TAGS | {"state:queued"})
    assert values_of(expression.format(QUEUED, QUEUED) + " > 1", telemetry) == values


def test_gaps_of_a_gauge_are_interpolated_for_five_minutes():
    telemetry = send("gunicorn.uptime", 1, None, 3, None, None, None, None, None, 9)
    query = "avg(last_1m):max:gunicorn.uptime{*} by {app,host}.rollup(max, 60) > 1"
    assert values_of(query, telemetry) == [1, 2, 3, None, None, None, None, None, 9]


def test_clamp_and_default_zero_fill_gaps():
    telemetry = send("gunicorn.uptime", 5, *[None] * 7, 5)
    uptime = "max:gunicorn.uptime{*} by {app,host}.rollup(max, 60)"
    assert values_of(f"max(last_3m):clamp_min({uptime}, 9) > 1", telemetry) == [9, 9, 9, *[None] * 5, 9]
    assert values_of(f"min(last_3m):default_zero({uptime}) > 1", telemetry) == [5, 0, 0, *[None] * 5, 0]


def test_series_are_rolled_up_before_they_are_aggregated():
    telemetry = send("gunicorn.connections", 1, 5, 9, 1, interval=15, tags=TAGS | {"state:queued", "listener:a"})
    for time, value in ((10, 2), (50, 4)):
        telemetry.send(time, "gunicorn.connections", value, TAGS | {"state:queued", "listener:b"})
        telemetry.send(time, "gunicorn.connections", 100, TAGS | {"state:accepted", "listener:b"})
        telemetry.send(time, "gunicorn.connections", 100, frozenset({"app:shop", "state:queued"}))
    query = "avg(last_1m):{}:gunicorn.connections{{state:queued}} by {{app,host}}.rollup({}, 60) > 1"
    found = {
        (space, roll): values_of(query.format(space, roll), telemetry)[0]
        for space in ("sum", "min")
        for roll in ("avg", "max")
    }
    assert found == {("sum", "avg"): 7, ("sum", "max"): 13, ("min", "avg"): 3, ("min", "max"): 4}


def test_counts_are_summed_before_the_arithmetic():
    telemetry = send("gunicorn.requests", 10, None, 30)
    telemetry.send(150, "gunicorn.request.status.500", 8, TAGS)
    query = "sum(last_3m):{} / {} > 1".format(
        *(f"sum:gunicorn.{name}{{*}} by {{app,host}}.as_count()" for name in ("request.status.500", "requests"))
    )
    assert values_of(query, telemetry) == [0, 0, 0.2]


@pytest.mark.parametrize(
    "query",
    [
        "avg(last_5m):sum:gunicorn.workers{*} by {app,host} > 1",
        "avg(last_5m):sum:gunicorn.workers{*}.rollup(avg, 60) > 1",
        "percentile(last_5m):sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60) > 1",
        "pct_change(avg(last_5m),1h_ago):sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60) > 1",
        "avg(last_5m):sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60) != 1",
        "avg(last_5m):sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60) ** 2 > 1",
        "avg(last_5m):abs(sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60)) > 1",
        "avg(last_5m):clamp_min(sum:gunicorn.workers{*} by {app,host}.rollup(avg, 60)) > 1",
        "avg(last_5m):sum:gunicorn.workers{*} by {app,host}.fill(zero).rollup(avg, 60) > 1",
        "avg(last_5m):sum:gunicorn.requests{*} by {app,host}.as_count() > 1",
        "sum(last_5m):clamp_min(sum:gunicorn.requests{*} by {app,host}.as_count(), 1) > 1",
        f"avg(last_5m):{QUEUED} / sum:gunicorn.uptime{{*}} by {{app}}.rollup(avg, 60) > 1",
        f"avg(last_5m):{QUEUED} / sum:gunicorn.uptime{{*}} by {{app,host}}.rollup(avg, 30) > 1",
        f"avg(last_5m):default_zero({QUEUED}) / {QUEUED} > 1",
        "avg(last_5m):1 > 1",
        "avg(last_5m):q0 > 1",
    ],
)
def test_an_unknown_metric_query_is_an_error(query):
    with pytest.raises(UnknownGrammarError):
        metric_alerts.parse(query)


LOGS = 'logs("{}").index("*").rollup("count").by("host").last("5m") > 0'


@pytest.mark.parametrize(
    "query",
    [
        LOGS.format("WORKER"),
        LOGS.format("source:gunicorn WORKER"),
        LOGS.format("source:gunicorn @evt.name:worker_timeout"),
        LOGS.format('source:gunicorn (\\"a\\" AND \\"b\\")'),
        LOGS.format('source:gunicorn \\"a*\\"'),
        LOGS.format('source:gunicorn \\"a\\"').replace("count", "cardinality"),
        LOGS.format('source:gunicorn \\"a\\"').replace("> 0", "< 1"),
    ],
)
def test_an_unknown_log_query_is_an_error(query):
    with pytest.raises(UnknownGrammarError):
        log_alerts.parse(query)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ('\\"worker timeout\\"', True),
        ('\\"TIMEOUT pid\\"', True),
        ('\\"WORKER pid\\"', False),
        ('\\"TIME\\"', False),
        ('-\\"DIRTY WORKER\\"', True),
        ('\\"WORKER\\" -\\"TIMEOUT\\"', False),
        ('(\\"one\\" OR \\"worker\\") -(\\"two\\" OR \\"three\\")', True),
        ('-(\\"one\\" OR \\"worker\\")', False),
    ],
)
def test_a_search_matches_phrases(search, found):
    alert = log_alerts.parse(LOGS.format(f"source:gunicorn {search}"))
    assert alert.matches("[2026-11-20 10:46:17 +0000] [9] [CRITICAL] WORKER TIMEOUT (pid:11)") == found


def test_log_lines_are_counted_in_the_window():
    telemetry = Telemetry()
    telemetry.end = 600
    for time in (30, 90, 100, 400):
        telemetry.log(time, "a", TAGS)
    ((_, _, counts),) = log_alerts.evaluate(log_alerts.parse(LOGS.format('source:gunicorn \\"a\\"')), telemetry)
    assert counts == [1, 3, 3, 3, 3, 2, 1, 1, 1, 1]


def test_an_unknown_status_query_is_an_error():
    with pytest.raises(UnknownGrammarError):
        status_alerts.parse('"gunicorn.is_running".over("host:a").by("app").last(4).count_by_status()')


def monitor(kind, query, **options):
    return {"definition": {"type": kind, "query": query, "options": options}}


def test_a_status_monitor_counts_statuses_in_a_row():
    telemetry = Telemetry()
    statuses = ["CRITICAL", "CRITICAL", "OK", "CRITICAL", "CRITICAL", "CRITICAL", "CRITICAL", "OK"]
    for index, status in enumerate(statuses):
        telemetry.report(index * 15, "gunicorn.is_running", status, TAGS)
    telemetry.end = 10_000
    query = '"gunicorn.is_running".over("*").by("app","host").last(4).count_by_status()'
    options = {"thresholds": {"critical": 3, "ok": 1}, "timeout_h": 1, "new_group_delay": 0, "renotify_interval": 0}
    alert = monitor("service check", query, **options)
    assert replay(alert, telemetry) == [Change(75, GROUP, ALERT), Change(105, GROUP, OK)]
    telemetry.statuses["gunicorn.is_running"][TAGS].pop()
    assert replay(alert, telemetry) == [Change(75, GROUP, ALERT), Change(90 + 3600, GROUP, OK)]
    again = monitor("service check", query, **{**options, "renotify_interval": 30})
    assert [change.time for change in replay(again, telemetry)] == [75, 75 + 1800, 75 + 3600, 90 + 3600]


def test_a_metric_monitor_changes_its_state():
    telemetry = send("gunicorn.uptime", 1, 1, 9, 9, None, 1)
    query = "max(last_1m):max:gunicorn.uptime{*} by {app,host}.rollup(max, 60) > 5"
    options = {"thresholds": {"critical": 5}, "on_missing_data": "show_no_data", "require_full_window": False}
    # The gap is interpolated: (9 + 1) / 2 is not above 5.
    changes = [Change(180, GROUP, ALERT), Change(300, GROUP, OK)]
    assert replay(monitor("query alert", query, **options), telemetry) == changes
    longer = send("gunicorn.uptime", 9, *[None] * 6, 9)
    states = [Change(60, GROUP, ALERT), Change(120, GROUP, NO_DATA), Change(480, GROUP, ALERT)]
    assert replay(monitor("query alert", query, **options), longer) == states
    late = monitor("query alert", query, **options, new_group_delay=240)
    assert replay(late, telemetry) == [Change(240, GROUP, ALERT), Change(300, GROUP, OK)]
