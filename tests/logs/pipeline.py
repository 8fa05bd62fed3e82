"""Datadog's log pipelines, reduced to what is needed here: a chain of processors for an event."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .event import Attributes, Event
from .grok import UnknownError
from .processors import BUILDERS, Matches, Processor, matcher, user_agent_parser


class Pipeline(NamedTuple):
    matches: Matches
    processors: list[Processor]

    def __call__(self, event: Event) -> None:
        if self.matches(event):
            for process in self.processors:
                process(event)


class Builder(NamedTuple):
    """Builds pipelines; `user_agents` has the parsed details of each user agent in the tests."""

    user_agents: Mapping[str, Attributes]

    def build(self, asset: dict[str, Any]) -> Pipeline:
        match asset["pipeline"]:
            case {"type": "pipeline", "name": str(), "enabled": True, "filter": {"query": query}, **rest} if (
                query == f"source:{asset['id']}"
            ):
                return self.pipeline(lambda event: True, **rest)
        raise UnknownError(f"pipeline {asset['pipeline']}")

    def pipeline(self, matches: Matches, *, processors: list[dict[str, Any]]) -> Pipeline:
        return Pipeline(matches, [self.processor(options) for options in processors])

    def processor(self, options: dict[str, Any]) -> Processor:
        match options:
            case {"type": "pipeline", "name": str(), "enabled": True, "filter": condition, **rest}:
                return self.pipeline(matcher(**condition), **rest)
            case {"type": "user-agent-parser", "name": str(), "enabled": True, **rest}:
                return user_agent_parser(self.user_agents, **rest)
            case {"type": kind, "name": str(), "enabled": True, **rest} if kind in BUILDERS:
                return BUILDERS[kind](**rest)
        raise UnknownError(f"processor {options}")


def run(pipeline: Pipeline, message: str) -> Event:
    event = Event(message)
    pipeline(event)
    return event
