"""Evaluates the queries of service check monitors over telemetry.

The grammar in use, and all that is accepted:

    query = '"' CHECK '".over("*").by("' KEY '","' KEY '").last(' COUNT ').count_by_status()'

An alert needs as many CRITICAL statuses in a row as its threshold says, and a recovery as many OK
(docs.datadoghq.com/monitors/types/service_check). COUNT bounds both.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from .metric_alerts import UnknownGrammarError
from .telemetry import Telemetry, tag_value

QUERY = re.compile(
    r'"(?P<check>[\w.]+)"\.over\("\*"\)\.by\((?P<keys>"\w+"(?:,"\w+")*)\)\.last\((?P<count>\d+)\)\.count_by_status\(\)'
)


class StatusAlert(NamedTuple):
    check: str
    keys: tuple[str, ...]
    count: int


def parse(query: str) -> StatusAlert:
    match = QUERY.fullmatch(query)
    if not match:
        raise UnknownGrammarError(query)
    return StatusAlert(match["check"], tuple(re.findall(r"\w+", match["keys"])), int(match["count"]))


def find_statuses(
    alert: StatusAlert, telemetry: Telemetry
) -> Iterator[tuple[tuple[str, ...], list[tuple[float, str]]]]:
    """Yield each group with its statuses in the order of time."""
    groups = defaultdict(list)
    for tags, statuses in telemetry.statuses.get(alert.check, {}).items():
        groups[tuple(tag_value(tags, key) or "" for key in alert.keys)] += statuses
    for group, statuses in groups.items():
        yield group, sorted(statuses)
