"""Which monitor alerts in which story; `pytest -s` shows when."""

import functools
import json
from collections.abc import Iterator

import pytest

from tests.assets.test_monitors import MONITORS
from tests.gunicorn_server import newest

from .catalogue import BEGIN, FAILURES, MINUTE, ORDINARY
from .replay import ALERT, WARN, Change, replay
from .telemetry import Telemetry

STORIES = {**ORDINARY, **FAILURES}


@functools.cache
def tell(name: str) -> Telemetry:
    return STORIES[name].tell()


def replay_all(name: str, monitors: dict) -> dict[str, list[Change]]:
    return {title: replay(monitor, tell(name)) for title, monitor in monitors.items()}


def find_faults(name: str, changes: dict[str, list[Change]]) -> Iterator[str]:
    """Yield what these monitors should not have done, or not so late."""
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
def test_a_story(name):
    changes = replay_all(name, MONITORS)
    assert list(find_faults(name, changes)) == []


@newest
@pytest.mark.soak
@pytest.mark.parametrize("name", ORDINARY)
def test_two_weeks(name):
    telemetry = STORIES[name].tell(weeks=2)
    changes = {title: replay(monitor, telemetry) for title, monitor in MONITORS.items()}
    assert list(find_faults(name, changes)) == []


@pytest.mark.parametrize(
    ("monitor", "right", "wrong", "story"),
    [
        ("not_running", '"critical": 5', '"critical": 3', "deployments"),
        ("not_running", '"timeout_h": 1', '"timeout_h": 24', "stopped, and the host switched off"),
        ("not_running", '"critical": 5', '"critical": 30', "stopped"),
        ("connections_queued", "rollup(min, 60)", "rollup(max, 60)", "pods"),
        ("connections_queued", "rollup(min, 60)", "rollup(avg, 60)", "pods"),
        ("connections_queued", "default_zero(", "(", "autoscaling"),
        ("connections_queued", "state:queued", "state:accepted", "gevent"),
        ("connections_queued", '"warning": 0.5', '"warning": 0.79', "nearly full"),
        ("pool_full", '"critical": 0.9', '"critical": 0.6', "sync"),
        ("pool_full", ",worker_class:sync", "", "gevent"),
        ("cpu_used_up", '"critical": 90', '"critical": 60', "small requests"),
        ("cpu_used_up", " / sum:", " * sum:", "gevent"),
        (
            "crash_loop",
            "max(last_5m):max:gunicorn.worker.age.max{*} by {app,host}.rollup(max",
            "min(last_5m):max:gunicorn.worker.age.max{*} by {app,host}.rollup(min",
            "HUP",
        ),
        ("crash_loop", '"critical": 10', '"critical": 30', "max-requests 1000, one worker"),
        ("crash_loop", "600 -", "0 -", "autoscaling"),
        ("worker_memory", "43200", "0", "deployments"),
        ("worker_memory", "43200", "18000", "night"),
        ("worker_memory", "4h_ago", "1h_ago", "leak"),
        ("worker_stuck", '"critical": 20', '"critical": 14', "idle"),
        ("worker_stuck", "heartbeat.age.max", "age.max", "HUP"),
        ("server_errors", '"critical": 10', '"critical": 0', "idle"),
        ("server_errors", "0.05", "0.2", "errors"),
        ("worker_timeouts", "WORKER TIMEOUT", "WORKER STOP", "hangs"),
        ("worker_crashes", "exited with code 1", "exited with code 2", "hangs"),
        ("worker_crashes", '"critical": 0', '"critical": 1', "out of memory"),
        ("worker_timeouts", '"critical": 2', '"critical": 50', "hangs"),
    ],
)
def test_a_broken_query_is_noticed(monitor, right, wrong, story):
    text = json.dumps(MONITORS[monitor])
    assert right in text
    broken = json.loads(text.replace(right, wrong))
    assert list(find_faults(story, replay_all(story, {monitor: broken}))) != []
