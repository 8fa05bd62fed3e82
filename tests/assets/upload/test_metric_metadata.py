"""The metadata of metrics."""

import pytest

from assets.upload.files import Files
from assets.upload.plan import plan_metadata

from .local_account import KEPT_METRICS, ROOT

pytestmark = pytest.mark.loader

ALL = Files(ROOT).read_metrics()
WANTED = {name: ALL[name] for name in KEPT_METRICS}
NAME = "gunicorn.connections"


def test_metrics_that_the_account_has_not_received_are_no_error(account):
    outcome = account.apply()
    assert outcome.code == 0
    assert outcome.line_of("metric", NAME) == "not received yet: run it again when the account has the metric"
    assert outcome.line("Done: ").endswith(f", {len(WANTED)} not received yet.")


def test_empty_fields_are_filled_in(account):
    account.datadog.receive(*WANTED)
    account.datadog.metrics[NAME]["statsd_interval"] = 10
    planned = account.run()
    assert planned.line_of("metric", NAME) == (
        f"would be filled in: description, short_name, unit https://app.datadoghq.com/metric/summary?metric={NAME}"
    )
    outcome = account.apply()
    assert outcome.line_of("metric", NAME).startswith("filled in: description, short_name, unit https://")
    assert account.datadog.metrics[NAME] == {
        **WANTED[NAME],
        "per_unit": None,
        "integration": None,
        "statsd_interval": 10,
    }


def test_a_second_run_changes_nothing(account):
    account.datadog.receive(*WANTED)
    account.apply("--overwrite")
    account.datadog.log.clear()
    outcome = account.apply()
    assert account.datadog.changes == []
    assert outcome.line_of("metric", NAME).startswith("unchanged https://")


def test_a_field_that_differs_is_shown_and_kept_unless_overwritten(account):
    account.datadog.receive(*WANTED)
    account.apply()
    account.datadog.metrics[NAME] |= {"unit": "page", "short_name": None}
    outcome = account.apply()
    assert outcome.line_of("metric", NAME).startswith(
        "filled in: short_name; the account has another unit; OVERWRITE=1 ONLY=gunicorn.connections replaces it https://"
    )
    assert account.datadog.metrics[NAME]["unit"] == "page"
    assert account.apply().line_of("metric", NAME).startswith("kept: the account has another unit; OVERWRITE=1")
    account.apply("--overwrite")
    assert account.datadog.metrics[NAME]["unit"] == "connection"


def test_metadata_stays_when_the_rest_is_removed(account):
    account.datadog.receive(NAME)
    account.apply()
    before = dict(account.datadog.metrics[NAME])
    outcome = account.remove()
    assert outcome.line("metric ") == "metric metadata stays: the API has no request to delete it"
    assert account.datadog.metrics[NAME] == before


def test_empty_fields_are_written_and_those_that_differ_only_to_overwrite_them():
    wanted = {"type": "gauge", "unit": "worker", "description": "Workers", "short_name": "workers"}
    found = {"type": "gauge", "unit": "", "description": "mine"}
    assert plan_metadata(wanted, found, overwrite=False) == (["unit", "short_name"], ["description"])
    assert plan_metadata(wanted, found, overwrite=True) == (["unit", "short_name", "description"], [])


def test_every_column_that_the_api_has_a_field_for_is_read():
    assert WANTED["gunicorn.request.duration.count"].keys() == {"description", "short_name", "type", "unit", "per_unit"}
    assert all(row.keys() >= {"description", "short_name", "type"} for row in ALL.values())
