"""What reaches Datadog: points of metrics, statuses of service checks, and log lines."""

from collections import defaultdict
from typing import NamedTuple

Tags = frozenset[str]


class Log(NamedTuple):
    """A log line, with the time in seconds."""

    time: float
    tags: Tags
    message: str


class Telemetry:
    """Everything that was sent from second 0 to second `end`."""

    def __init__(self) -> None:
        self.end = 0.0
        self.points: dict[str, dict[Tags, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
        self.statuses: dict[str, dict[Tags, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
        self.logs: list[Log] = []

    def send(self, time: float, metric: str, value: float, tags: Tags) -> None:
        self.points[metric][tags].append((time, value))

    def report(self, time: float, check: str, status: str, tags: Tags) -> None:
        self.statuses[check][tags].append((time, status))

    def log(self, time: float, message: str, tags: Tags) -> None:
        self.logs.append(Log(time, tags, message))


def tag_value(tags: Tags, key: str) -> str | None:
    for tag in tags:
        name, _, value = tag.partition(":")
        if name == key:
            return value
    return None
