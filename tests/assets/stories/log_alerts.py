r"""Evaluates the queries of log monitors over telemetry.

The grammar in use, and all that is accepted:

    query  = 'logs("' search '").index("*").rollup("count").by("' keys '").last("' DURATION '") > ' NUMBER
    search = "source:gunicorn" (" " term)+
    term   = ["-"] phrase | ["-"] "(" phrase (" OR " phrase)* ")"
    phrase = '\"' WORDS '\"'

A phrase matches if its words follow each other in the message. Case does not matter, and characters other than letters
and digits separate words (docs.datadoghq.com/logs/explorer/search_syntax).
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

from .metric_alerts import MINUTE, UnknownGrammarError, parse_duration
from .telemetry import Telemetry, tag_value

QUERY = re.compile(
    r'logs\("source:gunicorn (?P<search>.+)"\)\.index\("\*"\)\.rollup\("count"\)\.by\("(?P<keys>\w+(?:,\w+)*)"\)'
    r'\.last\("(?P<last>\d+[mh])"\) > (?P<critical>\d+)'
)
PHRASE = r'\\"[\w ]+\\"'
TERM = re.compile(rf"(?P<minus>-?)(?:(?P<one>{PHRASE})|\((?P<several>{PHRASE}(?: OR {PHRASE})*)\))(?: |$)")


class Term(NamedTuple):
    wanted: bool
    phrases: list[str]

    def holds(self, words: str) -> bool:
        return self.wanted == any(f" {phrase} " in words for phrase in self.phrases)


class LogAlert(NamedTuple):
    """A parsed query; `last` in seconds."""

    terms: list[Term]
    keys: tuple[str, ...]
    last: int
    critical: float
    operator = ">"

    def matches(self, message: str) -> bool:
        words = f" {' '.join(re.findall(r'[a-z0-9]+', message.lower()))} "
        return all(term.holds(words) for term in self.terms)


def parse(query: str) -> LogAlert:
    match = QUERY.fullmatch(query)
    if not match or TERM.sub("", match["search"]):
        raise UnknownGrammarError(query)
    terms = [
        Term(not found["minus"], re.findall(r'\\"([\w ]+)\\"', (found["one"] or found["several"]).lower()))
        for found in TERM.finditer(match["search"])
    ]
    return LogAlert(terms, tuple(match["keys"].split(",")), parse_duration(match["last"]), float(match["critical"]))


def evaluate(alert: LogAlert, telemetry: Telemetry) -> Iterator[tuple[tuple[str, ...], float, list[float | None]]]:
    """Yield each group with the time of its first line and, for each minute, the number of lines in the window."""
    times = defaultdict(list)
    for log in telemetry.logs:
        group = tuple(tag_value(log.tags, key) or "" for key in alert.keys)
        if all(group) and alert.matches(log.message):
            times[group].append(log.time)
    for group, found in times.items():
        counts: list[float | None] = []
        window: deque[float] = deque()
        waiting = deque(sorted(found))
        for minute in range(1, int(telemetry.end // MINUTE) + 1):
            end = minute * MINUTE
            while waiting and waiting[0] < end:
                window.append(waiting.popleft())
            while window and window[0] < end - alert.last:
                window.popleft()
            counts.append(len(window))
        yield group, min(found), counts
