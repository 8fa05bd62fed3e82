import json

import pytest

from .dashboards import find_all_faults
from .declared import ASSETS

TEXT = (ASSETS / "dashboards/gunicorn_dashboard.json").read_text()
DASHBOARD = json.loads(TEXT)


def test_nothing_is_wrong_with_it():
    assert find_all_faults(DASHBOARD) == []


def test_it_is_indented_by_two():
    assert json.dumps(DASHBOARD, indent=2, ensure_ascii=False) + "\n" == TEXT


@pytest.mark.parametrize("said", ["--dogstatsd-tags app:NAME", "--statsd-host", "lower bounds", "keep-alive", "`sync`"])
def test_it_says_how_to_read_it(said):
    assert said in TEXT


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"layout_type": "ordered"', '"layout_type": "free"'),
        ("{state:*,$app", "{$app"),
        ("{state:working,", "{state:busy,"),
        ("{state:queued,", "{state:*,"),
        ("{state:queued,", "{"),
        (".status.503{", ".status.513{"),
        ("default_zero(s502) + ", ""),
        ("default_zero(s404) + ", "default_zero(s404) + default_zero(s404) + "),
        ("default_zero(s200)", "default_zero(s404)"),
        ("max:gunicorn.request.duration.95percentile", "sum:gunicorn.request.duration.95percentile"),
        ("max:gunicorn.request.duration.median", "sum:gunicorn.request.duration.median"),
        ("min:gunicorn.uptime", "sum:gunicorn.uptime"),
        ("sum:gunicorn.workers{state:*", "avg:gunicorn.workers{state:*"),
        ("gunicorn.dirty_workers{", "gunicorn.dirty.workers{"),
        ("gunicorn.threads{$app,$host,$service}", "gunicorn.threads{$app,$host}"),
        ("source:gunicorn $app $host $service", "source:gunicorn $app $host"),
        ("source:gunicorn", "source:nginx"),
        ("gunicorn.workers.exited{$app,$host,$service}.as_count()", "gunicorn.workers.exited{$app,$host,$service}"),
        ("@http.url_details.path", "@http.path"),
        ("worker_killed OR", "worker_shot OR"),
        ("status:(emergency", "status:(fatal"),
        ("[400 TO 499]", "[401 TO 499]"),
        ('"alias": "503"', '"alias": "502"'),
        ('"metric": "@duration"', '"metric": "@time"'),
        ('"display_type": "bars"', '"display_type": "bar"'),
        ('"formulas"', '"formula"'),
        ('"prefix": "service"', '"prefix": "env"'),
        ('"check": "gunicorn.is_running"', '"check": "gunicorn.running"'),
        ("by {process_role}", "by {role}"),
        ('"formula": "accepted / workers"', '"formula": "accepted / worker"'),
        ('"title": "Dirty workers, by server"', '"title": ""'),
        ('"x": 6,', '"x": 5,'),
        ('"height": 6', '"height": 5'),
        ("tag:(integration:gunicorn)", "tag:(integration:nginx)"),
        ("Saturation", "Requests"),
        (', "aggregator": "last"', ""),
    ],
)
def test_a_fault_is_found(right, wrong):
    text = json.dumps(DASHBOARD)
    assert right in text
    assert find_all_faults(json.loads(text.replace(right, wrong, 1))) != []
