"""A log on its way through a pipeline."""

import json
from typing import Any

Attributes = dict[str, Any]


class Event:
    def __init__(self, message: str) -> None:
        self.message = message
        # Datadog turns a log in JSON into attributes before any pipeline. Whether rules can still parse its text is not
        # documented: here, they cannot.
        self.attributes: Attributes = read_json(message)
        self.is_json = bool(self.attributes)
        # The value in the tests of Datadog's integrations if a log has no date.
        self.timestamp = 1
        self.status: str | None = None
        self.trace: str | None = None
        self.span: str | None = None
        # True if the message is in JSON, or a rule has matched it.
        self.parsed = self.is_json

    def get(self, path: str) -> Any:
        value: Any = self.attributes
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def first(self, paths: list[str]) -> Any:
        return next((value for path in paths if (value := self.get(path)) is not None), None)

    def set(self, path: str, value: Any) -> None:
        *parents, name = path.split(".")
        attributes = self.attributes
        for parent in parents:
            attributes = attributes.setdefault(parent, {})
        attributes[name] = value


def read_json(message: str) -> Attributes:
    try:
        found = json.loads(message)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
