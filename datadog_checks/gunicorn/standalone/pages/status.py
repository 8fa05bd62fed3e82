"""The output of `status` and `check`. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from datadog_checks.gunicorn.__about__ import __version__
from datadog_checks.gunicorn.host.cgroups import shorten_id
from datadog_checks.gunicorn.standalone.runs import Report, Run, RunError, WatchedServer
from datadog_checks.gunicorn.text import escape, shorten

from .submissions import format_submissions
from .table import format_table
from .worker_table import format_workers


def format_status(reports: Sequence[Report]) -> str:
    """Format the Agent's status page, followed by the submissions, which the Agent's page does not show."""
    lines = [
        *("=========", "Collector", "=========", ""),
        *_heading("Running Checks", "=", "  "),
        *("", *_heading(f"gunicorn ({__version__})", "-", "    ")),
    ]
    for report in reports:
        lines += [*_format_instance(report), ""]
    lines += [*_heading("Dependencies", "=", "  "), *_format_libraries(reports), ""]
    lines += _heading("Submitted in the last run", "=", "  ")
    for report in reports:
        lines += ["", *_heading(report.instance_id, "-", "    ")]
        lines += (f"      {line}" for line in format_submissions(report.last))
        lines.append(f"      CPU times: {report.cpu_source}")
        lines += (f"      {escape(note)}" for note in report.notes)
        lines += (f"      {line}" for line in _format_servers(report.servers))
        for server in report.servers:
            lines += (f"      {line}" for line in format_workers(server))
    return "\n".join(lines) + "\n"


def _format_servers(servers: Sequence[WatchedServer]) -> Iterator[str]:
    """Format where the servers run, if that is not obvious."""
    if len(servers) > 1 or any(server.container for server in servers):
        yield "Servers:"
        yield from format_table(
            (
                (
                    shorten(server.name),
                    f"container {shorten_id(server.container)}" if server.container else "in no container",
                    f"master {', '.join(map(str, server.masters))}",
                )
                for server in servers
            ),
            "  ",
        )


def format_check(reports: Sequence[Report]) -> str:
    """Format the output of `agent check`: the submissions as JSON with the Agent's keys, then the status page."""
    series = [entry for report in reports for entry in _series(report.last)]
    service_checks = [entry for report in reports for entry in _service_check_entries(report.last)]
    return (
        f"=== Series ===\n{json.dumps(series, indent=2)}\n"
        f"=== Service Checks ===\n{json.dumps(service_checks, indent=2)}\n\n"
        f"{format_status(reports)}"
    )


def format_json(reports: Sequence[Report]) -> str:
    """Format a JSON list with one object for each instance, about its last run."""
    return json.dumps([_json_object(report) for report in reports], indent=2) + "\n"


def _heading(title: str, underline: str, indent: str) -> list[str]:
    return [indent + title, indent + underline * len(title)]


def _format_instance(report: Report) -> Iterator[str]:
    last, totals = report.last, report.totals
    last_success = "Never" if totals.last_success is None else format_date(totals.last_success)
    lines = [
        f"Instance ID: {report.instance_id} [{last.status}]",
        f"Configuration Source: {escape(report.source)}",
        f"Total Runs: {totals.runs}",
        f"Metric Samples: {_last_and_total(len(last.metrics), totals.metrics)}",
        f"Events: {_last_and_total(last.events, totals.events)}",
        f"Service Checks: {_last_and_total(len(last.service_checks), totals.service_checks)}",
        f"Average Execution Time : {round(1000 * totals.seconds / totals.runs)}ms",
        f"Last Execution Date : {format_date(last.began, milliseconds=True)}",
        f"Last Successful Execution Date : {last_success}",
    ]
    if last.metadata:
        lines += ["metadata:", *(f"  {name}: {escape(value)}" for name, value in sorted(last.metadata.items()))]
    if last.error:
        lines += _format_error(last.error)
    if last.warnings:
        lines += ["", *(f"Warning: {escape(warning)}" for warning in last.warnings)]
    return (f"      {line}".rstrip() for line in lines)


def _format_error(error: RunError) -> list[str]:
    return [f"Error: {escape(error.message)}", *map(escape, error.traceback.splitlines())]


def _last_and_total(last: int, total: int) -> str:
    return f"Last Run: {last}, Total: {total}"


def format_date(timestamp: float, *, milliseconds: bool = False) -> str:
    """Format seconds since the epoch as the Agent does, to the second or to the millisecond.

    >>> format_date(1795174270.0384, milliseconds=True)
    '2026-11-20 11:31:10.038 UTC (1795174270038)'
    """
    seconds, thousandths = divmod(int(timestamp * 1000), 1000)
    date = datetime.fromtimestamp(seconds, UTC)
    if milliseconds:
        return f"{date:%Y-%m-%d %H:%M:%S}.{thousandths:03} UTC ({seconds}{thousandths:03})"
    return f"{date:%Y-%m-%d %H:%M:%S} UTC ({seconds}000)"


def _format_libraries(reports: Iterable[Report]) -> list[str]:
    versions: dict[str, str] = {}
    for report in reports:
        versions |= report.libraries
    return [f"    {name}: {version}" for name, version in sorted(versions.items())]


def _json_object(report: Report) -> Mapping[str, Any]:
    last = report.last
    return {
        "instance_id": report.instance_id,
        "source": report.source,
        "status": last.status,
        "metrics": _series(last),
        "service_checks": _service_check_entries(last),
        "metadata": last.metadata,
        "warnings": last.warnings,
        "error": last.error and last.error.message,
        "traceback": last.error and (last.error.traceback or None),
    }


def _series(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "metric": metric.name,
            "points": [[int(run.began), metric.value]],
            "tags": metric.tags,
            "host": metric.host,
            "type": metric.type,
            "interval": 0,
        }
        for metric in run.metrics
    ]


def _service_check_entries(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "check": service_check.name,
            "host_name": service_check.host,
            "timestamp": int(run.began),
            "status": service_check.status,
            "message": service_check.message,
            "tags": service_check.tags,
        }
        for service_check in run.service_checks
    ]
