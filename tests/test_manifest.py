import json
import re
import struct
from pathlib import Path

import pytest
import yaml
from datadog_checks.dev.utils import get_metadata_metrics

ROOT = Path(__file__).parent.parent
MANIFEST = json.loads((ROOT / "manifest.json").read_text())
TILE, ASSETS, INTEGRATION = MANIFEST["tile"], MANIFEST["assets"], MANIFEST["assets"]["integration"]
# The title of a master, and the ways to start servers without titles.
SIGNATURES = ["gunicorn: master", "gunicorn", "gunicorn3", "gunicorn.app.wsgiapp"]
# The files in the manifest, and values that are not files.
NAMED = {
    **ASSETS["dashboards"],
    **ASSETS["monitors"],
    **ASSETS["saved_views"],
    "spec": INTEGRATION["configuration"]["spec"],
    "service checks": INTEGRATION["service_checks"]["metadata_path"],
    "metadata": INTEGRATION["metrics"]["metadata_path"],
    "changelog": TILE["changelog"],
}
# Found by their location. The log pipeline is selected by `source`.
PLACED = [
    "assets/dataflows.yaml",
    f"assets/logs/{ASSETS['logs']['source']}.yaml",
    f"assets/logs/{ASSETS['logs']['source']}_tests.yaml",
]


def load(path):
    return json.loads((ROOT / path).read_text())


def test_what_the_integration_is():
    assert {key: value for key, value in MANIFEST.items() if key not in {"tile", "assets"}} == {
        "manifest_version": "2.0.0",
        "app_uuid": "49687997-bbf2-45db-9b4f-223cf7c492ed",
        "app_id": "gunicorn",
        "display_on_public_website": True,
        # No company. A domain that is reserved for examples, until there is a homepage and an address to write to.
        "author": {
            "name": "datadog-gunicorn contributors",
            "homepage": "https://datadog-gunicorn.example.com",
            "support_email": "support@datadog-gunicorn.example.com",
            "sales_email": "support@datadog-gunicorn.example.com",
        },
    }


def test_what_the_agent_check_is():
    assert INTEGRATION == {
        "auto_install": True,
        "source_type_id": 60,
        "source_type_name": "Gunicorn",
        "configuration": {"spec": "assets/configuration/spec.yaml"},
        "events": {"creates_events": False},
        "metrics": {"prefix": "gunicorn.", "check": "gunicorn.workers", "metadata_path": "metadata.csv"},
        "service_checks": {"metadata_path": "assets/service_checks.json"},
        "process_signatures": SIGNATURES,
    }


def matches(signature, command_line):
    """Whether the command line, split at blanks and slashes, has the words of the signature in this order.

    This is how the Agent's package procmatch, for which signatures were introduced, reads them.
    """
    words = iter(re.split(r"[\s/]+", command_line.lower()))
    return all(word in words for word in signature.split())


@pytest.mark.parametrize(
    "command_line",
    [
        "gunicorn: master [my_web_app]",
        "/srv/venv/bin/python3 /srv/venv/bin/gunicorn -w 2 app:app",
        "/srv/venv/bin/python3.13 -u -X dev /srv/venv/bin/gunicorn -n web app:app",
        "/usr/bin/python3 -m gunicorn app:app",
        "python -m gunicorn.app.wsgiapp app:app",
        "/usr/bin/python3 /usr/bin/gunicorn3 app:app",
        "pypy3 /srv/venv/bin/gunicorn app:app",
        "python -m cProfile -m gunicorn app:app",
    ],
)
def test_one_process_signature_matches_a_server_with_or_without_a_title(command_line):
    assert sum(matches(signature, command_line) for signature in SIGNATURES) == 1


@pytest.mark.parametrize("command_line", ["gunicorn: worker [my_web_app]", "unicorn_rails master", "python3 serve.py"])
def test_process_signatures_match_nothing_else(command_line):
    assert not any(matches(signature, command_line) for signature in SIGNATURES)


def test_what_the_tile_shows():
    assert {key: value for key, value in TILE.items() if key not in {"description", "media"}} == {
        "overview": "README.md#Overview",
        "configuration": "README.md#Setup",
        "support": "README.md#Support",
        "changelog": "CHANGELOG.md",
        "title": "Gunicorn",
        # From https://docs.datadoghq.com/developers/integrations/check_references/#classifier-tags
        "classifier_tags": [
            "Supported OS::Linux",
            "Supported OS::macOS",
            "Category::Log Collection",
            "Category::Web",
            "Submitted Data Type::Logs",
            "Submitted Data Type::Metrics",
            "Offering::Integration",
        ],
    }
    assert re.fullmatch(r"[A-Z].{,78}\.", TILE["description"])


def test_the_tile_shows_the_picture():
    # From https://docs.datadoghq.com/developers/integrations/create_a_tile/
    (picture,) = TILE["media"]
    assert picture.keys() == {"media_type", "caption", "image_url"}
    assert (picture["media_type"], picture["image_url"]) == ("image", "images/saturation_wide.png")
    assert 0 < len(picture["caption"]) <= 300
    content = (ROOT / picture["image_url"]).read_bytes()
    assert len(content) <= 1_000_000
    # The header of a PNG: width, height, bits for each of red, green and blue.
    assert struct.unpack(">8s4x4sIIBB", content[:26]) == (b"\x89PNG\r\n\x1a\n", b"IHDR", 1440, 810, 8, 2)


@pytest.mark.parametrize("part", ["overview", "configuration", "support"])
def test_the_tile_points_to_sections_of_the_readme(part):
    file, _, heading = TILE[part].partition("#")
    assert f"\n## {heading}\n" in (ROOT / file).read_text()


def test_the_kinds_of_assets():
    assert ASSETS.keys() == {"integration", "dashboards", "monitors", "saved_views", "logs"}
    assert ASSETS["logs"] == {"source": "gunicorn"}
    assert ASSETS["dashboards"] == {"Gunicorn": "assets/dashboards/gunicorn_dashboard.json"}
    assert sorted(ASSETS["monitors"].values()) == [
        "assets/monitors/connections_queued.json",
        "assets/monitors/cpu_used_up.json",
        "assets/monitors/crash_loop.json",
        "assets/monitors/not_running.json",
        "assets/monitors/pool_full.json",
        "assets/monitors/server_errors.json",
        "assets/monitors/worker_crashes.json",
        "assets/monitors/worker_memory.json",
        "assets/monitors/worker_stuck.json",
        "assets/monitors/worker_timeouts.json",
    ]
    assert sorted(ASSETS["saved_views"].values()) == [
        "assets/saved_views/4xx_errors.json",
        "assets/saved_views/5xx_errors.json",
        "assets/saved_views/bot_errors.json",
        "assets/saved_views/gunicorn_processes.json",
        "assets/saved_views/status_code_overview.json",
    ]


@pytest.mark.parametrize("path", [*NAMED.values(), *PLACED])
def test_every_listed_file_exists(path):
    assert (ROOT / path).is_file()


def test_every_asset_is_listed():
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "assets").rglob("*") if path.is_file()}
    program = {file for file in files if file.startswith("assets/upload/")}
    assert files - program - {*NAMED.values(), *PLACED} == set()


def test_monitors_are_named_by_their_titles():
    assert list(ASSETS["monitors"]) == [load(path)["title"] for path in ASSETS["monitors"].values()]


def test_saved_views_are_named_by_their_files():
    assert list(ASSETS["saved_views"]) == [Path(path).stem for path in ASSETS["saved_views"].values()]


def test_the_installation_metric_is_a_metric_of_the_check():
    assert INTEGRATION["metrics"]["check"] in get_metadata_metrics()


def test_dataflows_are_the_submitted_types_of_data():
    flows = yaml.safe_load((ROOT / "assets/dataflows.yaml").read_text())
    assert flows == {
        "provides": [
            {"id": "gunicorn-metrics", "always_on": True, "data_type": "metrics", "direction": "inbound"},
            {"id": "gunicorn-logs", "always_on": False, "data_type": "logs", "direction": "inbound"},
        ]
    }
    submitted = {tag.rpartition("::")[2].lower() for tag in TILE["classifier_tags"] if tag.startswith("Submitted")}
    assert {flow["data_type"] for flow in flows["provides"]} == submitted


def test_the_service_check():
    (check,) = load(NAMED["service checks"])
    assert (check["check"], check["statuses"]) == ("gunicorn.is_running", ["ok", "critical"])
    assert check["groups"] == ["host", "app"]
    assert check["integration"] == TILE["title"]
    # It has Python 3.13, and at least the base package that pyproject.toml requires.
    assert check["agent_version"] == "7.72.0"
    assert all(word in check["description"] for word in ("`OK`", "`CRITICAL`", "master", "worker"))
