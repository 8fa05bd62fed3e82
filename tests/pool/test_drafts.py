from types import SimpleNamespace

import pytest

from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.pool.drafts import Draft
from datadog_checks.gunicorn.pool.looks import FirstLook, SecondLook
from datadog_checks.gunicorn.pool.results import Health

MASTER, WORKER = Identity(1, 10.0), Identity(2, 20.0)


@pytest.mark.parametrize(
    ("what", "first", "second", "masters", "health"),
    [
        ("workers", {}, {"workers": {WORKER: 0.0}}, {MASTER}, Health.WELL),
        ("workers before the wait only", {"has_workers": True}, {}, {MASTER}, Health.VANISHED),
        ("a process that could not be read before the wait", {"complete": False}, {}, {MASTER}, Health.UNCLEAR),
        ("a process that could not be read after the wait", {}, {"complete": False}, {MASTER}, Health.UNCLEAR),
        ("no master any more", {}, {}, set(), Health.GONE),
        ("another master", {}, {}, {WORKER}, Health.UNCLEAR),
        ("no worker in any look", {}, {}, {MASTER}, Health.WITHOUT_WORKERS),
        ("a fork during the run", {}, {"last_fork": 100.0}, {MASTER}, Health.UNCLEAR),
        ("a fork just before the run", {"last_fork": 99.5}, {}, {MASTER}, Health.UNCLEAR),
        ("a helper", {"last_fork": 98.9}, {"last_fork": 98.9}, {MASTER}, Health.WITHOUT_WORKERS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_health_of_a_server(what, first, second, masters, health):
    server = SimpleNamespace(masters=dict.fromkeys(masters))
    draft = Draft(server, frozenset([MASTER]), FirstLook(at=100.0, **first), SecondLook(at=100.1, **second))
    assert draft.judge() is health


def test_a_fork_that_one_look_saw_is_remembered():
    server = SimpleNamespace(masters={MASTER: None}, sample=lambda _: SecondLook(at=100.2))
    draft = Draft(server, frozenset([MASTER]), FirstLook(at=100.0), SecondLook(at=100.1, last_fork=100.1))
    assert draft.look_again().judge() is Health.UNCLEAR
