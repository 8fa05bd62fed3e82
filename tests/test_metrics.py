from datadog_checks.dev.utils import get_metadata_metrics, get_service_checks

from datadog_checks.gunicorn.metrics import (
    SERVICE_CHECK,
    Sample,
    format_ages,
    format_churn,
    format_connections,
    format_cpu,
    format_dirty_workers,
    format_uptime,
    format_usage,
    format_workers,
)
from datadog_checks.gunicorn.pool.usage import Usage
from datadog_checks.gunicorn.pool.workers import Churn, States
from datadog_checks.gunicorn.servers.applications import Identity
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.connections import Counts

from .test_metadata import gunicorns_own

LISTENER = parse_bind(":8000")
OLD, NEW = Identity(1, 40.0), Identity(2, 90.0)
USAGE = {OLD: Usage(cpu_seconds=1, rss=1000, threads=1), NEW: Usage(cpu_seconds=2, rss=3000, threads=4)}


def test_workers_are_told_by_state():
    assert list(format_workers(States(idle=3, working=0))) == [
        Sample("gunicorn.workers", 3, ("state:idle",)),
        Sample("gunicorn.workers", 0, ("state:working",)),
    ]


def test_dirty_workers_are_told_where_there_is_an_arbiter():
    assert list(format_dirty_workers(0)) == [Sample("gunicorn.dirty_workers", 0)]
    assert list(format_dirty_workers(None)) == []


def test_uptime_is_that_of_the_oldest_master():
    assert list(format_uptime([NEW, OLD], now=100.0)) == [Sample("gunicorn.uptime", 60.0)]


def test_ages_are_those_of_the_youngest_and_the_oldest_worker():
    assert list(format_ages([OLD, NEW], now=100.0)) == [
        Sample("gunicorn.worker.age.min", 10.0),
        Sample("gunicorn.worker.age.max", 60.0),
    ]
    assert list(format_ages([], now=100.0)) == []


def test_a_worker_that_is_born_while_a_look_goes_on_has_no_age():
    assert [sample.value for sample in format_ages([NEW], now=NEW.create_time - 0.01)] == [0, 0]


def test_churn_is_told_in_counts():
    assert list(format_churn(Churn(started=2, exited=0))) == [
        Sample("gunicorn.workers.started", 2, type="count"),
        Sample("gunicorn.workers.exited", 0, type="count"),
    ]


def test_usage_is_told_by_role():
    assert list(format_usage(Role.WORKER, USAGE)) == [
        Sample("gunicorn.memory.rss", 4000, ("process_role:worker",)),
        Sample("gunicorn.threads", 5, ("process_role:worker",)),
        Sample("gunicorn.memory.rss.max", 3000, ("process_role:worker",)),
    ]
    assert list(format_usage(Role.MASTER, USAGE)) == [
        Sample("gunicorn.memory.rss", 4000, ("process_role:master",)),
        Sample("gunicorn.threads", 5, ("process_role:master",)),
    ]
    assert list(format_usage(Role.WORKER, {})) == []


def test_cpu_is_told_where_it_is_known():
    assert list(format_cpu(Role.MASTER, 0.0)) == [Sample("gunicorn.cpu.percent", 0.0, ("process_role:master",))]
    assert list(format_cpu(Role.MASTER, None)) == []


def test_connections_are_told_by_listener_and_state():
    assert list(format_connections({LISTENER: Counts(accepted=3, queued=4)})) == [
        Sample("gunicorn.connections", 3, ("listener:0.0.0.0:8000", "state:accepted")),
        Sample("gunicorn.connections", 4, ("listener:0.0.0.0:8000", "state:queued")),
    ]
    assert list(format_connections({})) == []


def test_what_can_be_submitted_is_what_is_declared():
    submitted = [
        *format_workers(States(1, 1)),
        *format_dirty_workers(1),
        *format_uptime([OLD], 1),
        *format_churn(Churn(1, 1)),
        *format_ages([OLD], 1),
        *format_usage(Role.WORKER, USAGE),
        *format_cpu(Role.WORKER, 1),
        *format_connections({LISTENER: Counts(1, 1)}),
    ]
    declared = get_metadata_metrics()
    assert {sample.name for sample in submitted} | gunicorns_own().keys() == set(declared)
    assert all(sample.type == declared[sample.name]["metric_type"] for sample in submitted)
    assert [check["check"] for check in get_service_checks()] == [SERVICE_CHECK]
