"""The pipeline on its samples: each result is right, and each part of the pipeline is needed for one of them."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .event import Event
from .grok import TOKEN, UnknownError
from .pipeline import Builder, run

LOGS = Path(__file__).parents[2] / "assets/logs"
TEXT = (LOGS / "gunicorn.yaml").read_text()
ASSET = yaml.safe_load(TEXT)
SAMPLES = yaml.safe_load((LOGS / "gunicorn_tests.yaml").read_text())
TESTS = SAMPLES["tests"]
# https://docs.datadoghq.com/standard-attributes/, and the attributes that set the status and the date of the log.
STANDARD = re.compile(r"(dd\.(span|trace)_id|duration|error|evt\.name|http|level|logger\.name|network|timestamp)\b")
# Datadog's parser is not available. Its results for these user agents are known from the tests of its integrations.
USER_AGENTS = {
    http["useragent"]: http["useragent_details"]
    for http in (test["result"]["custom"].get("http", {}) for test in TESTS)
    if "useragent" in http
}


def result(event: Event) -> dict[str, Any]:
    found = {"custom": event.attributes, "message": event.message, "timestamp": event.timestamp}
    return {**found, "tags": ["source:LOGS_SOURCE"], **({"status": event.status} if event.status else {})}


def results(asset: dict[str, Any]) -> list[tuple[dict[str, Any], str | None, str | None]]:
    """Return for each sample the result, the trace and the span."""
    pipeline = Builder(USER_AGENTS).build(asset)
    events = [run(pipeline, test["sample"]) for test in TESTS]
    return [(result(event), event.trace, event.span) for event in events]


def paths(attributes: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in attributes.items():
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def processor_lists(processors: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield processors
    for processor in processors:
        yield from processor_lists(processor.get("processors", []))


def mutants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the asset with one element removed, or one attribute of a rule renamed."""
    asset = copy.deepcopy(ASSET)
    for processors in processor_lists(asset["pipeline"]["processors"]):
        for part in [processors, *(processor.get("categories", []) for processor in processors)]:
            for index, removed in enumerate(list(part)):
                del part[index]
                yield f"without {removed['name']}", asset
                part.insert(index, removed)
        for grok in (processor["grok"] for processor in processors if "grok" in processor):
            whole = dict(grok)
            for line in whole["matchRules"].split("\n\n"):
                grok["matchRules"] = whole["matchRules"].replace(line, "")
                yield f"without {line}", asset
            grok.update(whole)
            for kind, token in ((key, token) for key, text in whole.items() for token in TOKEN.finditer(text)):
                if token["attribute"]:
                    start, end = token.span("attribute")
                    grok[kind] = f"{whole[kind][:start]}wrong{whole[kind][end:]}"
                    yield f"without {token[0]}", asset
                    grok.update(whole)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test["sample"].splitlines()[0])
def test_each_sample_has_its_result(test):
    event = run(Builder(USER_AGENTS).build(ASSET), test["sample"])
    assert event.parsed
    assert result(event) == test["result"]
    assert (event.trace, event.span) == (event.get("dd.trace_id"), event.get("dd.span_id"))


def test_every_part_of_the_pipeline_is_needed():
    expected = results(ASSET)
    assert [found for found, *_ in expected] == [test["result"] for test in TESTS]
    for processors in processor_lists(ASSET["pipeline"]["processors"]):
        for processor in processors:
            assert len(processor.get("samples", [])) <= 5
    unnoticed = [mutation for mutation, asset in mutants() if not is_noticed(asset, expected)]
    assert not unnoticed


def is_noticed(asset: dict[str, Any], expected: list[tuple[dict[str, Any], str | None, str | None]]) -> bool:
    asset = copy.deepcopy(asset)
    for processors in processor_lists(asset["pipeline"]["processors"]):
        for processor in processors:
            if "samples" in processor:
                processor["samples"] = []
    return results(asset) != expected


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("%{notSpace:http.url}", "%{noSpace:http.url}"),
        ("%{_version}", "%{_versions}"),
        (':nullIf("-")', ':nullWhen("-")'),
        ("dd/MMM/yyyy:HH:mm:ss Z", "dd/MM/yyyy:HH:mm:ss Z"),
        (r"[^\\s,]+", r"[^\s,]+"),
        ("access.common %{_common}", "access.combined %{_common}"),
        ("- WORKER TIMEOUT (pid:211)", "- WORKER TIMEOUT 211"),
        ("type: url-parser", "type: uri-parser"),
        ("encoded: false", "decoded: false"),
        ("overrideOnConflict: false", "overrideOnConflict: true"),
        ("enabled: true", "enabled: false"),
        ("'@gunicorn.version:*'", "'@gunicorn.version:>1'"),
        ("query: source:gunicorn", "query: source:unicorn"),
    ],
)
def test_unknown_options_are_errors(right, wrong):
    assert right in TEXT
    with pytest.raises((UnknownError, TypeError)):
        Builder(USER_AGENTS).build(yaml.safe_load(TEXT.replace(right, wrong)))


def test_attributes_have_datadogs_names_or_are_in_our_namespace():
    found = {path for test in TESTS for path in paths(test["result"]["custom"])}
    assert {path for path in found if not STANDARD.match(path) and not path.startswith("gunicorn.")} == set()
    facets = {facet["path"] for facet in ASSET["facets"]}
    assert facets <= found
    without_facets = {"gunicorn.message", "gunicorn.process", "gunicorn.time"}
    assert {path for path in found if path.startswith("gunicorn.")} - facets == without_facets


def test_facets_are_well_formed():
    for facet in ASSET["facets"]:
        assert {"name", "path", "source", "groups"} <= set(facet)
        assert set(facet) <= {"name", "path", "source", "groups", "description", "facetType", "type", "unit"}
        assert facet["source"] == "log"
        assert facet["path"].startswith("gunicorn.") == (facet["groups"] == ["gunicorn"])


def test_the_ids_agree():
    assert ASSET["id"] == ASSET["metric_id"] == SAMPLES["id"] == "gunicorn"
