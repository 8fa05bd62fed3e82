"""The pipeline on the logs of a real Gunicorn: every line is parsed, with the right attributes."""

import collections
import re
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gunicorn_server import GUNICORN_VERSION, run_gunicorn

from .agent import JSON_FORMAT, ONE_STREAM, configured_logs, read_events
from .event import Event
from .life import LOGS_EXIT_CODES, REFERER, TRACE, USER_AGENT, write_all_logs
from .pipeline import Builder, run
from .test_samples import ASSET

pytestmark = pytest.mark.every_gunicorn

COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
COMBINED = f'{COMMON} "%(f)s" "%(a)s"'
TRACES = "[dd.trace_id=%({x-datadog-trace-id}i)s dd.span_id=%({dd.span_id}e)s]"
DURATIONS = ["%(L)s", f"%(D)s %(p)s {TRACES}", "%(M)sms", '%(T)ss "%({x-forwarded-for}i)s"']
# Gunicorn writes all of these lines for every request.
FORMATS = [COMMON, COMBINED, *(f"{COMBINED} {duration}" for duration in DURATIONS), JSON_FORMAT]
CONFIG = "access_log_format = " + repr("\n".join(FORMATS))


class Written(NamedTuple):
    """The logs of a server as events, and the expected values."""

    access: list[Event]
    errors: list[Event]
    log: str
    addresses: str
    workers: set[int]
    killed: int

    def requests(self, url: str) -> list[Event]:
        return [event for event in self.access if event.get("http.url") == url]

    def values(self, name: str, path: str) -> set[object]:
        """Return all values of an attribute in events with this name."""
        return {event.get(path) for event in self.errors if event.get("evt.name") == name}


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    unix = folder / "socket"
    arguments = [
        *("--timeout", "1", "--log-level", "debug", "--access-logfile", str(folder / "access.log")),
        *("--bind", f"unix:{unix}", "--pythonpath", str(Path(__file__).parent)),
        *(("--bind", "[::1]:0") if has_ipv6() else ()),
    ]
    with run_gunicorn(*arguments, app="served:app", config=CONFIG) as server:
        addresses = re.findall(r"Listening at: (.*) \(", server.log)[0]
        killed = write_all_logs(server, unix)
        log, workers = server.log, set(server.booted())
    pipeline = Builder(collections.defaultdict(dict)).build(ASSET)
    texts = (folder / "access.log").read_text(), log
    access, errors = (
        [run(pipeline, event) for event in read_events(text, **options)]
        for text, options in zip(texts, configured_logs(), strict=True)
    )
    return Written(access, errors, log, addresses, workers, killed)


def test_every_line_is_parsed(written):
    assert len(written.access) >= 8 * len(FORMATS)
    assert len(written.errors) == len(re.findall(r"^\[\d{4}-", written.log, re.MULTILINE)) > 50
    assert [event.message for event in [*written.access, *written.errors] if not event.parsed] == []
    assert all(event.status and event.timestamp > 1 for event in [*written.access, *written.errors])
    assert {event.get("http.status_code") for event in written.access} >= {200, 404, 500, 503}
    assert len(written.access) % len(FORMATS) == 0


def test_both_logs_in_one_stream_are_split_into_events(written):
    events = [event.message for pair in zip(written.access, written.errors, strict=False) for event in pair]
    # The Agent looks for the start of an event before it strips whitespace.
    stream = "\n".join(f" {event}" if event.startswith("- ") else event for event in events)
    rule = {"type": "multi_line", "name": "log_start_with_date", "pattern": ONE_STREAM}
    assert list(read_events(stream, log_processing_rules=[rule])) == events


@pytest.mark.parametrize(("url", "client"), [("/tcp?page=2", "127.0.0.1"), ("/unix", None), ("/ipv6", "::1")])
def test_access_lines_in_all_formats_have_their_attributes(written, url, client):
    if url == "/ipv6" and "[::1]" not in written.addresses:
        pytest.skip("this machine has no ::1")
    *texts, in_json = events = written.requests(url)
    common, *combined = texts
    assert len(events) == len(FORMATS)
    for event in events:
        assert event.get("network.client.ip") == client
        assert (event.get("http.method"), event.get("http.status_code"), event.status) == ("GET", 200, "info")
        assert event.get("network.bytes_written") == 2
    for event in texts:
        assert event.get("http.version") == ("1.0" if url == "/unix" else "1.1")
        assert event.get("http.auth") == ("ada lovelace" if url == "/tcp?page=2" else None)
    assert common.get("http.useragent") is None
    for event in [*combined, in_json]:
        assert event.get("http.referer").replace('\\"', '"') == REFERER
        # Gunicorn decodes headers as Latin-1.
        assert event.get("http.useragent").replace('\\"', '"').encode("latin-1").decode() == USER_AGENT
    assert [event.get("gunicorn.worker.pid") in written.workers for event in events] == [0, 0, 0, 1, 0, 0, 1]
    assert [(event.trace, event.span) for event in combined] == [
        *[(None, None)] * 2,
        (TRACE, "42"),
        *[(None, None)] * 2,
    ]
    plain, seconds, microseconds, milliseconds, whole_seconds = (event.get("duration") for event in combined)
    assert plain is None
    assert 0 < seconds == pytest.approx(microseconds)
    assert milliseconds == microseconds // 1_000_000 * 1_000_000
    assert whole_seconds == microseconds // 1_000_000_000 * 1_000_000_000
    assert in_json.get("duration") == microseconds


def test_access_lines_in_json_have_their_attributes(written):
    valid = [event for event in written.access if event.is_json]
    # In the other lines, the backslash in the user agent makes the JSON invalid.
    assert {event.get("http.url") for event in valid} >= {"/head", "/missing", "/fail", "/raise", '/"quoted"'}
    for event in valid:
        assert event.get("gunicorn.worker.pid") in written.workers
        assert event.get("network.client.ip") == "127.0.0.1"
        assert event.get("duration") > 0
    found = {(event.get("http.url"), event.get("http.status_code"), event.status) for event in valid}
    assert found >= {
        ("/head", 200, "info"),
        ("/missing", 404, "warn"),
        ("/fail", 503, "error"),
        ("/raise", 500, "error"),
    }


def test_rules_for_text_would_give_lines_in_json_the_same_attributes(written):
    pipeline = Builder(collections.defaultdict(dict)).build(ASSET)
    for in_json in [event for event in written.access if event.is_json]:
        text = Event(in_json.message)
        text.attributes, text.is_json = {}, False
        pipeline(text)
        assert text.timestamp == in_json.timestamp
        for path in ("http.method", "http.status_code", "network.client.ip", "duration", "gunicorn.worker.pid"):
            assert text.get(path) == in_json.get(path)


@pytest.mark.parametrize(
    ("url", "method", "code", "status"),
    [
        ("/head", "HEAD", 200, "info"),
        ("/missing", "GET", 404, "warn"),
        ("/fail", "GET", 503, "error"),
        ("/raise", "GET", 500, "error"),
        ('/\\"quoted\\"', "GET", 200, "info"),
    ],
)
def test_a_request_has_its_method_code_and_status(written, url, method, code, status):
    found = {(event.get("http.method"), event.get("http.status_code"), event.status) for event in written.requests(url)}
    assert found == {(method, code, status)}


def test_exceptions_have_their_attributes(written):
    assert {"/raise"} <= written.values("request_failed", "http.url")
    (raised,) = [event for event in written.errors if event.get("error.kind") == "KeyError"]
    assert raised.get("error.message") == "'no such page'"
    assert raised.get("error.stack").startswith("Traceback (most recent call last):\n")
    assert raised.get("error.stack").endswith("KeyError: 'no such page'")
    assert raised.status == "error"
    # Since 25.2, the message names the method, too.
    assert raised.get("http.method") in {None, "GET"}
    assert written.values("worker_crashed", "error.kind") == {"RuntimeError"}
    assert written.values("worker_crashed", "error.message") == {"broken: as\n  the test wants it"}
    assert "127.0.0.1" in written.values("request_invalid", "network.client.ip")


def test_events_of_workers_have_their_attributes(written):
    assert written.values("worker_booting", "gunicorn.worker.pid") == written.workers
    for name in ("worker_timeout", "worker_exiting", "worker_killed"):
        assert set() < written.values(name, "gunicorn.worker.pid") <= written.workers
    assert {event.status for event in written.errors if event.get("evt.name") == "worker_timeout"} == {"critical"}
    killed = [event for event in written.errors if event.get("gunicorn.worker.pid") == written.killed]
    signals = {(event.get("gunicorn.worker.signal"), event.get("gunicorn.reason")) for event in killed}
    assert signals == {(None, None), ("SIGKILL", "out of memory") if LOGS_EXIT_CODES else ("9", None)}
    if LOGS_EXIT_CODES:
        assert written.values("worker_exited", "gunicorn.worker.exit_code") >= {3, 7}
        assert written.values("worker_exited", "gunicorn.worker.pid") <= written.workers


def test_events_of_the_server_have_their_attributes(written):
    assert written.values("server_starting", "gunicorn.version") == {GUNICORN_VERSION}
    assert written.values("server_listening", "gunicorn.address") == {written.addresses}
    assert {event.get("gunicorn.worker.class") for event in written.errors} == {None, "sync"}
    assert written.values("signal_received", "gunicorn.signal") >= {"hup", "term", "ttin", "ttou", "usr2"}
    assert written.values("server_halted", "gunicorn.reason") == {"Worker failed to boot"}
    names = {event.get("evt.name") for event in written.errors}
    assert names >= {"server_promoted", "server_reloading", "server_stopping"}
