"""Which monitors alert in each story; `python -m tests.assets.stories` shows when."""

import json
from collections.abc import Iterator

import pytest

from tests.assets.test_monitors import MONITORS
from tests.gunicorn_server import newest

from .catalogue import BEGIN, FAILURES, MINUTE, ORDINARY
from .replay import ALERT, WARN, Change, replay
from .telemetry import Telemetry

STORIES = {**ORDINARY, **FAILURES}
# Monitors broken on purpose, by the story that notices: the monitor, and which text is replaced by which.
BROKEN = {
    "deployments": [
        ("not_running", '"critical": 5', '"critical": 3'),
        ("worker_memory", "43200", "0"),
    ],
    "stopped, and the host switched off": [
        ("not_running", '"timeout_h": 1', '"timeout_h": 24'),
    ],
    "stopped": [
        ("not_running", '"critical": 5', '"critical": 30'),
    ],
    "pods": [
        ("connections_queued", "rollup(min, 60)", "rollup(max, 60)"),
        ("connections_queued", "rollup(min, 60)", "rollup(avg, 60)"),
    ],
    "autoscaling": [
        ("connections_queued", "default_zero(", "("),
        ("crash_loop", "600 -", "0 -"),
    ],
    "gevent": [
        ("connections_queued", "state:queued", "state:accepted"),
        ("pool_full", ",worker_class:sync", ""),
        ("cpu_used_up", " / sum:", " * sum:"),
    ],
    "nearly full": [
        ("connections_queued", '"warning": 0.5', '"warning": 0.79'),
    ],
    "sync": [
        ("pool_full", '"critical": 0.9', '"critical": 0.6'),
    ],
    "small requests": [
        ("cpu_used_up", '"critical": 90', '"critical": 60'),
    ],
    "HUP": [
        (
            "crash_loop",
            "max(last_5m):max:gunicorn.worker.age.max{*} by {app,host}.rollup(max",
            "min(last_5m):max:gunicorn.worker.age.max{*} by {app,host}.rollup(min",
        ),
        ("worker_stuck", "heartbeat.age.max", "age.max"),
    ],
    "max-requests 1000, one worker": [
        ("crash_loop", '"critical": 10', '"critical": 30'),
    ],
    "night": [
        ("worker_memory", "43200", "18000"),
    ],
    "leak": [
        ("worker_memory", "4h_ago", "1h_ago"),
    ],
    "idle": [
        ("worker_stuck", '"critical": 20', '"critical": 14'),
        ("server_errors", '"critical": 10', '"critical": 0'),
    ],
    "errors": [
        ("server_errors", "0.05", "0.2"),
    ],
    "hangs": [
        ("worker_timeouts", "WORKER TIMEOUT", "WORKER STOP"),
        ("worker_crashes", "exited with code 1", "exited with code 2"),
        ("worker_timeouts", '"critical": 2', '"critical": 50'),
    ],
    "out of memory": [
        ("worker_crashes", '"critical": 0', '"critical": 1'),
    ],
}


def replay_all(monitors: dict, telemetry: Telemetry) -> dict[str, list[Change]]:
    return {name: replay(monitor, telemetry) for name, monitor in monitors.items()}


def find_faults(name: str, changes: dict[str, list[Change]]) -> Iterator[str]:
    """Yield what these monitors did wrongly, or too late."""
    story = STORIES[name]
    for monitor, found in changes.items():
        states = zip([None, *(change.state for change in found)], found, strict=False)
        alerts = [to_minutes(change) for before, change in states if change.state == ALERT != before]
        alarms = [change for change in found if change.state in {ALERT, WARN}]
        if monitor in story.warns:
            if alerts or not alarms:
                yield f"{monitor} does not only warn: {alarms[:3]}"
            continue
        if monitor not in story.alarms:
            if alarms:
                yield f"{monitor}: {alarms[:3]}"
            continue
        if not alerts or not 0 < alerts[0] <= story.alarms[monitor]:
            yield f"{monitor} alerts after {alerts} minutes"
            continue
        if len(alerts) > 1 and monitor not in story.over:
            yield f"{monitor} alerts {len(alerts)} times"
        ends = [to_minutes(change) for change in found if change.state != ALERT and to_minutes(change) > alerts[0]]
        if monitor in story.until and ends and ends[0] < story.until[monitor]:
            yield f"{monitor} is over after {ends[0]} minutes"
        if monitor in story.over and (found[-1].state == ALERT or ends[-1] > story.over[monitor]):
            yield f"{monitor} is not over after {story.over[monitor]} minutes"


def to_minutes(change: Change) -> float:
    return (change.time - BEGIN) / MINUTE


@pytest.mark.parametrize("name", STORIES)
def test_the_right_monitors_alert_in_a_story(name):
    telemetry = STORIES[name].simulate()
    assert list(find_faults(name, replay_all(MONITORS, telemetry))) == []
    for monitor, right, wrong in BROKEN.get(name, ()):
        text = json.dumps(MONITORS[monitor])
        assert right in text
        changes = replay_all({monitor: json.loads(text.replace(right, wrong))}, telemetry)
        assert list(find_faults(name, changes)) != [], f"{wrong} in {monitor} is not noticed"


@newest
@pytest.mark.soak
@pytest.mark.parametrize("name", ORDINARY)
def test_no_monitor_alerts_in_two_ordinary_weeks(name):
    assert list(find_faults(name, replay_all(MONITORS, STORIES[name].simulate(weeks=2)))) == []
