import csv
import re
from pathlib import Path

import pytest
from datadog_checks.dev.utils import get_metadata_metrics

from datadog_checks.gunicorn.standalone.demo.dogstatsd import open_receiver
from tests.gunicorn_server import GUNICORN_VERSION, newest, run_gunicorn, wait_until

METADATA = Path(__file__).parent.parent / "metadata.csv"
COLUMNS = [
    *("metric_name", "metric_type", "interval", "unit_name", "per_unit_name", "description", "orientation"),
    *("integration", "short_name", "curated_metric", "sample_tags"),
]
# The units in use; ddev's validator has the complete list.
UNITS = {
    "byte",
    "connection",
    "millisecond",
    "occurrence",
    "percent",
    "request",
    "sample",
    "second",
    "thread",
    "worker",
}

STATUSES = [
    *range(100, 104),
    *(*range(200, 209), 226),
    *(*range(300, 306), 307, 308),
    *(*range(400, 420), *range(421, 427), 428, 429, 431, 451),
    *(*range(500, 509), *range(510, 513)),
]
# The metric types that DogStatsD derives from the types in its lines, by default. A timer is a
# histogram. https://docs.datadoghq.com/metrics/types/?tab=histogram
HISTOGRAM = {".95percentile": "gauge", ".avg": "gauge", ".count": "rate", ".max": "gauge", ".median": "gauge"}
DOGSTATSD = {"c": {"": "rate"}, "g": {"": "gauge"}, "h": HISTOGRAM, "ms": HISTOGRAM}
# The metrics that Gunicorn itself sends, including a gunicorn.workers of its own, and the types in its lines.
GUNICORN_SENDS = {
    "gunicorn.backlog": "h",
    "gunicorn.log.critical": "c",
    "gunicorn.log.error": "c",
    "gunicorn.log.exception": "c",
    "gunicorn.log.warning": "c",
    "gunicorn.request.duration": "ms",
    "gunicorn.requests": "c",
    "gunicorn.workers": "g",
    **{f"gunicorn.request.status.{status}": "c" for status in STATUSES},
}
BACKLOG = "gunicorn.backlog"
# `exception` is the only level that requests cause in all versions.
LOG_AT_EACH_LEVEL = """
def when_ready(server):
    server.log.critical("as requested")
    server.log.error("as requested")
    server.log.warning("as requested")
"""


def derive(name, kind):
    """Return the names and types of the metrics that DogStatsD derives from a line."""
    return {name + suffix: type_ for suffix, type_ in DOGSTATSD[kind].items()}


def gunicorns_own():
    return {name: type_ for sent, kind in GUNICORN_SENDS.items() for name, type_ in derive(sent, kind).items()}


@pytest.fixture
def rows():
    return list(get_metadata_metrics().values())


def test_the_file_is_as_datadog_reads_it():
    with METADATA.open(encoding="ascii", newline="") as file:
        header, *lines = csv.reader(file)

    assert header == COLUMNS
    assert {len(line) for line in lines} == {len(COLUMNS)}
    names = [line[0] for line in lines]
    assert names == sorted(set(names))


def test_every_row_is_complete(rows):
    for row in rows:
        assert re.fullmatch(r"gunicorn(\.[a-z0-9_]+)+", row["metric_name"])
        assert row["metric_type"] in {"count", "gauge", "rate"}
        assert row["unit_name"] in UNITS
        assert row["per_unit_name"] == ("second" if row["metric_type"] == "rate" else ""), row["metric_name"]
        assert row["orientation"] in {"-1", "0", "1"}
        assert row["integration"] == "gunicorn"
        assert row["curated_metric"] in {"", "cpu", "memory"}
        # Required for rates: the seconds between two flushes of DogStatsD, by which Datadog converts them to counts.
        assert row["interval"] == ("10" if row["metric_type"] == "rate" else ""), row["metric_name"]


def test_descriptions_are_sentences_of_at_most_400_characters(rows):
    for row in rows:
        assert re.fullmatch(r"[A-Z][^|]{1,398}\.", row["description"]), row["metric_name"]


def test_no_two_metrics_look_the_same(rows):
    for column in ("short_name", "description"):
        values = [row[column] for row in rows]
        assert len(set(values)) == len(values)
        assert all(values)


def test_the_age_of_heartbeats_is_explained_for_each_worker_class(rows):
    (heartbeat,) = [row for row in rows if row["metric_name"] == "gunicorn.worker.heartbeat.age.max"]
    for part in ("sync", "gthread", "gevent", "tornado", "asgi", "UvicornWorker", "half of timeout", "30 s"):
        assert part in heartbeat["description"]


def test_the_status_codes_that_have_metrics(rows):
    codes = {row["metric_name"].removeprefix("gunicorn.request.status.") for row in rows}
    assert {int(code) for code in codes if code.isdigit()} == set(STATUSES)


@pytest.mark.parametrize(
    ("names", "unit", "per_unit"),
    [
        (r"requests|request\.status\.\d+|request\.duration\.count", "request", "second"),
        (r"request\.duration\.(?!count).*", "millisecond", ""),
        (r"log\..*", "occurrence", "second"),
        (r"backlog\.(?!count).*", "connection", ""),
        (r"backlog\.count", "sample", "second"),
    ],
)
def test_units_of_gunicorns_own_metrics(rows, names, unit, per_unit):
    units = {
        (row["unit_name"], row["per_unit_name"])
        for row in rows
        if re.fullmatch(rf"gunicorn\.({names})", row["metric_name"])
    }
    assert units == {(unit, per_unit)}


def test_metrics_of_the_check_declare_their_tags_and_gunicorns_own_have_none(rows):
    for row in rows:
        of_the_check = row["metric_name"] == "gunicorn.workers" or row["metric_name"] not in gunicorns_own()
        assert row["sample_tags"].split(",")[0] == ("app" if of_the_check else ""), row["metric_name"]


def answer(server, path):
    """Request the path and read the whole response, which has no body with some status codes."""
    with server.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        client.settimeout(10)
        while client.recv(65536):
            pass


def names_taken(receiver):
    receiver.take()
    return {metric.name for metric in receiver.received}


@pytest.mark.parametrize("tags", [(), ("app:web", "env:prod")], ids=["untagged", "tagged"])
def test_declared_metrics_match_what_gunicorn_sends(tags):
    options = ["--dogstatsd-tags", ",".join(tags)] if tags else []
    has_backlog = GUNICORN_VERSION not in {"20.1.0", "23.0.0"}
    if has_backlog:
        options.append("--enable-backlog-metric")

    expected = {name: kind for name, kind in GUNICORN_SENDS.items() if has_backlog or name != BACKLOG}

    with open_receiver() as receiver:
        arguments = ("--statsd-host", receiver.address, *options)
        with run_gunicorn(*arguments, workers=1, config=LOG_AT_EACH_LEVEL) as server:
            for status in [*STATUSES, "none"]:
                answer(server, f"/status/{status}")
                receiver.take()
            wait_until(lambda: names_taken(receiver) >= set(expected), "all metrics", server.explain)

    assert {metric.name: metric.type for metric in receiver.received} == expected
    assert {metric.tags for metric in receiver.received} == {tags}


def test_declared_types_match_dogstatsd():
    declared = {name: row["metric_type"] for name, row in get_metadata_metrics().items()}
    assert gunicorns_own().items() <= declared.items()


@newest
@pytest.mark.parametrize(("options", "are_sent"), [((), False), (("--access-logfile", "/dev/null"), True)])
def test_asgi_workers_report_requests_only_with_an_access_log(options, are_sent):
    with open_receiver() as receiver:
        arguments = ("--statsd-host", receiver.address, "--worker-class", "asgi", *options)
        with run_gunicorn(*arguments, workers=1, app="app:asgi_app") as server:
            server.get()
            # Gunicorn reports a request before it serves the next one.
            server.get()
            assert ("gunicorn.requests" in names_taken(receiver)) is are_sent
