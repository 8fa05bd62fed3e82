"""A log on its way through a pipeline."""

from typing import Any

Attributes = dict[str, Any]


class Event:
    def __init__(self, message: str) -> None:
        self.message = message
        self.attributes: Attributes = {}
        # The value in the tests of Datadog's integrations if a log has no date.
        self.timestamp = 1
        self.status: str | None = None
        # True if a rule has matched the message.
        self.parsed = False

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
