"""Pools of one or two workers that replace a worker after each request must not be CRITICAL."""

import pytest

from tests.assertions import CRITICAL, make_check, run
from tests.gunicorn_server import run_gunicorn, wait_until
from tests.load import load


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preloaded"])
@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(15, marks=pytest.mark.every_version),
        pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_no_false_alarm(runs, options, workers, record_property):
    """The master sleeps up to 0.1 s after starting a worker; with --preload the worker serves and exits earlier."""
    arguments = ["--max-requests", "1", *options]
    with run_gunicorn(*arguments, workers=workers) as server, load(server.port, "/", 0, seconds=120):
        check = make_check(server.name)
        wait_until(lambda: len(server.booted()) > 2 * workers, "workers to be replaced", server.explain)
        before = len(server.booted())
        found = [run(check) for _ in range(runs)]
        replaced = len(server.booted()) - before
    alarms = [each.message for each in found if each.status == CRITICAL]
    record_property("alarms", f"{len(alarms)} of {runs}, while {replaced} workers were replaced")
    assert replaced >= runs / 5
    assert not alarms
    assert {each.error for each in found} == {""}
    assert max(each.total for each in found) <= workers
