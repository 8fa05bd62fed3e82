"""The log processors of Datadog that the pipeline uses. Unknown options are errors.

https://docs.datadoghq.com/logs/log_configuration/processors/
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .event import Attributes, Event
from .grok import Grok, UnknownError

Processor = Callable[[Event], None]
Matches = Callable[[Event], bool]

# By the prefix of the level; any other level is info.
STATUSES = {"c": "critical", "d": "debug", "err": "error", "n": "notice", "w": "warn"}
RANGE = re.compile(r"@([\w.]+):\[(\d+) TO (\d+)\]")
# Blanks in a value are escaped with backslashes.
PREFIX = re.compile(r"@([\w.]+):((?:\w|\\ )*\*)")


def matcher(*, query: str) -> Matches:
    r"""Translate `@attribute:[1 TO 2]`, `@attribute:*`, prefixes (`@attribute:two\ words*`), and OR."""
    if " OR " in query:
        either = [matcher(query=term) for term in query.split(" OR ")]
        return lambda event: any(matches(event) for matches in either)
    if term := RANGE.fullmatch(query):
        path, low, high = term.groups()
        return lambda event: int(low) <= (event.get(path) or 0) <= int(high)
    if term := PREFIX.fullmatch(query):
        path, prefix = term.groups()
        start = prefix[:-1].replace("\\ ", " ")
        return lambda event: event.get(path) is not None and str(event.get(path)).startswith(start)
    raise UnknownError(f"query {query}")


def grok_parser(*, source: str, grok: dict[str, str], samples: list[str]) -> Processor:
    if set(grok) != {"supportRules", "matchRules"}:
        raise UnknownError(f"options {grok}")
    parser = Grok(grok["supportRules"], grok["matchRules"])
    for sample in samples:
        if parser.parse(sample) is None:
            raise UnknownError(f"a sample that no rule parses: {sample}")

    def process(event: Event) -> None:
        text = (None if event.is_json else event.message) if source == "message" else event.get(source)
        found = parser.parse(text) if text else None
        event.parsed |= source == "message" and found is not None
        for path, value in found or []:
            event.set(path, value)

    return process


def category_processor(*, target: str, categories: list[dict[str, Any]]) -> Processor:
    named = [(matcher(**category["filter"]), category["name"]) for category in categories]

    def process(event: Event) -> None:
        if name := next((name for matches, name in named if matches(event)), None):
            event.set(target, name)

    return process


def attribute_remapper(*, sources: list[str], target: str, **options: Any) -> Processor:
    attributes = {"sourceType": "attribute", "targetType": "attribute"}
    if options != {"preserveSource": True, "overrideOnConflict": False, **attributes}:
        raise UnknownError(f"options {options}")

    def process(event: Event) -> None:
        if (value := event.first([target, *sources])) is not None:
            event.set(target, value)

    return process


def url_parser(*, sources: list[str], target: str) -> Processor:
    def process(event: Event) -> None:
        if url := event.first(sources):
            parts = urlsplit(url)
            query = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
            details = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port, "path": parts.path}
            found = {name: value for name, value in {**details, "queryString": query}.items() if value}
            event.set(target, found)

    return process


def user_agent_parser(agents: Mapping[str, Attributes], *, sources: list[str], target: str, encoded: bool) -> Processor:
    if encoded:
        raise UnknownError("encoded user agents")

    def process(event: Event) -> None:
        if agent := event.first(sources):
            event.set(target, agents[agent])

    return process


def date_remapper(*, sources: list[str]) -> Processor:
    def process(event: Event) -> None:
        event.timestamp = event.first(sources) or event.timestamp

    return process


def status_remapper(*, sources: list[str]) -> Processor:
    def process(event: Event) -> None:
        if level := event.first(sources):
            event.status = next(
                (status for start, status in STATUSES.items() if level.lower().startswith(start)), "info"
            )

    return process


def trace_id_remapper(*, sources: list[str]) -> Processor:
    def process(event: Event) -> None:
        event.trace = event.first(sources)

    return process


def span_id_remapper(*, sources: list[str]) -> Processor:
    def process(event: Event) -> None:
        event.span = event.first(sources)

    return process


BUILDERS: dict[str, Callable[..., Processor]] = {
    "attribute-remapper": attribute_remapper,
    "category-processor": category_processor,
    "date-remapper": date_remapper,
    "grok-parser": grok_parser,
    "span-id-remapper": span_id_remapper,
    "status-remapper": status_remapper,
    "trace-id-remapper": trace_id_remapper,
    "url-parser": url_parser,
}
