"""Datadog's grok rules as regular expressions: the features that the pipeline uses, and an error for all others.

https://docs.datadoghq.com/logs/log_configuration/parsing/
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

# %{matcher}, %{matcher:attribute} or %{matcher:attribute:filter}; a backslash escapes a quote or a backslash.
TOKEN = re.compile(
    r"""%\{(?P<matcher>[\w.]+)(?:\((?P<argument>"(?:\\["\\]|[^"\\])*")\))?
    (?::(?P<attribute>[\w.]+))?(?::(?P<filter>\w+)\((?P<filter_argument>[^)]*)\))?\}""",
    re.VERBOSE,
)
MATCHERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "integer": (r"[+-]?\d+", int),
    "notSpace": (r"\S+", str),
    "number": (r"[+-]?(?>\d+(?:\.\d*)?|\.\d+)", float),
    "word": (r"\b\w+\b", str),
}
DATES = {
    "dd/MMM/yyyy:HH:mm:ss Z": (r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", "%d/%b/%Y:%H:%M:%S %z"),
    "yyyy-MM-dd HH:mm:ss Z": (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", "%Y-%m-%d %H:%M:%S %z"),
    "yyyy-MM-dd HH:mm:ss,SSS": (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "%Y-%m-%d %H:%M:%S,%f"),
}


class UnknownError(Exception):
    """The pipeline uses something that this translator does not know."""


class Rule(NamedTuple):
    pattern: re.Pattern[str]
    # By group name: the attribute, and the function that converts the match.
    captures: dict[str, tuple[str, Callable[[str], Any]]]

    def parse(self, text: str) -> list[tuple[str, Any]] | None:
        """Return attributes and values, or None if the rule does not match the whole text."""
        match = self.pattern.fullmatch(text)
        if not match:
            return None
        found = [(name, value(match[group])) for group, (name, value) in self.captures.items() if match[group]]
        return [(name, value) for name, value in found if value is not None]


class Grok:
    """The rules of one grok parser; the first match wins."""

    def __init__(self, support_rules: str, match_rules: str) -> None:
        known: dict[str, str] = {}
        for line in support_rules.splitlines():
            add_rule(line, known)
        self.rules = [compile_rule(add_rule(line, known)) for line in match_rules.splitlines() if line]

    def parse(self, text: str) -> list[tuple[str, Any]] | None:
        return next((found for rule in self.rules if (found := rule.parse(text)) is not None), None)


def add_rule(line: str, known: dict[str, str]) -> str:
    """Add a rule, which can refer to the rules before it."""
    name, _, definition = line.partition(" ")
    if not re.fullmatch(r"\w[\w.]*", name) or name in known:
        raise UnknownError(f"an invalid or repeated name of a rule: {name!r}")
    known[name] = TOKEN.sub(lambda token: known.get(token["matcher"], token[0]), definition)
    return known[name]


def compile_rule(definition: str) -> Rule:
    captures: dict[str, tuple[str, Callable[[str], Any]]] = {}

    def compiled(token: re.Match[str]) -> str:
        pattern, value = translate_matcher(token["matcher"], token["argument"])
        if not token["attribute"]:
            return f"(?:{pattern})"
        group = f"g{len(captures)}"
        captures[group] = token["attribute"], filtered(value, token["filter"], token["filter_argument"])
        return f"(?P<{group}>{pattern})"

    pattern = TOKEN.sub(compiled, definition)
    if "%{" in pattern:
        raise UnknownError(f"the token at {pattern[pattern.index('%{') :]}")
    # Without DOTALL, because no rule may depend on whether a dot matches a newline.
    return Rule(re.compile(pattern, re.ASCII), captures)


def translate_matcher(name: str, argument: str | None) -> tuple[str, Callable[[str], Any]]:
    match name, argument:
        case "regex", str():
            return re.sub(r"\\(.)", r"\1", argument[1:-1]), str
        case "date", str() if argument[1:-1] in DATES:
            pattern, date_format = DATES[argument[1:-1]]
            return pattern, lambda text: milliseconds(text, date_format)
        case _, None if name in MATCHERS:
            return MATCHERS[name]
    raise UnknownError(f"matcher {name}({argument})")


def filtered(value: Callable[[str], Any], name: str | None, argument: str) -> Callable[[str], Any]:
    match name:
        case None:
            return value
        case "nullIf":
            return lambda text: None if f'"{text}"' == argument else value(text)
        case "scale":
            return lambda text: float(value(text)) * int(argument)
    raise UnknownError(f"filter {name}({argument})")


def milliseconds(text: str, date_format: str) -> int:
    if not date_format.endswith("%z"):
        # Datadog reads a date without a time zone as UTC.
        text, date_format = f"{text} +0000", f"{date_format} %z"
    return round(datetime.strptime(text, date_format).astimezone(UTC).timestamp() * 1000)
