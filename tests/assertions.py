"""Assertions about a run."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from datadog_checks.base.stubs import aggregator, datadog_agent

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn.metrics import METRICS

STATES = ("state:idle", "state:working")
COUNTS = tuple(metric.name for metric in METRICS if metric.type == "count")
OK, CRITICAL = GunicornCheck.OK, GunicornCheck.CRITICAL


# The keys of a sample's own tags; any other tag is that of a container.
OWN_TAGS = tuple({f"{key}:" for metric in METRICS for key in metric.tags})


@dataclass(frozen=True)
class Submitted:
    """The submissions of one run about one application.

    `status` is None without a service check. `samples` maps the name and the further tags of each metric, those that
    are not on every submission, to its value.
    """

    error: str
    status: int | None
    message: str
    samples: dict[tuple[str, tuple[str, ...]], float]

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric, by name and further tags as in `gunicorn.threads{process_role:worker}`."""
        return {f"{name}{{{','.join(tags)}}}" if tags else name: value for (name, tags), value in self.samples.items()}

    @property
    def workers(self) -> dict[str, float]:
        """The value of each state; empty if no state was submitted."""
        found = {state: self.samples.get(("gunicorn.workers", (state,))) for state in STATES}
        return {state: value for state, value in found.items() if value is not None}

    @property
    def dirty_workers(self) -> float | None:
        return self.samples.get(("gunicorn.dirty_workers", ()))

    @property
    def total(self) -> float:
        return sum(self.workers.values())

    @property
    def churn(self) -> tuple[float, float]:
        """How many workers started and exited."""
        started, exited = (self.samples[name, ()] for name in COUNTS)
        return started, exited

    @property
    def connections(self) -> dict[str, tuple[float, float]]:
        """The accepted and the queued connections of each listener."""
        return {
            tags[0].removeprefix("listener:"): (value, self.samples[name, (tags[0], "state:queued")])
            for (name, tags), value in self.samples.items()
            if name == "gunicorn.connections" and tags[1] == "state:accepted"
        }

    @property
    def containers(self) -> set[tuple[str, ...]]:
        """The combinations of container tags in the samples; an empty tuple stands for no such tags."""
        return {_of_container(tags) for _, tags in self.samples}

    def under(self, *tags: str) -> "Submitted":
        """Keep only the samples with exactly these container tags, and remove the tags from them."""
        return replace(
            self,
            samples={
                (name, tuple(tag for tag in found if tag not in tags)): value
                for (name, found), value in self.samples.items()
                if _of_container(found) == tuple(sorted(tags))
            },
        )


def _of_container(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(tag for tag in tags if not tag.startswith(OWN_TAGS))


def make_check(proc_name: str, init_config: dict[str, Any] | None = None, **instance: Any) -> GunicornCheck:
    return make_instance(init_config, proc_name=proc_name, **instance)


def make_instance(init_config: dict[str, Any] | None = None, **instance: Any) -> GunicornCheck:
    check = GunicornCheck("gunicorn", init_config or {}, [instance])
    check.check_id = f"gunicorn:{instance.get('proc_name')}"
    return check


def run(check: GunicornCheck) -> Submitted:
    """Run a check of one name once, as the Agent does, and return what it submitted."""
    ((name, found),) = run_each(check).items()
    assert name == check.instance["proc_name"]
    assert found.status is not None
    return found


def run_each(check: GunicornCheck) -> dict[str, Submitted]:
    """Run a check once, as the Agent does, and return what it submitted, by application; "" for those without one.

    Checks the tags of every submission.
    """
    aggregator.reset()
    error = check.run()
    message = json.loads(error)[0]["message"] if error else ""
    metrics = [*itertools.chain.from_iterable(map(aggregator.metrics, aggregator.metric_names))]
    service_checks = aggregator.service_checks("gunicorn.is_running")
    found = {}
    for name in sorted({_application_of(each.tags) for each in (*metrics, *service_checks)}):
        tags = [*([f"app:{name}"] if name else []), *check.instance.get("tags", [])]
        samples = {}
        for metric in metrics:
            if _application_of(metric.tags) == name:
                assert metric.type == (aggregator.COUNT if metric.name in COUNTS else aggregator.GAUGE)
                further = tuple(sorted(set(metric.tags) - set(tags)))
                assert sorted(metric.tags) == sorted([*tags, *further])
                assert (metric.name, further) not in samples
                samples[metric.name, further] = metric.value
        its_own = [each for each in service_checks if _application_of(each.tags) == name]
        assert [sorted(each.tags) for each in its_own] in ([], [sorted(tags)])
        status, text = (its_own[0].status, its_own[0].message or "") if its_own else (None, "")
        found[name] = Submitted(message, status, text, samples)
    if error and not found:
        pytest.fail(f"no service check; {error}")
    return found


def _application_of(tags: Sequence[str]) -> str:
    return next((tag.removeprefix("app:") for tag in tags if tag.startswith("app:")), "")


def assert_workers(found: Submitted, *, idle: int, working: int) -> None:
    assert (found.status, found.message, found.error) == (OK, "", "")
    assert found.workers == {"state:idle": idle, "state:working": working}


def assert_total(found: Submitted, total: int) -> None:
    """Assert that both states are submitted and their sum is right; a booting worker may be idle or working."""
    assert (found.status, found.message, found.error) == (OK, "", "")
    assert set(found.workers) == {"state:idle", "state:working"}
    assert found.total == total


def assert_not_found(found: Submitted, proc_name: str) -> None:
    message = f"Found no master process with name: gunicorn: master [{proc_name}]"
    assert (found.status, found.message, found.error) == (CRITICAL, message, message)
    assert found.metrics == {}


def assert_without_workers(found: Submitted, proc_name: str) -> None:
    assert (found.status, found.error) == (CRITICAL, "")
    assert found.message == f"0 working and 0 idle workers for {proc_name}"
    assert found.workers == {"state:idle": 0, "state:working": 0}


def metadata(check: GunicornCheck) -> dict[str, str]:
    return {name: value for (check_id, name), value in datadog_agent._metadata.items() if check_id == check.check_id}


def is_idle(found: Submitted) -> bool:
    """Whether no worker is working; a booting worker is, even for a while after its title is set."""
    return found.workers.get("state:working") == 0


def run_until(check: GunicornCheck, condition: Callable[[Submitted], object]) -> Submitted:
    """Run until the condition holds, at most 50 times."""
    for _ in range(50):
        found = run(check)
        if condition(found):
            return found
    raise AssertionError(f"the condition did not hold in 50 runs; the last was {found}")
