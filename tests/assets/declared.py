"""The declared metrics, service checks and log attributes, and their names in texts."""

import csv
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets"
PIPELINE = yaml.safe_load((ASSETS / "logs/gunicorn.yaml").read_text())
SAMPLES = yaml.safe_load((ASSETS / "logs/gunicorn_tests.yaml").read_text())["tests"]

with (ROOT / "metadata.csv").open() as lines:
    DECLARED_METRICS = {row["metric_name"]: row for row in csv.DictReader(lines)}
CODES = sorted(int(name.rpartition(".")[2]) for name in DECLARED_METRICS if name.startswith("gunicorn.request.status."))
SERVICE_CHECKS = {check["check"] for check in json.loads((ASSETS / "service_checks.json").read_text())}


def paths(attributes: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in attributes.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{name}.")


FACETS = {facet["path"] for facet in PIPELINE["facets"]}
ATTRIBUTES = FACETS.union(*(paths(sample["result"]["custom"]) for sample in SAMPLES))
EVENTS = {
    category["name"]
    for processor in PIPELINE["pipeline"]["processors"]
    if processor.get("target") == "evt.name"
    for category in processor["categories"]
}
# https://docs.datadoghq.com/logs/log_configuration/processors/log_status_remapper/
STATUSES = {"emergency", "alert", "critical", "error", "warn", "notice", "info", "debug", "ok"}

# In texts, `gunicorn.d` is a directory, and `@gunicorn.pid` is a log attribute.
NAME = re.compile(r"(?<![\w@./])gunicorn\.(?!d/)\w+(?:\.\w+)*")
ATTRIBUTE = re.compile(r"@(\w+(?:\.\w+)*)")
EVENT = re.compile(r"@evt\.name:(?:\(([^)]*)\)|([\w*]+))")


def find_unknown_names(text: str) -> Iterator[str]:
    """Yield the names of metrics, service checks, log attributes and events in a text that are not declared."""
    for name in NAME.findall(text):
        if name not in DECLARED_METRICS and name not in SERVICE_CHECKS:
            yield f"no such metric: {name}"
    for attribute in ATTRIBUTE.findall(text):
        if attribute not in ATTRIBUTES:
            yield f"no such attribute: {attribute}"
    for several, one in EVENT.findall(text):
        for event in (several or one).split(" OR "):
            if not any(fnmatch(known, event) for known in EVENTS):
                yield f"no such event: {event}"
