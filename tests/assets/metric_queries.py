"""Queries of metrics, as in `sum:gunicorn.workers{state:idle} by {app,host}`, and their faults."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from datadog_checks.gunicorn.metrics import METRICS

from .declared import CODES, DECLARED_METRICS

PATTERN = re.compile(
    r"(?P<space>avg|max|min|sum):(?P<metric>[a-z][\w.]*)"
    r"{(?P<filters>[^{}]+)}(?: by {(?P<by>[^{}]+)})?"
    r"(?P<modifiers>(?:\.(?:as_count\(\)|as_rate\(\)|rollup\((?:avg|max|min|sum)(?:, 60)?\)))*)"
)
# Aggregated values, which cannot be summed over hosts or listeners.
AGGREGATED = re.compile(r".*\.(avg|max|median|min|\d+percentile)|gunicorn\.uptime")
STATUS = re.compile(r"gunicorn\.request\.status\.(\d{3})")
# The tags of containers come from the Agent's tagger; `env` and the cluster are the host's. Some instances have the tag
# `worker_class`.
COMMON_TAGS = {"app", "container_name", "env", "host", "kube_cluster_name", "kube_namespace", "worker_class"}
VALUES = {
    (metric.name, key): {*values, "*"} if metric.name == "gunicorn.workers" else set(values)
    for metric in METRICS
    for key, values in metric.tags.items()
    if values
}


class MetricQuery(NamedTuple):
    space: str
    metric: str
    filters: list[str]
    by: list[str]
    modifiers: str

    @property
    def is_aggregated(self) -> bool:
        return AGGREGATED.fullmatch(self.metric) is not None

    @property
    def code(self) -> int | None:
        match = STATUS.fullmatch(self.metric)
        return int(match[1]) if match else None


def find_queries(text: str) -> Iterator[MetricQuery]:
    return map(build_query, PATTERN.finditer(text))


def build_query(match: re.Match[str]) -> MetricQuery:
    """Build the query from a match of PATTERN."""
    space, metric, filters, by, modifiers = match.groups()
    return MetricQuery(space, metric, filters.split(","), by.split(",") if by else [], modifiers)


def strip_queries(text: str) -> str:
    """Return the arithmetic around queries, as in `100 * q / q`."""
    return PATTERN.sub("q", text)


def find_faults(query: MetricQuery) -> Iterator[str]:
    name = query.metric
    if name not in DECLARED_METRICS:
        yield f"{name} is not declared"
        return
    row = DECLARED_METRICS[name]
    tags = COMMON_TAGS | set(row["sample_tags"].split(","))
    filters = dict(item.split(":", 1) for item in query.filters if ":" in item)
    for key in {*filters, *query.by} - tags:
        yield f"{name} has no tag {key}"
    for key, value in filters.items():
        if value not in VALUES.get((name, key), {value}):
            yield f"{name} has no {key}:{value}"
    if (name, "state") in VALUES and "state" not in filters:
        yield f"{name} is not filtered by state"
    if query.is_aggregated and query.space == "sum":
        yield f"{name} cannot be added up"
    if filters.get("state") == "*" and query.space != "sum":
        yield f"{query.space} of {name} mixes its states"
    if (row["metric_type"] == "gauge") == bool(re.search(r"\.as_(count|rate)\(\)", query.modifiers)):
        yield f"{name} is a {row['metric_type']}, queried as {query.modifiers or 'a gauge'}"


def find_faults_of_sum(queries: list[MetricQuery]) -> Iterator[str]:
    """Yield the faults of a sum of these; several status codes must form a complete class."""
    for query in queries:
        if query.is_aggregated:
            yield f"{query.metric} cannot be added up"
    codes = [query.code for query in queries if query.code]
    classes = {code // 100 for code in codes}
    if codes and sorted(codes) != [code for code in CODES if code // 100 in classes]:
        yield f"not a complete class: {codes}"
    if len(classes) > 1:
        yield f"several classes: {codes}"
