"""Each failure in the middle of a run: its line, what is done and what is not, and that another run completes it."""

import signal
import socket
import threading
from pathlib import Path

import pytest

from assets.upload.api import WAITS, read_errors, read_wait

from .account import KEYS, MONITORS, OBJECTS, Outcome, squeeze
from .datadog import API_KEY, APPLICATION_KEY, Answer, Datadog, serve

pytestmark = pytest.mark.loader

MONITOR = "POST /api/v1/monitor"
FIRST = "connections_queued"


def answer(*arguments, **options):
    """An answer to the second attempt to create a monitor."""
    return Answer(MONITOR, *arguments, after=1, times=1, **options)


def assert_completes(account):
    """Another run makes what is missing, and nothing twice."""
    account.datadog.answers.clear()
    assert account.apply().code == 0
    counts = [len(objects) for objects in account.datadog.objects.values()]
    assert counts == [1, len(MONITORS), 1]
    account.datadog.log.clear()
    assert account.apply().code == 0
    assert account.datadog.changes == []


ONE_ASSET = {
    400: "400 Bad Request: Datadog refused the request (the answer: as the test wants it)",
    404: "404 Not Found: it does not exist, or not any more; run it again (the answer: as the test wants it)",
    409: "409 Conflict: somebody else changes it at this moment; run it again (the answer: as the test wants it)",
    403: (
        "403 Forbidden: DD_APP_KEY is not valid, or lacks the scope monitors_write, or its owner lacks the permission"
        " (the answer: as the test wants it)"
    ),
    503: (
        "503 Service Unavailable: Datadog failed; run it again later (the answer: as the test wants it)."
        " It may have been carried out all the same."
    ),
}


@pytest.mark.parametrize("status", ONE_ASSET)
def test_a_failure_of_one_asset_does_not_keep_others_from_being_loaded(account, status):
    account.datadog.answers = [answer(status)]
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line_of("monitor", "cpu_used_up") == f"FAILED: {ONE_ASSET[status]}"
    assert outcome.line("Done: ") == f"Done: {OBJECTS - 1} created, 3 not received yet."
    assert outcome.line("Not done: ") == ("Not done: monitor cpu_used_up. Run the same command again to complete it.")
    assert_completes(account)


def test_an_object_that_was_created_although_the_answer_was_a_failure_is_recognized(account):
    account.datadog.answers = [answer(502, works=True)]
    assert account.apply().code == 1
    assert len(account.datadog.monitors) == len(MONITORS)
    outcome = account.apply()
    assert outcome.line_of("monitor", "cpu_used_up").startswith("updated: completes an interrupted load https://")
    assert_completes(account)


def test_what_somebody_changed_after_an_incomplete_load_is_kept(account):
    account.datadog.answers = [answer(502, works=True)]
    account.apply()
    monitor = account.datadog.find_monitor("cpu_used_up")
    monitor["message"] = "mine"
    assert account.apply().line_of("monitor", "cpu_used_up").startswith("kept: changed by hand")
    assert monitor["message"] == "mine"


@pytest.mark.parametrize(
    ("pattern", "kind", "permission"),
    [
        ("GET /api/v1/dashboard", "dashboard", "dashboards_read"),
        ("(POST|PUT) /api/v1/dashboard", "dashboard", "dashboards_write"),
        ("GET /api/v1/monitor", "monitor", "monitors_read"),
        ("GET /api/v1/logs", "pipeline", "logs_read_config"),
        ("(POST|PUT) /api/v1/logs", "pipeline", "logs_write_pipelines"),
        ("GET /api/v1/metrics", "metric", "metrics_read"),
        ("PUT /api/v1/metrics", "metric", "metrics_metadata_write"),
    ],
)
def test_the_scope_that_the_key_lacks_is_named(account, pattern, kind, permission):
    account.datadog.receive("gunicorn.connections")
    account.datadog.answers = [Answer(pattern, 403)]
    outcome = account.apply()
    assert outcome.code == 1
    (line,) = (line for line in map(squeeze, outcome.lines) if line.startswith(kind) and "FAILED" in line)
    assert f"lacks the scope {permission}," in line
    assert_completes(account)


def test_removal_says_what_is_not_removed(account):
    account.apply()
    account.datadog.answers = [Answer("DELETE /api/v1/monitor", 409, after=2, times=1)]
    outcome = account.remove()
    assert outcome.code == 1
    assert outcome.line("Done: ") == f"Done: {OBJECTS - 1} removed."
    assert outcome.line("Not done: ").startswith("Not done: monitor crash_loop. Run the same command again")
    assert account.remove().code == 0
    assert list(account.datadog.objects.values()) == [{}, {}, {}]


def test_keys_of_another_account_or_site(account):
    account.datadog.keys = ("1" * 32, "2" * 40)
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line("STOPPED") == (
        f"STOPPED: DD_API_KEY is not valid at {account.url}: a wrong key, or the account is on another site"
        " (DD_SITE, now datadoghq.com)"
    )
    assert outcome.line("Done: ") == "Done: nothing."
    assert outcome.line("Not done: ").startswith("Not done: dashboard gunicorn_dashboard, monitor connections_queued,")


def test_an_application_key_of_another_account(account):
    account.datadog.keys = (API_KEY, "2" * 40)
    outcome = account.apply()
    assert "DD_APP_KEY is not valid, or lacks the scope dashboards_read" in outcome.line("dashboard (all) FAILED")


STOPS = {
    401: "401 Unauthorized: DD_API_KEY or DD_APP_KEY is not valid at {url} (the answer: as the test wants it)",
    302: (
        "302 Found: a redirect, which is not followed with keys: check DD_SITE and --api-url ({url})"
        " (the answer: as the test wants it)"
    ),
}


@pytest.mark.parametrize("status", STOPS)
def test_what_ends_the_run(account, status):
    account.datadog.answers = [answer(status)]
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line("STOPPED") == f"STOPPED at monitor cpu_used_up: {STOPS[status].format(url=account.url)}"
    assert outcome.line("Done: ") == "Done: 2 created."
    assert outcome.line("Not done: ").startswith("Not done: monitor cpu_used_up, monitor crash_loop,")
    assert_completes(account)


def test_a_redirect_is_not_followed(account):
    other = Datadog()
    with serve(other) as url:
        account.datadog.answers = [Answer("", 307, headers={"Location": f"{url}/api/v1/validate"})]
        assert account.apply().code == 1
    assert other.log == []


def test_a_site_that_is_no_api(account):
    account.datadog.answers = [Answer("GET", 200, b"<html>Sign in</html>")]
    outcome = account.apply()
    assert outcome.line("STOPPED") == (
        f"STOPPED: {account.url} does not answer as Datadog's API (no JSON): check DD_SITE, --api-url, proxies"
    )


def test_no_server(account):
    # Bound, so that no other test gets the port, but without listening.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        account.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        line = account.apply().line("STOPPED")
    assert line.startswith(f"STOPPED: {account.url}: no connection: ")
    assert "Connection refused" in line


def test_no_such_host(account):
    account.url = "https://api.datadog.invalid"
    assert account.apply().line("STOPPED") == (
        "STOPPED: https://api.datadog.invalid: there is no such host, or no DNS: check DD_SITE and the network"
    )


def test_a_server_without_tls(account):
    account.url = account.url.replace("http:", "https:")
    assert ": no secure connection: " in account.apply().line("STOPPED")


def test_a_connection_that_breaks(account):
    def close_the_next_connection():
        server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=close_the_next_connection, daemon=True).start()
        account.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        line = account.apply().line("STOPPED")
    assert "the connection broke" in line
    assert line.endswith("It may have been carried out all the same.")


def test_a_time_out(account):
    late = threading.Event()
    account.timeout = (5.0, 2.0)
    account.datadog.answers = [answer(200, act=lambda _: late.wait(20))]
    outcome = account.apply()
    late.set()
    assert outcome.code == 1
    assert outcome.line("STOPPED") == (
        f"STOPPED at monitor cpu_used_up: {account.url}: no answer in time (5 seconds to connect, 2 to answer)."
        " It may have been carried out all the same."
    )
    account.timeout = (5.0, 5.0)
    assert_completes(account)


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"X-RateLimit-Reset": "7"}], ids=str)
def test_too_many_requests(account, headers):
    account.datadog.answers = [Answer(MONITOR, 429, headers=headers, after=1, times=2)]
    outcome = account.apply()
    assert outcome.code == 0
    assert account.slept == [7.0, 7.0]
    assert [line for line in outcome.lines if "429" in line] == ["Too many requests (429): waiting 7 seconds ..."] * 2
    assert_completes(account)


def test_too_many_requests_for_too_long(account):
    account.datadog.answers = [Answer(MONITOR, 429, headers={"Retry-After": "3600"}, after=1)]
    outcome = account.apply()
    assert outcome.code == 1
    assert account.slept == []
    assert outcome.line("STOPPED") == (
        "STOPPED at monitor cpu_used_up: 429 Too Many Requests: Datadog asks to wait 3600 seconds; run it again then"
    )
    assert_completes(account)


def test_too_many_requests_again_and_again(account):
    account.datadog.answers = [Answer(MONITOR, 429, after=1)]
    outcome = account.apply()
    assert account.slept == [10.0] * WAITS
    assert f"still too many after {WAITS} waits" in outcome.line("STOPPED")
    assert_completes(account)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3", "x-ratelimit-reset": "9"}, 3),
        ({"x-ratelimit-reset": "9"}, 9),
        ({"retry-after": "soon"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({}, 10),
    ],
    ids=str,
)
def test_how_long_to_wait(headers, seconds):
    assert read_wait(headers) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"errors": ["Forbidden", "Really"]}, "Forbidden; Really"),
        ({"errors": [{"code": 7}]}, '{"code": 7}'),
        ({"error": {"message": "Invalid query", "code": "InvalidArgument"}}, "Invalid query"),
        ({"errors": {"query": "bad"}}, '{"query": "bad"}'),
        ({"error": "no"}, "no"),
        ("<html>", ""),
        (None, ""),
    ],
    ids=str,
)
def test_the_errors_of_an_answer(body, text):
    assert read_errors(body) == text


def test_keys_in_an_answer_are_not_shown(account):
    quoted = f'{{"errors": ["bad key {APPLICATION_KEY}\\n with {API_KEY}"]}}'.encode()
    account.datadog.answers = [answer(400, quoted)]
    # `apply` checks that no key is shown.
    assert account.apply().line_of("monitor", "cpu_used_up").endswith("(the answer: bad key *** with ***)")


def test_a_file_that_does_not_match_the_api(account):
    account.change_file(
        "monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(type="no such type")
    )
    outcome = account.apply()
    assert outcome.line_of("monitor", "worker_crashes") == (
        "FAILED: the file does not match the model Monitor of Datadog's API"
    )
    account.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(name=17))
    assert outcome.code == 1
    assert (
        account.apply()
        .line_of("monitor", "worker_crashes")
        .startswith("FAILED: the file does not match Datadog's API:")
    )


def test_one_metric_that_is_refused_does_not_keep_others_from_being_filled_in(account):
    account.datadog.receive("gunicorn.connections", "gunicorn.workers")
    account.datadog.answers = [Answer("PUT /api/v1/metrics/gunicorn.connections", 400)]
    outcome = account.apply()
    assert outcome.line_of("metric", "gunicorn.connections").startswith("FAILED: 400 Bad Request")
    assert outcome.line_of("metric", "gunicorn.workers").startswith("filled in: ")
    assert outcome.line("Not done: ").startswith("Not done: metric gunicorn.connections.")


def test_an_interruption(account):
    """Ctrl-C while a monitor is created: a real process, and a real signal."""
    asked, ended = threading.Event(), threading.Event()

    def wait_for_the_end(_):
        asked.set()
        ended.wait(30)

    account.datadog.answers = [answer(200, act=wait_for_the_end, works=True)]
    with account.start("--apply") as process:
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    ended.set()
    outcome = Outcome(process.returncode, output.splitlines())
    assert outcome.code == 130
    assert "Traceback" not in errors
    assert outcome.line("INTERRUPTED") == "INTERRUPTED at monitor cpu_used_up, which may be half done."
    assert outcome.line("Done: ") == "Done: 2 created."
    assert outcome.line("Not done: ").startswith("Not done: monitor cpu_used_up, monitor crash_loop,")
    assert not any(key in output + errors for key in KEYS.values())
    assert_completes(account)


def test_an_interrupted_update_is_completed(account):
    account.apply()
    account.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    account.datadog.answers = [Answer("PUT /api/v1/monitor", 500, after=1, times=1)]
    assert account.apply().code == 1
    outcome = account.apply()
    assert outcome.line_of("monitor", "worker_crashes").startswith("updated: completes an interrupted load")
    assert_completes(account)


def test_nothing_is_written_beside_the_checkout(account):
    account.run()
    assert sorted(path.name for path in Path(account.checkout).iterdir()) == ["assets", "metadata.csv"]
