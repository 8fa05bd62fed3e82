"""The pipeline on the logs of a real Gunicorn under a real ddtrace, configured as docs/logs.md says."""

import collections
import re
from pathlib import Path

import pytest

from tests.environment import Environment
from tests.gunicorn_server import GUNICORN_VERSION, newest, run_gunicorn, wait_until

from .agent import DOCS, JSON_FORMAT, configured_logs, read_events
from .pipeline import Builder, run
from .test_samples import ASSET

TEXT = (DOCS / "logs.md").read_text()
(LOGGER,) = re.findall(r"(?ms)^```python\n(from gunicorn.*?)^```$", TEXT)
(TEXT_FORMAT,) = re.findall(r"(?m)^%\(h\)s .*\[dd\.trace_id=.*\]$", TEXT)
(JSON_IDS,) = re.findall(r'(?m)^, "dd": .*$', TEXT)
FORMATS = [TEXT_FORMAT, f"{JSON_FORMAT[:-1]}{JSON_IDS}}}"]
ACCESS = "access_log_format = " + repr("\n".join(FORMATS))
# There is no Agent to send traces to.
QUIET = ["DD_INSTRUMENTATION_TELEMETRY_ENABLED=false", "DD_TRACE_AGENT_URL=http://127.0.0.1:9"]
CALLER = "1234567890123456789"


@newest
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("headers", "ids"), [({}, r"[0-9a-f]{32}"), ({"x-datadog-trace-id": CALLER}, CALLER)])
def test_ids_of_a_request_are_in_both_logs(tmp_path, headers, ids):
    environment = Environment(tmp_path / "environment")
    environment.install("ddtrace==4.16.0", f"gunicorn=={GUNICORN_VERSION}", "setproctitle")
    programs = environment.folder / "bin"
    with run_gunicorn(
        *("--access-logfile", str(tmp_path / "access.log"), "--pythonpath", str(Path(__file__).parent)),
        command=["env", *QUIET, str(programs / "ddtrace-run"), str(programs / "gunicorn")],
        config=f"{LOGGER}\n\n{ACCESS}\n",
        app="traced:app",
        workers=1,
    ) as server:
        send_request(server, headers)
        wait_until((tmp_path / "access.log").read_text, "the access log", server.explain)
        log = server.log
    pipeline = Builder(collections.defaultdict(dict)).build(ASSET)
    texts = (tmp_path / "access.log").read_text(), log
    access, errors = (
        [run(pipeline, event) for event in read_events(text, **options)]
        for text, options in zip(texts, configured_logs(), strict=True)
    )
    assert all(event.parsed for event in [*access, *errors])
    (logged,) = [event for event in errors if event.get("gunicorn.message").startswith("trace ")]
    assert re.fullmatch(ids, logged.trace)
    assert logged.get("gunicorn.message") == f"trace {logged.trace}"
    assert [(event.trace, event.span) for event in access] == [(logged.trace, logged.span)] * len(FORMATS)
    others = [event for event in errors if event is not logged]
    assert {event.trace for event in others} == {None}
    assert {event.get("evt.name") for event in others} >= {"server_starting", "server_listening", "worker_booting"}


def send_request(server, headers):
    lines = ["GET / HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close", "", ""]
    with server.connect() as client:
        client.sendall("\r\n".join(lines).encode())
        while client.recv(4096):
            pass
