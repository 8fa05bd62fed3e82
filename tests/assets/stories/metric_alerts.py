"""Evaluates the queries of metric monitors over telemetry.

The grammar in use, and all that is accepted:

    query      = window ":" expression comparison
    window     = TIME "(last_" DURATION ")" | "change(" TIME "(last_" DURATION ")," DURATION "_ago)"
    comparison = (">" | ">=" | "<" | "<=") NUMBER
    expression = sums, differences, products and quotients of NUMBER, metric, "(" expression ")",
                 FUNCTION "(" expression "," NUMBER ")" and "default_zero(" expression ")"
    FUNCTION   = "clamp_min" | "clamp_max" | "cutoff_min" | "cutoff_max"
    metric     = SPACE ":" NAME "{" filters "}" " by {" keys "}" ".rollup(" TIME "," SECONDS ")"
               | SPACE ":" NAME "{" filters "}" " by {" keys "}" ".as_count()"
    SPACE, TIME = "avg" | "max" | "min" | "sum"

This follows Datadog's documentation:

* Points are rolled up by time, then gaps of up to five minutes between the points of a gauge are interpolated, then
  series are aggregated by group (docs.datadoghq.com/metrics/guide/interpolation-the-fill-modifier-explained).
* Arithmetic is done for each interval and group; there is no value where one side is missing, or the divisor is 0.
  clamp_* fills in its threshold where there is no value, and default_zero a 0 if the window has any value.
  default_zero is only accepted around the whole expression or around a single metric, so that the window is the same
  for all (docs.datadoghq.com/dashboards/functions/exclusion, .../interpolation).
* A group without a point in the window has no value at all.
* A change is the difference of each value from the one that much earlier, aggregated over the window
  (docs.datadoghq.com/monitors/types/metric).
* With as_count() each metric is summed over the window before the arithmetic, and a missing count is 0
  (docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations).

A monitor is evaluated each minute. Every query states its rollup interval, so none is assumed.
"""

import ast
import operator
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from tests.assets.declared import DECLARED_METRICS
from tests.assets.metric_queries import PATTERN, MetricQuery, build_query

from .telemetry import Tags, Telemetry, tag_value

MINUTE = 60
LONGEST_GAP = 300
SECONDS = {"m": 60, "h": 3600, "d": 86400}

Group = tuple[str, ...]
Values = list[float | None]

QUERY = re.compile(
    r"(?:(?P<time>avg|max|min|sum)\(last_(?P<last>\d+[mh])\)"
    r"|change\((?P<changing>avg|max|min|sum)\(last_(?P<recent>\d+[mh])\),(?P<ago>\d+[mhd])_ago\))"
    r":(?P<expression>.+) (?P<operator>[<>]=?) (?P<critical>-?\d+(?:\.\d+)?)"
)
MODIFIERS = re.compile(r"\.rollup\((?P<rollup>avg|max|min|sum), (?P<interval>\d+)\)|\.as_count\(\)")
KEY = re.compile(r"[a-z_]+")
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
AGGREGATORS: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: sum(values) / len(values),
    "max": max,
    "min": min,
    "sum": sum,
}


class UnknownGrammarError(Exception):
    """The evaluator does not know this query."""


class RolledUpQuery(NamedTuple):
    """A query of a metric, and the method and the interval, in seconds, by which its points are rolled up."""

    query: MetricQuery
    rollup: str
    interval: int
    is_count: bool


class MetricAlert(NamedTuple):
    """A parsed query; durations in seconds; `ago` is None unless it is a change."""

    time: str
    last: int
    ago: int | None
    tree: ast.expr
    metrics: list[RolledUpQuery]
    operator: str
    critical: float

    @property
    def interval(self) -> int:
        return self.metrics[0].interval

    @property
    def keys(self) -> list[str]:
        return self.metrics[0].query.by

    @property
    def counts(self) -> bool:
        return self.metrics[0].is_count


def parse(query: str) -> MetricAlert:
    """Parse a monitor's query.

    Raises:
        UnknownGrammarError: It is not in the grammar above.

    """
    match = QUERY.fullmatch(query)
    if not match:
        raise UnknownGrammarError(query)
    metrics: list[RolledUpQuery] = []

    def keep(found: re.Match[str]) -> str:
        metric = build_query(found)
        modifiers = MODIFIERS.fullmatch(metric.modifiers)
        if not modifiers or not metric.by or not all(map(KEY.fullmatch, metric.by)):
            raise UnknownGrammarError(found[0])
        rollup, interval = modifiers.groups()
        metrics.append(RolledUpQuery(metric, rollup or "sum", int(interval or MINUTE), rollup is None))
        return f"q{len(metrics) - 1}"

    try:
        tree = ast.parse(PATTERN.sub(keep, match["expression"]).strip(), mode="eval").body
    except SyntaxError as error:
        raise UnknownGrammarError(query) from error
    if not metrics or len({(*metric.query.by, metric.interval, metric.is_count) for metric in metrics}) != 1:
        raise UnknownGrammarError(f"several groups or intervals: {query}")
    last = parse_duration(match["last"] or match["recent"])
    ago = parse_duration(match["ago"]) if match["ago"] else None
    alert = MetricAlert(
        match["time"] or match["changing"], last, ago, tree, metrics, match["operator"], float(match["critical"])
    )
    if alert.counts and (alert.time != "sum" or ago):
        raise UnknownGrammarError(f"as_count is summed over the window: {query}")
    check(tree, alert)
    return alert


def parse_duration(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


OPERATORS: dict[type[ast.operator], Callable[[float, float], float | None]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right if right else None,
}
LIMITS: dict[str, Callable[[float | None, float], float | None]] = {
    "clamp_min": lambda value, limit: limit if value is None else max(value, limit),
    "clamp_max": lambda value, limit: limit if value is None else min(value, limit),
    "cutoff_min": lambda value, limit: None if value is None or value < limit else value,
    "cutoff_max": lambda value, limit: None if value is None or value > limit else value,
}


def check(tree: ast.expr, alert: MetricAlert) -> None:
    match tree:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            check(left, alert)
            check(right, alert)
        case ast.Constant(float() | int()):
            pass
        case ast.Name(name) if re.fullmatch(r"q\d+", name):
            pass
        case ast.Call(ast.Name(name), [argument, ast.Constant(float() | int())], []) if name in LIMITS:
            if alert.counts:
                raise UnknownGrammarError(f"{name} of counts")
            check(argument, alert)
        case ast.Call(ast.Name("default_zero"), [argument], []) if tree is alert.tree or len(alert.metrics) == 1:
            check(argument, alert)
        case _:
            raise UnknownGrammarError(ast.unparse(tree))


def evaluate(alert: MetricAlert, telemetry: Telemetry) -> Iterator[tuple[Group, float, Values]]:
    """Yield each group with the time of its first point and, for each minute, the value at its end."""
    length = int(telemetry.end // alert.interval)
    series = [read(metric, telemetry, length) for metric in alert.metrics]
    born: dict[Group, float] = {}
    for groups in series:
        for group, values in groups.items():
            first = next(index for index, value in enumerate(values) if value is not None) * alert.interval
            born[group] = min(first, born.get(group, first))
    size, step = alert.last // alert.interval, MINUTE // alert.interval
    for group, first in born.items():
        inputs = [groups.get(group, [None] * length) for groups in series]
        has_value = slide(
            [any(values[index] is not None for values in inputs) or None for index in range(length)], size, "max"
        )
        if alert.counts:
            windows = [slide([value or 0 for value in values], size, "sum") for values in inputs]
            results = list(compute(alert.tree, windows))
        else:
            results = slide(subtract_earlier(list(compute(alert.tree, inputs)), alert), size, alert.time)
        results = [value if known else None for value, known in zip(results, has_value, strict=True)]
        yield group, first, results[step - 1 :: step]


def subtract_earlier(values: Values, alert: MetricAlert) -> Values:
    """Return how much each value exceeds the one `ago` seconds earlier, or the values themselves without `ago`."""
    shift = (alert.ago or 0) // alert.interval
    if not shift:
        return values
    return [None] * shift + [
        None if now is None or then is None else now - then for now, then in zip(values[shift:], values, strict=False)
    ]


def read(metric: RolledUpQuery, telemetry: Telemetry, length: int) -> dict[Group, Values]:
    """Roll up, interpolate and aggregate the series of a metric."""
    members = defaultdict(list)
    for tags, points in telemetry.points.get(metric.query.metric, {}).items():
        group = tuple(tag_value(tags, key) or "" for key in metric.query.by)
        if all(group) and all(matches(item, tags) for item in metric.query.filters):
            rolled = roll_up(points, metric, length)
            members[group].append(rolled if metric.is_count else interpolate(rolled, metric))
    return {group: list(merge(rows, AGGREGATORS[metric.query.space])) for group, rows in members.items()}


def matches(item: str, tags: Tags) -> bool:
    key, _, value = item.partition(":")
    return item == "*" or (tag_value(tags, key) is not None if value == "*" else item in tags)


def roll_up(points: Iterable[tuple[float, float]], metric: RolledUpQuery, length: int) -> Values:
    rolled: Values = [None] * length
    within: dict[int, list[float]] = defaultdict(list)
    for time, value in points:
        within[int(time // metric.interval)].append(value)
    for index, values in within.items():
        if index < length:
            rolled[index] = AGGREGATORS[metric.rollup](values)
    return rolled


def interpolate(values: Values, metric: RolledUpQuery) -> Values:
    """Fill gaps linearly, as Datadog does by default for gauges."""
    if DECLARED_METRICS[metric.query.metric]["metric_type"] != "gauge":
        return values
    filled, last = list(values), None
    for index, value in enumerate(values):
        if value is None:
            continue
        if last is not None and 1 < index - last <= LONGEST_GAP // metric.interval:
            start = values[last]
            for missing in range(last + 1, index):
                filled[missing] = start + (value - start) * (missing - last) / (index - last)
        last = index
    return filled


def merge(rows: list[Values], aggregator: Callable[[list[float]], float]) -> Iterable[float | None]:
    if len(rows) == 1:
        return rows[0]
    return (
        aggregator(known) if (known := [value for value in column if value is not None]) else None
        for column in zip(*rows, strict=True)
    )


def compute(tree: ast.expr, inputs: list[Values]) -> Iterable[float | None]:
    match tree:
        case ast.BinOp(left, op, right):
            function = OPERATORS[type(op)]
            pairs = zip(compute(left, inputs), compute(right, inputs), strict=True)
            return [None if one is None or other is None else function(one, other) for one, other in pairs]
        case ast.Constant(float() | int() as number):
            return [number] * len(inputs[0])
        case ast.Name(name):
            return inputs[int(name[1:])]
        case ast.Call(ast.Name("default_zero"), [argument]):
            return [0 if value is None else value for value in compute(argument, inputs)]
        case ast.Call(ast.Name(name), [argument, ast.Constant(float() | int() as limit)]):
            return [LIMITS[name](value, limit) for value in compute(argument, inputs)]
    raise UnknownGrammarError(ast.unparse(tree))


def slide(values: Values, size: int, aggregator: str) -> Values:
    """Aggregate the window of `size` values that ends at each index; the result is None if the window has no value."""
    if aggregator in {"max", "min"}:
        return slide_extreme(values, size, aggregator)
    sums = [0.0, *accumulate(value or 0 for value in values)]
    counts = [0, *accumulate(value is not None for value in values)]
    results: Values = []
    for index in range(1, len(sums)):
        start = max(index - size, 0)
        known, total = counts[index] - counts[start], sums[index] - sums[start]
        results.append(None if not known else total / known if aggregator == "avg" else total)
    return results


def slide_extreme(values: Values, size: int, aggregator: str) -> Values:
    better = operator.ge if aggregator == "max" else operator.le
    best: deque[tuple[int, float]] = deque()
    results: Values = []
    for index, value in enumerate(values):
        if value is not None:
            while best and better(value, best[-1][1]):
                best.pop()
            best.append((index, value))
        while best and best[0][0] <= index - size:
            best.popleft()
        results.append(best[0][1] if best else None)
    return results
