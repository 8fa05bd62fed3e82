"""What a run submitted, as the status page shows it: by subject, and what all have in common once. Pure."""

import itertools
from collections.abc import Iterator, Sequence

from datadog_checks.gunicorn.standalone.runs import Metric, Run, ServiceCheckResult
from datadog_checks.gunicorn.text import escape

from .subjects import find_subject, place_on_page
from .table import format_table

_INDENT = "  "


def format_submissions(run: Run) -> Iterator[str]:
    """Format the tags that everything carries, then metrics and service checks with the tags that they have besides."""
    common = find_common_tags(run)
    if common:
        yield "Common tags:"
        yield from (f"{_INDENT}{escape(tag)}" for tag in common)
    yield from _format_metrics(run.metrics, common)
    yield "Service Checks:"
    rows = (_service_check_row(service_check, common) for service_check in run.service_checks)
    yield from format_table(rows, _INDENT) or [f"{_INDENT}none"]


def find_common_tags(run: Run) -> tuple[str, ...]:
    """Find the tags that every submission of the run carries."""
    tags = [*(metric.tags for metric in run.metrics), *(service_check.tags for service_check in run.service_checks)]
    return tuple(tag for tag in dict.fromkeys(tags[0] if tags else ()) if all(tag in others for others in tags))


def _format_metrics(metrics: Sequence[Metric], common: Sequence[str]) -> Iterator[str]:
    if not metrics:
        yield from ("Metrics:", f"{_INDENT}none")
    ordered = sorted(metrics, key=lambda metric: place_on_page(metric.name))
    for group, members in itertools.groupby(ordered, lambda metric: find_subject(metric.name).group):
        yield f"{group}:"
        yield from format_table((_metric_row(metric, common) for metric in members), _INDENT)


def _metric_row(metric: Metric, common: Sequence[str]) -> tuple[str, ...]:
    format_unit = find_subject(metric.name).format_unit
    readable = format_unit(metric.value) if format_unit else ""
    return metric.name, metric.type, format_value(metric.value), readable, _further(metric.tags, common)


def _service_check_row(service_check: ServiceCheckResult, common: Sequence[str]) -> tuple[str, ...]:
    further = _further(service_check.tags, common)
    return service_check.name, service_check.status_name, further, service_check.message


def _further(tags: Sequence[str], common: Sequence[str]) -> str:
    return ", ".join(tag for tag in tags if tag not in common)


def format_value(value: float) -> str:
    """Format a value without digits that say nothing.

    >>> format_value(2.0), format_value(0.25), format_value(123456789.0)
    ('2', '0.25', '123456789')
    """
    return f"{value:.6f}".rstrip("0").rstrip(".")
