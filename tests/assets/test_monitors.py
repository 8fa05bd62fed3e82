import json
import re

import pytest

from .declared import ASSETS
from .monitors import find_all_faults

TEXTS = {path.stem: path.read_text() for path in sorted((ASSETS / "monitors").iterdir())}
MONITORS = {name: json.loads(text) for name, text in TEXTS.items()}


def query(name):
    return MONITORS[name]["definition"]["query"]


def test_there_is_a_monitor_for_each_alert():
    assert list(MONITORS) == [
        "connections_queued",
        "no_idle_worker",
        "not_running",
        "server_errors",
        "worker_churn",
        "worker_memory",
        "worker_timeouts",
    ]


@pytest.mark.parametrize("name", MONITORS)
def test_nothing_is_wrong_with_it(name):
    assert find_all_faults(MONITORS[name]) == []


@pytest.mark.parametrize("name", MONITORS)
def test_it_is_indented_by_two(name):
    assert json.dumps(MONITORS[name], indent=2) + "\n" == TEXTS[name]


def test_titles_are_unique():
    assert len({monitor["title"] for monitor in MONITORS.values()}) == len(MONITORS)


def test_a_server_without_workers_is_not_one_without_idle_workers():
    # 0 divided by 0 has no value, and without a value there is no alert.
    idle, working = (f"sum:gunicorn.workers{{state:{state}}} by {{app,host}}" for state in ("idle", "*"))
    assert query("no_idle_worker") == f"max(last_10m):100 * {idle} / {working} <= 0"


def test_a_queue_counts_when_it_stays():
    assert re.match(r"min\(last_5m\):.*\{app,host,listener\}\.rollup\(min\) >= 1$", query("connections_queued"))


def test_server_errors_are_relative_to_requests():
    assert "/ sum:gunicorn.requests{*} by {app,host}.as_count()" in query("server_errors")
    assert all(f"status.{code}{{" in query("server_errors") for code in (500, 502, 503, 504))


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("not_running", "gunicorn.is_running", "gunicorn.running"),
        ("not_running", '"critical": 3', '"critical": 5'),
        ("not_running", '\\"app\\",', ""),
        ("not_running", "service check", "query alert"),
        ("not_running", '"notify_no_data": false', '"notify_no_data": "no"'),
        ("not_running", '"notify_no_data": false', '"on_missing_data": "default"'),
        ("not_running", "{{check_message}}", "{{check_message.name}}"),
        ("not_running", '"priority": 1', '"priority": 0'),
        ("not_running", '"timeout_h": 24', '"timeout_h": 48'),
        ("no_idle_worker", "{state:*}", "{*}"),
        ("no_idle_worker", "{state:idle}", "{state:sleeping}"),
        ("no_idle_worker", "{{app.name}}", "{{listener.name}}"),
        ("no_idle_worker", '"critical": 0', '"critical": 1'),
        ("no_idle_worker", "max(last_10m)", "median(last_10m)"),
        ("no_idle_worker", '"require_full_window": true, ', ""),
        ("connections_queued", "{state:queued}", "{state:waiting}"),
        ("connections_queued", "gunicorn.connections{state:accepted}", "gunicorn.connection{state:accepted}"),
        ("connections_queued", "{app,host,listener}", "{app,listener}"),
        ("connections_queued", '"show_no_data"', '"show"'),
        ("worker_churn", "last_30m", "last_3000m"),
        ("worker_churn", ".as_rate()", ""),
        ("worker_churn", ".as_rate()", ".as_count()"),
        ("worker_churn", "by {app,host} > 3", "by {app} > 3"),
        ("worker_churn", '"warning": 2', '"warning": 4'),
        ("worker_churn", "@evt.name:worker_*", "@evt.name:arbiter_*"),
        ("worker_memory", "max:gunicorn.memory.rss.max", "sum:gunicorn.memory.rss.max"),
        ("worker_memory", "process_role:worker", "process_role:wroker"),
        ("worker_memory", "4h_ago", "3h_ago"),
        ("worker_memory", '"created_at": "2026-11-21"', '"created_at": "2026-11-22"'),
        ("server_errors", "sum:gunicorn.request.status.502{*} by {app,host}.as_count() + ", ""),
        ("server_errors", "status.503{", "status.500{"),
        ("server_errors", "sum(last_15m)", "avg(last_15m)"),
        ("server_errors", "gunicorn.requests{", "gunicorn.request{"),
        ("server_errors", '"renotify_interval": 60', '"renotify_interval": "60"'),
        ("worker_timeouts", 'worker_timeout\\")', 'worker_slow\\")'),
        ("worker_timeouts", "@evt.name:worker_timeout", "@event.name:worker_timeout"),
        ("worker_timeouts", "source:gunicorn ", ""),
        ("worker_timeouts", '(\\"service,host\\")', '(\\"service\\")'),
        ("worker_timeouts", "{{/is_recovery}}", ""),
        ("worker_timeouts", "## What to do first", "## Hints"),
        ("worker_timeouts", '"version": 2', '"version": 1'),
        ("worker_timeouts", "integration:gunicorn", "integration:nginx"),
        ("worker_timeouts", '"name": "[Gunicorn] ', '"name": "'),
    ],
)
def test_a_fault_is_found(name, right, wrong):
    text = json.dumps(MONITORS[name])
    assert right in text
    assert find_all_faults(json.loads(text.replace(right, wrong, 1))) != []


def test_a_description_has_its_length():
    monitor = MONITORS["not_running"]
    assert find_all_faults({**monitor, "description": "x" * 300}) == []
    assert find_all_faults({**monitor, "description": "x" * 301}) != []
