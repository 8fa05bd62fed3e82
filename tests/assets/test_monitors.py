import json

import pytest

from .declared import ASSETS
from .monitors import find_all_faults

TEXTS = {path.stem: path.read_text() for path in sorted((ASSETS / "monitors").iterdir())}
MONITORS = {name: json.loads(text) for name, text in TEXTS.items()}


def test_there_is_a_monitor_for_each_alert():
    assert list(MONITORS) == [
        "connections_queued",
        "cpu_used_up",
        "crash_loop",
        "not_running",
        "pool_full",
        "server_errors",
        "worker_crashes",
        "worker_memory",
        "worker_stuck",
        "worker_timeouts",
    ]


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_has_no_faults(name):
    assert find_all_faults(MONITORS[name]) == []


@pytest.mark.parametrize("name", MONITORS)
def test_the_file_is_indented_by_two_spaces(name):
    assert json.dumps(MONITORS[name], indent=2) + "\n" == TEXTS[name]


def test_titles_are_unique():
    assert len({monitor["title"] for monitor in MONITORS.values()}) == len(MONITORS)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("not_running", "gunicorn.is_running", "gunicorn.running"),
        ("not_running", '"critical": 5', '"critical": 7'),
        ("not_running", '\\"app\\",', ""),
        ("not_running", "service check", "query alert"),
        ("not_running", '"notify_no_data": false', '"notify_no_data": "no"'),
        ("not_running", '"notify_no_data": false', '"on_missing_data": "default"'),
        ("not_running", "{{check_message}}", "{{check_message.name}}"),
        ("not_running", '"priority": 1', '"priority": 0'),
        ("not_running", '"timeout_h": 1', '"timeout_h": 48'),
        ("cpu_used_up", "{state:*}", "{*}"),
        ("cpu_used_up", "{state:*}", "{state:sleeping}"),
        ("cpu_used_up", "{{app.name}}", "{{listener.name}}"),
        ("cpu_used_up", '"critical": 90', '"critical": 80'),
        ("cpu_used_up", "avg(last_15m)", "median(last_15m)"),
        ("cpu_used_up", '"require_full_window": true, ', ""),
        ("cpu_used_up", "process_role:worker", "process_role:wroker"),
        ("connections_queued", "{state:queued}", "{state:waiting}"),
        ("connections_queued", "gunicorn.connections{state:accepted}", "gunicorn.connection{state:accepted}"),
        ("connections_queued", "{app,host,listener}", "{app,listener}"),
        ("connections_queued", '"show_no_data"', '"show"'),
        ("connections_queued", '"warning": 0.5', '"warning": 0.9'),
        ("pool_full", "by {app,host}.rollup(avg, 60) / ", "by {app}.rollup(avg, 60) / "),
        ("connections_queued", '"critical_recovery": 0.4', '"critical_recovery": 0.9'),
        ("crash_loop", "last_5m", "last_3000m"),
        ("crash_loop", "max:gunicorn.uptime", "sum:gunicorn.uptime"),
        ("crash_loop", "2. Signal", "2.\\n3.\\n4. Signal"),
        ("worker_memory", "max:gunicorn.memory.rss.max", "sum:gunicorn.memory.rss.max"),
        ("worker_memory", '"created_at": "2026-11-21"', '"created_at": "2026-11-22"'),
        ("worker_stuck", "gunicorn.worker.heartbeat.age.max{", "gunicorn.worker.heartbeat.age{"),
        ("server_errors", "sum:gunicorn.request.status.502{*} by {app,host}.as_count() + ", ""),
        ("server_errors", "status.503{", "status.500{"),
        ("server_errors", "sum(last_15m)", "avg(last_15m)"),
        ("server_errors", "gunicorn.requests{", "gunicorn.request{"),
        ("server_errors", '"renotify_interval": 60', '"renotify_interval": "60"'),
        ("server_errors", "@evt.name:request_failed", "@event.name:request_failed"),
        ("worker_timeouts", "source:gunicorn ", ""),
        ("worker_timeouts", '(\\"service,host\\")', '(\\"service\\")'),
        ("worker_timeouts", "{{/is_recovery}}", ""),
        ("worker_timeouts", "## What to look at first", "## Hints"),
        ("worker_timeouts", '"version": 2', '"version": 1'),
        ("worker_timeouts", "integration:gunicorn", "integration:nginx"),
        ("worker_timeouts", '"name": "[Gunicorn] ', '"name": "'),
    ],
)
def test_a_fault_is_found(name, right, wrong):
    text = json.dumps(MONITORS[name])
    assert right in text
    assert find_all_faults(json.loads(text.replace(right, wrong, 1))) != []


def test_a_description_has_at_most_300_characters():
    monitor = MONITORS["not_running"]
    assert find_all_faults({**monitor, "description": "x" * 300}) == []
    assert find_all_faults({**monitor, "description": "x" * 301}) != []
