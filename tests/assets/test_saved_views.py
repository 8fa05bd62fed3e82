import json

import pytest

from .declared import ASSETS
from .saved_views import find_all_faults

TEXTS = {path.stem: path.read_text() for path in sorted((ASSETS / "saved_views").iterdir())}
VIEWS = {name: json.loads(text) for name, text in TEXTS.items()}


def test_there_is_a_saved_view_for_each_question():
    assert list(VIEWS) == ["4xx_errors", "5xx_errors", "bot_errors", "gunicorn_processes", "status_code_overview"]


@pytest.mark.parametrize("name", VIEWS)
def test_a_saved_view_has_no_faults(name):
    assert find_all_faults(VIEWS[name]) == []


@pytest.mark.parametrize("name", VIEWS)
def test_the_file_is_indented_by_two_spaces(name):
    assert json.dumps(VIEWS[name], indent=2) + "\n" == TEXTS[name]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("4xx_errors", "source:gunicorn @http.status_code:[400 TO 499]"),
        ("5xx_errors", "source:gunicorn @http.status_code:[500 TO 599]"),
        ("bot_errors", "source:gunicorn @http.useragent_details.device.category:Bot @http.status_code:[400 TO 599]"),
        ("status_code_overview", "source:gunicorn @http.status_code:*"),
        ("gunicorn_processes", "gunicorn"),
    ],
)
def test_the_query_matches_the_name(name, query):
    assert VIEWS[name]["query"] == query


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("4xx_errors", "[400 TO 499]", "[400 TO 500]"),
        ("4xx_errors", '"@network.client.ip"', '"@client.ip"'),
        ("4xx_errors", '"show_timeline": true', '"show_timeline": "yes"'),
        ("5xx_errors", "source:gunicorn", "source:nginx"),
        ("5xx_errors", "@duration", "@network.duration"),
        ("5xx_errors", '"interval_ms": 14400000', '"interval_ms": 0'),
        ("5xx_errors", '"stream"', '"patterns"'),
        ("bot_errors", "device.category", "device.kind"),
        ("bot_errors", '"limit": "10"', '"limit": 10'),
        ("bot_errors", '"@http.useragent_details.browser.family", ', ""),
        ("status_code_overview", '[{"facet": "@http.status_code"}]', "[]"),
        ("status_code_overview", '"facet": "@http.status_code"', '"facet": "http.status_code"'),
        ("gunicorn_processes", '"text": "gunicorn"', '"text": ""'),
        ("gunicorn_processes", '"mem"', '"memory"'),
        ("gunicorn_processes", '"type": "process"', '"type": "logs"'),
        ("gunicorn_processes", '"Gunicorn masters', '"Masters'),
    ],
)
def test_a_fault_is_found(name, right, wrong):
    text = json.dumps(VIEWS[name])
    assert right in text
    assert find_all_faults(json.loads(text.replace(right, wrong, 1))) != []
