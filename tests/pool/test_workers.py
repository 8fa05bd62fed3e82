import pytest

from datadog_checks.gunicorn.pool.workers import Churn, States, count_churn, count_states
from datadog_checks.gunicorn.servers.applications import Identity

A, B, C = Identity(1, 1.0), Identity(2, 1.0), Identity(3, 1.0)


@pytest.mark.parametrize(
    ("what", "first", "second", "states"),
    [
        ("no worker", {}, {}, States(idle=0, working=0)),
        ("one used no CPU", {A: 0.5}, {A: 0.5}, States(idle=1, working=0)),
        ("one used the least the kernel counts", {A: 0.5}, {A: 0.51}, States(idle=0, working=1)),
        ("each on its own", {A: 0.5, B: 9, C: 0}, {A: 0.5, B: 9.1, C: 0}, States(idle=2, working=1)),
        ("one vanished", {A: 0.5, B: 1}, {B: 1}, States(idle=1, working=0)),
        ("a new one that used CPU", {A: 0.5}, {A: 0.5, B: 0.01}, States(idle=1, working=1)),
        ("a new one that used none", {A: 0.5}, {A: 0.5, B: 0}, States(idle=2, working=0)),
        ("another process with the same pid", {A: 9}, {A._replace(create_time=2.0): 0.01}, States(idle=0, working=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_states(what, first, second, states):
    assert count_states(first, second) == states


@pytest.mark.parametrize(
    ("what", "before", "seen", "alive", "churn"),
    [
        ("nothing happened", {A, B}, {A, B}, {A, B}, Churn(started=0, exited=0)),
        ("one took another's place", {A, B}, {A, C}, {A, C}, Churn(started=1, exited=1)),
        ("one exited between the looks", {A, B}, {A, B}, {A}, Churn(started=0, exited=1)),
        ("one started between the looks", {A}, {A, B}, {A, B}, Churn(started=1, exited=0)),
        ("one started and exited while the run looked", {A}, {A, B}, {A}, Churn(started=1, exited=1)),
        ("a restart", {A, B}, {C}, {C}, Churn(started=1, exited=2)),
        ("all are gone", {A, B}, set(), set(), Churn(started=0, exited=2)),
        ("another process with the same pid", {A}, {A._replace(create_time=2)}, {A._replace(create_time=2)}, (1, 1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_churn(what, before, seen, alive, churn):
    assert count_churn(before, seen, alive) == churn
