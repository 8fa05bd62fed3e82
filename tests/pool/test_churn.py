import pytest

from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.pool.churn import Churn, Roster, count_churn

A, B, C = Identity(1, 1.0), Identity(2, 1.0), Identity(3, 1.0)


@pytest.mark.parametrize(
    ("what", "before", "seen", "alive", "churn"),
    [
        ("nothing happened", {A, B}, {A, B}, {A, B}, Churn(started=0, exited=0)),
        ("one took another's place", {A, B}, {A, C}, {A, C}, Churn(started=1, exited=1)),
        ("one exited between the looks", {A, B}, {A, B}, {A}, Churn(started=0, exited=1)),
        ("one started between the looks", {A}, {A, B}, {A, B}, Churn(started=1, exited=0)),
        ("one started and exited during the run", {A}, {A, B}, {A}, Churn(started=1, exited=1)),
        ("a restart", {A, B}, {C}, {C}, Churn(started=1, exited=2)),
        ("all are gone", {A, B}, set(), set(), Churn(started=0, exited=2)),
        ("another process with the same pid", {A}, {A._replace(create_time=2)}, {A._replace(create_time=2)}, (1, 1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_churn(what, before, seen, alive, churn):
    assert count_churn(before, seen, alive) == churn


@pytest.mark.parametrize(
    ("roster", "expected"),
    [
        pytest.param(Roster(5.0, {A}, complete=True), {A}, id="complete"),
        pytest.param(Roster(5.0, {A}, {C}, complete=True), {A, C}, id="one could not be read"),
        pytest.param(Roster(0.5, {A}), {A}, id="a worker that has started since"),
        pytest.param(Roster(5.0, {A}), {A, B}, id="an older worker may have been missed"),
    ],
)
def test_the_workers_that_were_alive_before(roster, expected):
    assert roster.list_alive({B}) == expected
