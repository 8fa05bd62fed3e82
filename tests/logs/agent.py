"""The Agent's processing of log files before the pipeline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs"
# For the error log and the access log in one stream, such as a container's.
ONE_STREAM = r'(\[\d{4}-\d{2}-\d{2}|(\{"|\S* - ).*\[\d{2}/[A-Z][a-z]{2}/\d{4}:)'
# The documented format: the line that docs/logs.md gives for Gunicorn's configuration file.
(JSON_FORMAT,) = re.findall(r"(?m)^access_log_format = '(\{.*\})'$", (DOCS / "logs.md").read_text())
SPEC = Path(__file__).parents[2] / "assets/configuration/spec.yaml"


def configured_logs() -> list[dict[str, Any]]:
    """Read the log configuration that conf.yaml.example shows: the access log and the error log."""
    (configuration,) = yaml.safe_load(SPEC.read_text())["files"]
    (logs,) = [option["example"] for option in configuration["options"] if option["template"] == "logs"]
    return logs


def read_events(text: str, *, log_processing_rules: list[dict[str, str]] = (), **options: Any) -> Iterator[str]:
    """Join lines up to the next one that matches the pattern at its start, and strip the result.

    As in single_line_handler.go and multiline_handler.go of the Agent's pkg/logs/internal/decoder.
    """
    start = ""
    for rule in log_processing_rules:
        assert (rule["type"], rule["name"]) == ("multi_line", "log_start_with_date")
        start = rule["pattern"]
    lines: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if lines and re.match(start, line):
            yield "\n".join(lines).strip()
            lines = []
        lines.append(line)
    yield "\n".join(lines).strip()
