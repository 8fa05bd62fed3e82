"""The results of runs. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from datadog_checks.base.constants import ServiceCheck

from datadog_checks.gunicorn.pool.looks import Worker

_SERVICE_CHECK_STATUSES = {status: name for name, status in ServiceCheck._asdict().items()}


class RunStatus(StrEnum):
    """The status of an instance on the status page."""

    OK = "OK"
    WARNING = "WARNING"
    ERROR = "ERROR"


class SubmittedMetric(NamedTuple):
    """One submitted sample. `type` is the method that submitted it, such as `gauge`."""

    name: str
    type: str
    value: float
    tags: tuple[str, ...]
    host: str


class ServiceCheckResult(NamedTuple):
    """One submitted service check. `status` is 0 to 3, in the order of `ServiceCheck`."""

    name: str
    status: int
    tags: tuple[str, ...]
    host: str
    message: str

    @property
    def status_name(self) -> str:
        """`OK`, `WARNING`, `CRITICAL` or `UNKNOWN`."""
        return _SERVICE_CHECK_STATUSES[self.status]


class RunError(NamedTuple):
    """Why a run failed. `traceback` is empty if the check raised the error deliberately."""

    message: str
    traceback: str


class WatchedServer(NamedTuple):
    """A server that an instance watches: its name, the id of its container or None, and the pids of its masters.

    `workers` is None unless they were asked for.
    """

    name: str
    container: str | None
    masters: tuple[int, ...]
    workers: tuple[Worker, ...] | None = None


@dataclass(frozen=True)
class Run:
    """The result of one run. `began` is in seconds since the epoch, `seconds` is the duration."""

    began: float
    seconds: float
    metrics: tuple[SubmittedMetric, ...]
    service_checks: tuple[ServiceCheckResult, ...]
    events: int
    metadata: Mapping[str, str]
    warnings: tuple[str, ...]
    error: RunError | None

    @property
    def status(self) -> RunStatus:
        """The status that the Agent would show for this run."""
        if self.error:
            return RunStatus.ERROR
        return RunStatus.WARNING if self.warnings else RunStatus.OK


@dataclass(frozen=True)
class Totals:
    """The totals of an instance's runs. Keeps no runs, because `--watch` may run for weeks."""

    runs: int = 0
    metrics: int = 0
    events: int = 0
    service_checks: int = 0
    seconds: float = 0.0
    last_success: float | None = None

    def plus(self, run: Run) -> "Totals":
        """Add a run, the latest one."""
        return Totals(
            runs=self.runs + 1,
            metrics=self.metrics + len(run.metrics),
            events=self.events + run.events,
            service_checks=self.service_checks + len(run.service_checks),
            seconds=self.seconds + run.seconds,
            last_success=self.last_success if run.error else run.began,
        )


@dataclass(frozen=True)
class Report:
    """The report on one instance: its last run, and the totals, which include it."""

    instance_id: str
    source: str
    libraries: Mapping[str, str]
    cpu_source: str
    servers: tuple[WatchedServer, ...]
    notes: tuple[str, ...]
    last: Run
    totals: Totals


def parse_error(report: str) -> RunError | None:
    r"""Parse the return value of a run: empty, or a JSON list with one message and traceback.

    >>> parse_error(r'[{"message": "no x", "traceback": "Traceback ...\nValueError: no x\n"}]')
    RunError(message='no x', traceback='Traceback ...\nValueError: no x\n')
    """
    if not report:
        return None
    (error,) = json.loads(report)
    message, traceback = error["message"], error["traceback"]
    return RunError(message, "" if _is_deliberate(message, traceback) else traceback)


def _is_deliberate(message: str, traceback: str) -> bool:
    # The last line is "datadog_checks.base.errors.CheckException: MESSAGE"; builtin exceptions have no module.
    before = traceback.rstrip("\n").removesuffix(message)
    return before.rpartition("\n")[2].startswith("datadog_checks.")
