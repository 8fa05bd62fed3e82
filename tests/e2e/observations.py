"""What an instance, which may watch several servers, has submitted, and what the servers' own records say."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datadog_checks.base.stubs import aggregator

from datadog_checks.gunicorn import GunicornCheck
from tests.assertions import COUNTS, OWN_TAGS
from tests.gunicorn_server import Server

from .docker import list_exited

NO_TAGS: frozenset[str] = frozenset()


class Tally(NamedTuple):
    """Workers that are alive, and how many have started and exited; None for what was not submitted."""

    workers: float | None
    started: float | None
    exited: float | None

    def since(self, before: "Tally") -> "Tally":
        return Tally(self.workers, self.started - before.started, self.exited - before.exited)


def tally(*servers: Server) -> Tally:
    """Count the workers that are alive, and, from the servers' logs, those that have ever started and exited."""
    return Tally(
        workers=sum(len(server.workers()) for server in servers),
        started=sum(len(server.booted()) for server in servers),
        exited=sum(len(list_exited(server)) for server in servers),
    )


class ServiceCheck(NamedTuple):
    status: int
    message: str
    tags: frozenset[str]


class Submissions(NamedTuple):
    """What one run submitted. `metrics` has all values by name and tags, those of the instance and `app:` included."""

    error: str
    metrics: Mapping[tuple[str, frozenset[str]], float]
    service_checks: Sequence[ServiceCheck]

    @property
    def service_check(self) -> ServiceCheck:
        (only,) = self.service_checks
        return only

    def service_check_of(self, name: str) -> ServiceCheck | None:
        """Return the service check of an application, or None if there is none."""
        found = [each for each in self.service_checks if f"app:{name}" in each.tags]
        assert len(found) < 2
        return found[0] if found else None

    def sum(self, metric: str, tags: Iterable[str] = ()) -> float | None:
        """Add up the values that have these tags, and perhaps others; return None if there are none."""
        values = [value for (name, found), value in self.metrics.items() if name == metric and found.issuperset(tags)]
        return sum(values) if values else None

    def tally(self, *tags: str) -> Tally:
        return Tally(*(self.sum(name, tags) for name in ("gunicorn.workers", *COUNTS)))

    def connections(self, *tags: str) -> tuple[float | None, float | None]:
        """Return how many connections are accepted, and how many are queued."""
        states = ("state:accepted", "state:queued")
        accepted, queued = (self.sum("gunicorn.connections", [*tags, state]) for state in states)
        return accepted, queued

    def groups(self, name: str) -> dict[frozenset[str], Tally]:
        """Return the tally of an application for each set of tags of its containers."""
        app = f"app:{name}"
        found = {_tags_of_group(tags) - {app} for _, tags in self.metrics if app in tags}
        return {group: self._only(group | {app}).tally() for group in found}

    def _only(self, group: frozenset[str]) -> "Submissions":
        kept = {key: value for key, value in self.metrics.items() if _tags_of_group(key[1]) == group}
        return self._replace(metrics=kept)


def _tags_of_group(tags: Iterable[str]) -> frozenset[str]:
    return frozenset(tag for tag in tags if not tag.startswith(OWN_TAGS))


def make_instance(**instance: Any) -> GunicornCheck:
    check = GunicornCheck("gunicorn", {}, [instance])
    check.check_id = f"gunicorn:{instance}"
    return check


def submit(check: GunicornCheck) -> Submissions:
    """Run the check once, as the Agent does, and return what it submitted; fail if it submitted a metric twice."""
    aggregator.reset()
    error = check.run()
    metrics: dict[tuple[str, frozenset[str]], float] = {}
    for name in aggregator.metric_names:
        for metric in aggregator.metrics(name):
            tags = frozenset(metric.tags)
            assert len(tags) == len(metric.tags), f"a tag is repeated: {metric}"
            assert (name, tags) not in metrics, f"submitted twice: {metric}"
            metrics[name, tags] = metric.value
    return Submissions(
        error=json.loads(error)[0]["message"] if error else "",
        metrics=metrics,
        service_checks=[
            ServiceCheck(each.status, each.message or "", frozenset(each.tags))
            for each in aggregator.service_checks("gunicorn.is_running")
        ],
    )


class Watcher:
    """An instance that runs repeatedly, and the sums of the workers that started and exited."""

    def __init__(self, **instance: Any) -> None:
        self.check = make_instance(**instance)
        self.counts: Counter[tuple[str, frozenset[str]]] = Counter()
        # The first run has no earlier one to compare with, so it submits no counts.
        self.last = submit(self.check)

    def run(self) -> Submissions:
        self.last = submit(self.check)
        counts = {key: value for key, value in self.last.metrics.items() if key[0] in COUNTS}
        self.counts.update(counts)
        return self.last

    def tally(self, *tags: str) -> Tally:
        """Return the workers of the last run, and those that started and exited in all runs."""
        total = self.last._replace(metrics={**self.last.metrics, **self.counts})
        return total.tally(*tags)
