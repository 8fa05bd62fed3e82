"""Assertions about a run."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from datadog_checks.base.stubs import aggregator, datadog_agent

from datadog_checks.gunicorn import GunicornCheck

STATES = ("state:idle", "state:working")
COUNTS = ("gunicorn.workers.started", "gunicorn.workers.exited")
OK, CRITICAL = GunicornCheck.OK, GunicornCheck.CRITICAL


@dataclass(frozen=True)
class Run:
    """The submissions of one run.

    `workers` maps state to value; it is empty if no state was submitted. `metrics` has everything, by name and further
    tags as in `gunicorn.threads{process_role:worker}`.
    """

    error: str
    status: int
    message: str
    workers: dict[str, float]
    dirty_workers: float | None
    metrics: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.workers.values())


def make_check(proc_name: str, init_config: dict[str, Any] | None = None, **instance: Any) -> GunicornCheck:
    check = GunicornCheck("gunicorn", init_config or {}, [{"proc_name": proc_name, **instance}])
    check.check_id = f"gunicorn:{proc_name}"
    return check


def run(check: GunicornCheck) -> Run:
    """Run the check once, as the Agent does, and return what it submitted; checks the tags of every submission."""
    aggregator.reset()
    error = check.run()
    tags = [f"app:{check.instance['proc_name']}", *check.instance.get("tags", [])]
    metrics = {}
    for metric in itertools.chain.from_iterable(map(aggregator.metrics, aggregator.metric_names)):
        further = sorted(set(metric.tags) - set(tags))
        assert sorted(metric.tags) == sorted([*tags, *further])
        assert metric.type == (aggregator.COUNT if metric.name in COUNTS else aggregator.GAUGE)
        key = f"{metric.name}{{{','.join(further)}}}" if further else metric.name
        assert metrics.setdefault(key, metric.value) == metric.value
    (service_check,) = aggregator.service_checks("gunicorn.is_running") or pytest.fail(f"no service check; {error}")
    assert sorted(service_check.tags) == sorted(tags)
    return Run(
        error=json.loads(error)[0]["message"] if error else "",
        status=service_check.status,
        message=service_check.message or "",
        workers={state: metrics[key] for state in STATES if (key := f"gunicorn.workers{{{state}}}") in metrics},
        dirty_workers=metrics.get("gunicorn.dirty_workers"),
        metrics=metrics,
    )


def assert_workers(found: Run, *, idle: int, working: int) -> None:
    assert (found.status, found.message, found.error) == (OK, "", "")
    assert found.workers == {"state:idle": idle, "state:working": working}


def assert_total(found: Run, total: int) -> None:
    """Assert that both states are submitted and their sum is right; a booting worker may be idle or working."""
    assert (found.status, found.message, found.error) == (OK, "", "")
    assert set(found.workers) == {"state:idle", "state:working"}
    assert found.total == total


def assert_not_found(found: Run, proc_name: str) -> None:
    message = f"Found no master process with name: gunicorn: master [{proc_name}]"
    assert (found.status, found.message, found.error) == (CRITICAL, message, message)
    assert found.metrics == {}


def assert_without_workers(found: Run, proc_name: str) -> None:
    assert (found.status, found.error) == (CRITICAL, "")
    assert found.message == f"0 working and 0 idle workers for {proc_name}"
    assert found.workers == {"state:idle": 0, "state:working": 0}


def metadata(check: GunicornCheck) -> dict[str, str]:
    return {name: value for (check_id, name), value in datadog_agent._metadata.items() if check_id == check.check_id}


def is_idle(found: Run) -> bool:
    """Whether no worker is working; a booting worker is, even for a while after its title is set."""
    return found.workers.get("state:working") == 0


def run_until(check: GunicornCheck, condition: Callable[[Run], object]) -> Run:
    """Run until the condition holds, at most 50 times."""
    for _ in range(50):
        found = run(check)
        if condition(found):
            return found
    raise AssertionError(f"never in 50 runs; the last was {found}")
