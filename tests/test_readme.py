"""README and the documents beside it match the code."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from datadog_checks.dev.utils import get_metadata_metrics

from datadog_checks.gunicorn import GunicornCheck, __version__
from datadog_checks.gunicorn.metrics import SERVICE_CHECK
from datadog_checks.gunicorn.standalone.parser import build_parser
from tests.gunicorn_server import APPS, GUNICORN, newest

from .assets.declared import ATTRIBUTES
from .logs.agent import ONE_STREAM, configured_logs

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = "\n".join(document.read_text() for document in DOCUMENTS)
BLOCKS = re.findall(r"(?ms)^( *)```(\w+)\n(.*?)^ *```$", ALL)
MOST_LINES = 339
YAML = [yaml.safe_load(block) for _, language, block in BLOCKS if language == "yaml"]
COMMANDS = [
    line.strip() for _, language, block in BLOCKS if language == "shell" for line in block.splitlines() if line.strip()
]


# What an Agent puts in their place.
TEMPLATE_VARIABLES = {"%%pid%%": "4711", "%%kube_pod_uid%%": "0c2d1f4e-8f3a-4b5c-9d6e-7f8091a2b3c4"}


def instances():
    """Find all instances in the documents: in blocks, in files inside of blocks, in labels and in annotations."""
    for block in YAML:
        yield from instances_in(block)


def instances_in(block):
    if not isinstance(block, dict):
        return
    yield from block.get("instances", ())
    for key, value in block.items():
        if key.endswith(".checks"):
            resolved = re.sub("%%.*?%%", lambda variable: TEMPLATE_VARIABLES[variable[0]], value)
            yield from json.loads(resolved)["gunicorn"]["instances"]
        elif key == "gunicorn.yaml":
            yield from instances_in(yaml.safe_load(value))
        else:
            yield from instances_in(value)


@pytest.mark.parametrize("instance", instances(), ids=str)
def test_configurations_are_valid(instance):
    check = GunicornCheck("gunicorn", {}, [instance])
    assert check._settings.warnings == ()


def test_there_are_configurations_for_every_way_to_select_servers():
    ways = [tuple(sorted({"proc_name", "container", "discovery"} & set(instance))) for instance in instances()]
    # A file, the values of Helm, a manifest of the Operator, and a selection.
    assert ways.count(("discovery",)) == 4
    assert ways.count(("container",)) == 2
    assert ways.count(("proc_name",)) >= 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_and_sections_exist(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        if not path.startswith("https://"):
            linked = (document.parent / path).resolve() if path else document
            assert linked.is_file(), target
            assert not anchor or anchor in anchors_of(linked.read_text()), target


def test_readme_is_short():
    # The table of metrics is as long as there are metrics.
    lines = [line for line in TEXT.splitlines() if not line.startswith("| `gunicorn.")]
    assert len(lines) <= MOST_LINES


def test_documents_name_the_version_of_the_package():
    assert set(re.findall(r"datadog_gunicorn-([\d.]+)-py3", ALL)) == {__version__}
    assert f"`gunicorn ({__version__})`" in TEXT


def test_logs_are_configured_as_in_the_example():
    (logs,) = (block["logs"] for block in YAML if "logs" in block)
    for mine, example in zip(logs, configured_logs(), strict=True):
        assert (mine["service"], mine["tags"]) == ("my_web_app", ["app:my_web_app"])
        assert {**mine, "service": "<MY_SERVICE>", "tags": ["app:<YOUR_APP_NAME>"]} == example


def test_the_rule_for_both_logs_in_one_stream():
    (rules,) = (block["log_processing_rules"] for block in YAML if "log_processing_rules" in block)
    assert [rule["pattern"] for rule in rules] == [ONE_STREAM]


def test_names_of_metrics_are_declared():
    others = ("gunicorn.ctl", "gunicorn.yaml", "gunicorn.d", "gunicorn.glogging")
    declared = {*get_metadata_metrics(), *ATTRIBUTES, SERVICE_CHECK, *others}
    for name in re.findall(r"`(gunicorn\.[a-z0-9_.<>]+)", ALL):
        pattern = re.escape(name).replace("<code>", r"\d{3}")
        assert any(re.fullmatch(rf"{pattern}(\.\w+)?", known) for known in declared), name


def test_commands_of_make_exist():
    targets = set(re.findall(r"(?m)^([a-z0-9]+):", (ROOT / "Makefile").read_text()))
    named = set(re.findall(r"`make ([a-z0-9]+)[ `]", ALL)) | {command[1] for command in split("make")}
    assert named
    assert named <= targets


def test_commands_of_python_are_understood():
    named = [*split("python"), *(shlex.split(text) for text in re.findall(r"`(python -m datadog_checks[^`]+)`", ALL))]
    assert len(named) > 1
    for command in named:
        assert command[:3] == ["python", "-m", "datadog_checks.gunicorn"]
        build_parser().parse_args(command[3:])


@newest
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("gunicorn ")])
def test_commands_of_gunicorn_are_understood(command, tmp_path):
    (tmp_path / "my_web_app.py").write_text((APPS / "app.py").read_text())
    subprocess.run([GUNICORN, "--check-config", *shlex.split(command)[1:]], cwd=tmp_path, check=True, timeout=30)


def split(program):
    return [shlex.split(line) for line in COMMANDS if line.startswith(f"{program} ")]


def anchors_of(text):
    titles = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_numbered_links_are_defined_used_and_valid():
    defined = dict(re.findall(r"(?m)^\[(\d+)\]: (.*)$", TEXT))
    assert set(re.findall(r"\]\[(\d+)\]", TEXT)) == set(defined)
    for target in defined.values():
        assert target.startswith("https://") or (ROOT / target).is_file()


def test_assets_are_listed_by_title():
    titles = [json.loads(path.read_text())["title"] for path in sorted(ROOT.glob("assets/monitors/*.json"))]
    assert sorted(re.findall(r"(?m)^\| monitor \*\*(.*)\*\* \|", ALL)) == sorted(titles)
