"""The local API refuses bodies that Datadog's API would not understand."""

import pytest
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.monitor import Monitor

from .datadog import find_faults

pytestmark = pytest.mark.loader

NOTE = {"definition": {"type": "note", "content": "Look"}}
GROK = {"type": "grok-parser", "source": "message", "grok": {"match_rules": "all %{data}"}}


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (Dashboard, {"title": "One", "layout_type": "ordered", "widgets": [NOTE]}),
        (Monitor, {"type": "query alert", "query": "avg(last_5m):avg:a.b{*} > 1"}),
        (LogsPipeline, {"name": "One", "processors": [GROK]}),
    ],
)
def test_a_valid_body_has_no_faults(model, document):
    assert find_faults(document, model) == []


@pytest.mark.parametrize(
    ("model", "document", "fault"),
    [
        (Dashboard, {"title": "One", "widgets": []}, "missing"),
        (
            Dashboard,
            {
                "title": "One",
                "layout_type": "ordered",
                "widgets": [{"definition": {**NOTE["definition"], "text": "x"}}],
            },
            ".text: unknown to NoteWidgetDefinition",
        ),
        (Monitor, {"type": "query alert", "query": "avg(last_5m):avg:a.b{*} > 1", "id": 7}, "Monitor.id: read-only"),
        (Monitor, {"type": "no such type", "query": "avg(last_5m):avg:a.b{*} > 1"}, "Monitor: unparsed"),
        (Monitor, {"type": "query alert", "query": 17}, "Invalid type"),
        (LogsPipeline, {"name": "One", "processors": [{**GROK, "isEnabled": True}]}, ".isEnabled: unknown to LogsGrok"),
        (LogsPipeline, {"name": "One", "processors": [{"type": "no-such-parser"}]}, "LogsPipeline: unparsed"),
    ],
)
def test_an_invalid_body_has_a_fault(model, document, fault):
    (found,) = find_faults(document, model)
    assert fault in found
