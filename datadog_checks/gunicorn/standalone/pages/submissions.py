"""The submissions of a run on the status page: common tags first, then metrics by group. Pure."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from datadog_checks.gunicorn.metrics import METRICS
from datadog_checks.gunicorn.standalone.runs import Run, ServiceCheckResult, SubmittedMetric
from datadog_checks.gunicorn.text import escape

from .table import format_table
from .units import format_in_unit

_INDENT = "  "
# The order of the metrics on the page.
_PLACES = {metric.name: place for place, metric in enumerate(METRICS)}

Submission = SubmittedMetric | ServiceCheckResult


def format_submissions(run: Run) -> Iterator[str]:
    """Format the submissions of a run: for each application the common tags, then the metrics by group."""
    submissions: list[Submission] = [*run.metrics, *run.service_checks]
    applications = list(dict.fromkeys(map(find_application, submissions))) or [""]
    for application in applications:
        metrics = [metric for metric in run.metrics if find_application(metric) == application]
        service_checks = [result for result in run.service_checks if find_application(result) == application]
        if application != applications[0]:
            yield ""
        yield from _format_application(metrics, service_checks)


def find_application(submission: Submission) -> str:
    """Find the tag that names the application of a submission; empty without one."""
    return next((tag for tag in submission.tags if tag.startswith("app:")), "")


def find_common_tags(submissions: Sequence[Submission]) -> tuple[str, ...]:
    """Find the tags that all submissions carry."""
    tags = [submission.tags for submission in submissions]
    return tuple(tag for tag in dict.fromkeys(tags[0] if tags else ()) if all(tag in others for others in tags))


def _format_application(
    metrics: Sequence[SubmittedMetric], service_checks: Sequence[ServiceCheckResult]
) -> Iterator[str]:
    common = find_common_tags([*metrics, *service_checks])
    if common:
        yield "Common tags:"
        yield from (f"{_INDENT}{escape(tag)}" for tag in common)
    for further, members in _group_by_container(metrics, common).items():
        if further:
            yield "Tags of these containers:"
            yield from (f"{_INDENT}{escape(tag)}" for tag in further)
        yield from _format_metrics(members, [*common, *further])
    if not metrics:
        yield from ("Metrics:", f"{_INDENT}none")
    yield "Service Checks:"
    rows = (_service_check_row(service_check, common) for service_check in service_checks)
    yield from format_table(rows, _INDENT) or [f"{_INDENT}none"]


def _group_by_container(
    metrics: Sequence[SubmittedMetric], common: Sequence[str]
) -> Mapping[tuple[str, ...], list[SubmittedMetric]]:
    """Group metrics by the tags of their containers: those that are neither common nor the metric's own."""
    groups: dict[tuple[str, ...], list[SubmittedMetric]] = {}
    for metric in metrics:
        place = _PLACES.get(metric.name)
        further: tuple[str, ...] = ()
        if place is not None:
            own = METRICS[place].tags
            further = tuple(tag for tag in metric.tags if tag not in common and tag.partition(":")[0] not in own)
        groups.setdefault(further, []).append(metric)
    # Those without such tags first: below those of a container, they would seem to belong to it.
    return dict(sorted(groups.items(), key=lambda group: bool(group[0])))


def _format_metrics(metrics: Sequence[SubmittedMetric], common: Sequence[str]) -> Iterator[str]:
    ordered = sorted(metrics, key=lambda metric: _PLACES.get(metric.name, len(METRICS)))
    for group, members in itertools.groupby(ordered, lambda metric: _find_row(metric)[0]):
        yield f"{group}:"
        yield from format_table((_metric_row(metric, common) for metric in members), _INDENT)


def _find_row(metric: SubmittedMetric) -> tuple[str, str]:
    """Find the group and the unit of a metric; the base package may submit metrics of its own."""
    place = _PLACES.get(metric.name)
    return ("Other metrics", "") if place is None else (METRICS[place].group, METRICS[place].unit)


def _metric_row(metric: SubmittedMetric, common: Sequence[str]) -> tuple[str, ...]:
    readable = format_in_unit(metric.value, _find_row(metric)[1])
    return metric.name, metric.type, format_value(metric.value), readable, _further(metric.tags, common)


def _service_check_row(service_check: ServiceCheckResult, common: Sequence[str]) -> tuple[str, ...]:
    further = _further(service_check.tags, common)
    return service_check.name, service_check.status_name, further, service_check.message


def _further(tags: Sequence[str], common: Sequence[str]) -> str:
    return ", ".join(tag for tag in tags if tag not in common)


def format_value(value: float) -> str:
    """Format a value without trailing zeros.

    >>> format_value(2.0), format_value(0.25), format_value(123456789.0)
    ('2', '0.25', '123456789')
    """
    return f"{value:.6f}".rstrip("0").rstrip(".")
