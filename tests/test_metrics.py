from datadog_checks.dev.utils import get_metadata_metrics, get_service_checks

from datadog_checks.gunicorn.metrics import SERVICE_CHECK, Gauge, format_dirty_workers, format_workers
from datadog_checks.gunicorn.workers import States


def test_workers_are_told_by_state():
    assert list(format_workers(States(idle=3, working=0))) == [
        Gauge("gunicorn.workers", 3, ("state:idle",)),
        Gauge("gunicorn.workers", 0, ("state:working",)),
    ]


def test_dirty_workers_are_told_where_there_is_an_arbiter():
    assert list(format_dirty_workers(0)) == [Gauge("gunicorn.dirty_workers", 0)]
    assert list(format_dirty_workers(None)) == []


def test_what_can_be_submitted_is_what_is_declared():
    submitted = [*format_workers(States(1, 1)), *format_dirty_workers(1)]
    assert {gauge.name for gauge in submitted} == set(get_metadata_metrics())
    assert {metric["metric_type"] for metric in get_metadata_metrics().values()} == {"gauge"}
    assert [check["check"] for check in get_service_checks()] == [SERVICE_CHECK]
