"""Failures of a run: the line for each, what is done and what is not, and that another run completes it."""

import signal
import socket
import threading
import time

import psutil
import pytest

from assets.upload.api import WAITS, read_errors, read_wait

from .datadog import API_KEY, APPLICATION_KEY, Answer, Datadog, serve
from .local_account import MONITORS, OBJECTS, Outcome, squeeze

pytestmark = pytest.mark.loader

MONITOR = "POST /api/v1/monitor"


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
    404: "404 Not Found: it does not exist, or no longer exists; run it again (the answer: as the test wants it)",
    409: "409 Conflict: somebody else is changing it; run it again (the answer: as the test wants it)",
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
def test_a_failure_of_one_asset_does_not_prevent_the_others_from_being_loaded(account, status):
    account.datadog.answers = [answer(status)]
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line_of("monitor", "cpu_used_up") == f"FAILED: {ONE_ASSET[status]}"
    assert outcome.line("Done: ") == f"Done: {OBJECTS - 1} created, 3 not received yet."
    assert outcome.line("Not done: ") == (
        "Not done: monitor cpu_used_up. Look at the lines above, then run the same command again."
    )
    assert_completes(account)


def test_an_object_that_was_created_although_the_answer_was_a_failure_is_recognized(account):
    account.datadog.answers = [answer(502, carried_out=True)]
    assert account.apply().code == 1
    assert len(account.datadog.monitors) == len(MONITORS)
    outcome = account.apply()
    assert outcome.line_of("monitor", "cpu_used_up").startswith("updated: completes an interrupted load https://")
    assert_completes(account)


@pytest.mark.parametrize("remove", [(), ("--remove",)], ids=str)
def test_an_object_that_differs_after_an_interrupted_load_is_left_to_the_user(account, remove):
    account.datadog.answers = [answer(502, carried_out=True)]
    account.apply()
    account.datadog.find_monitor("cpu_used_up")["message"] = "mine"
    outcome = account.apply(*remove)
    assert outcome.code == 1
    verb = "removes" if remove else "replaces"
    assert outcome.line_of("monitor", "cpu_used_up").startswith(
        "not done: its load was interrupted, or it was changed after that; OVERWRITE=1 ONLY=cpu_used_up"
        f" {verb} it https://app.datadoghq.com/monitors/"
    )
    assert outcome.line("Not done: ").startswith("Not done: monitor cpu_used_up.")
    assert account.datadog.find_monitor("cpu_used_up")["message"] == "mine"
    assert account.apply("--overwrite", "--only", "cpu_used_up", *remove).code == 0
    assert not any(each["message"] == "mine" for each in account.datadog.monitors.values())


def test_a_load_does_not_read_single_objects(account):
    """Otherwise a failure of one would leave the object incomplete."""
    account.datadog.answers = [Answer("GET /api/v1/(dashboard|monitor|logs/config/pipelines)/", 500)]
    assert account.apply().code == 0
    assert_completes(account)


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
    assert outcome.line("Not done: ").startswith("Not done: monitor crash_loop. Look at")
    assert account.remove().code == 0
    assert list(account.datadog.objects.values()) == [{}, {}, {}]


def test_an_api_key_of_another_account_or_site_stops_the_run(account):
    account.datadog.keys = ("1" * 32, "2" * 40)
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line("STOPPED") == (
        f"STOPPED: DD_API_KEY is not valid at {account.url}: a wrong key, or the account is on another site"
        " (DD_SITE, now datadoghq.com)"
    )
    assert outcome.line("Done: ") == "Done: nothing."
    assert outcome.line("Not done: ").startswith("Not done: dashboard gunicorn_dashboard, monitor connections_queued,")


def test_an_application_key_of_another_account_is_reported(account):
    account.datadog.keys = (API_KEY, "2" * 40)
    outcome = account.apply()
    assert "DD_APP_KEY is not valid, or lacks the scope dashboards_read" in outcome.line("dashboard (all) FAILED")


STOPS = {
    401: "401 Unauthorized: DD_API_KEY or DD_APP_KEY is not valid at {url} (the answer: as the test wants it)",
    302: (
        "302 Found: a redirect, which is not followed: check DD_SITE and --api-url ({url})"
        " (the answer: as the test wants it)"
    ),
}


@pytest.mark.parametrize("status", STOPS)
def test_invalid_keys_and_redirects_stop_the_run(account, status):
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


def test_a_site_that_is_not_an_api_stops_the_run(account):
    account.datadog.answers = [Answer("GET", 200, b"<html>Sign in</html>")]
    outcome = account.apply()
    assert outcome.line("STOPPED") == (
        f"STOPPED: {account.url} does not answer as Datadog's API (no JSON): check DD_SITE, --api-url, proxies"
    )


def test_a_refused_connection_stops_the_run(account):
    # Bound, so that no other test gets the port, but without listening.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        account.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        line = account.apply().line("STOPPED")
    assert line.startswith(f"STOPPED: {account.url}: no connection: ")
    assert "Connection refused" in line


def test_an_unknown_host_stops_the_run(account):
    account.url = "https://api.datadog.invalid"
    assert account.apply().line("STOPPED") == (
        "STOPPED: https://api.datadog.invalid: there is no such host, or no DNS: check DD_SITE and the network"
    )


def test_a_server_without_tls_stops_the_run(account):
    account.url = account.url.replace("http:", "https:")
    assert ": no secure connection: " in account.apply().line("STOPPED")


def test_a_broken_connection_stops_the_run(account):
    def close_the_next_connection():
        server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=close_the_next_connection, daemon=True).start()
        account.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        line = account.apply().line("STOPPED")
    assert "the connection broke" in line
    assert "carried out" not in line


def test_a_timeout_stops_the_run(account):
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
def test_after_too_many_requests_a_run_waits_as_long_as_the_answer_says(account, headers):
    account.datadog.answers = [Answer(MONITOR, 429, headers=headers, after=1, times=2)]
    outcome = account.apply()
    assert outcome.code == 0
    assert account.slept == [7.0, 7.0]
    assert [line for line in outcome.lines if "429" in line] == ["Too many requests (429): waiting 7 seconds ..."] * 2
    assert_completes(account)


def test_a_run_does_not_wait_for_an_hour(account):
    account.datadog.answers = [Answer(MONITOR, 429, headers={"Retry-After": "3600"}, after=1)]
    outcome = account.apply()
    assert outcome.code == 1
    assert account.slept == []
    assert outcome.line("STOPPED") == (
        "STOPPED at monitor cpu_used_up: 429 Too Many Requests: Datadog asks to wait 3600 seconds; run it again then"
    )
    assert_completes(account)


def test_too_many_waits_stop_the_run(account):
    account.datadog.answers = [Answer(MONITOR, 429, after=1)]
    outcome = account.apply()
    assert account.slept == [10.0] * WAITS
    # One that succeeds, and one before and after each wait.
    assert sum(line.startswith(f"{MONITOR} ->") for line in account.datadog.log) == 1 + 1 + WAITS
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
def test_the_time_to_wait_is_read_from_the_headers(headers, seconds):
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
def test_the_texts_of_errors_are_read_from_the_answer(body, text):
    assert read_errors(body) == text


def test_keys_in_an_answer_are_not_shown(account):
    quoted = f'{{"errors": ["bad key {APPLICATION_KEY}\\n with {API_KEY}"]}}'.encode()
    account.datadog.answers = [answer(400, quoted)]
    # `apply` checks that no key is shown.
    assert account.apply().line_of("monitor", "cpu_used_up").endswith("(the answer: bad key *** with ***)")


def test_a_file_that_does_not_match_the_api_fails(account):
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


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_a_failure_of_one_metric_does_not_prevent_the_others_from_being_filled_in(account, status):
    account.datadog.receive("gunicorn.connections", "gunicorn.workers")
    account.datadog.answers = [Answer("PUT /api/v1/metrics/gunicorn.connections", status)]
    outcome = account.apply()
    assert outcome.line_of("metric", "gunicorn.connections").startswith(f"FAILED: {status} ")
    assert outcome.line_of("metric", "gunicorn.workers").startswith("filled in: ")
    assert outcome.line("Not done: ").startswith("Not done: metric gunicorn.connections.")


def wait_for_sleep(process):
    """Wait until it waits for an answer: if interrupted earlier, Python's HTTP client prints messages of its own."""
    while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_names_what_may_be_incomplete(account, number):
    """A signal while a monitor is created: a real process, and a real signal."""
    asked, ended = threading.Event(), threading.Event()

    def wait_for_end(_):
        asked.set()
        ended.wait(30)

    account.datadog.answers = [answer(200, act=wait_for_end, carried_out=True)]
    with account.start("--apply") as process:
        assert asked.wait(30)
        wait_for_sleep(process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    ended.set()
    outcome = Outcome(process.returncode, output.splitlines())
    assert outcome.code == 130
    assert errors == ""
    assert outcome.line("INTERRUPTED") == "INTERRUPTED at monitor cpu_used_up, which may be incomplete."
    assert outcome.line("Done: ") == "Done: 2 created."
    assert outcome.line("Not done: ").startswith("Not done: monitor cpu_used_up, monitor crash_loop,")
    assert_completes(account)


def test_an_interrupted_update_is_completed(account):
    account.apply()
    account.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    account.datadog.answers = [Answer("PUT /api/v1/monitor", 500, after=1, times=1)]
    assert account.apply().code == 1
    outcome = account.apply()
    assert outcome.line_of("monitor", "worker_crashes").startswith("updated: completes an interrupted load")
    assert_completes(account)


FIRST_REQUEST = {
    400: "400 Bad Request: Datadog refused the request (the answer: as the test wants it)",
    401: "401 Unauthorized: DD_API_KEY or DD_APP_KEY is not valid at {url} (the answer: as the test wants it)",
    403: (
        "DD_API_KEY is not valid at {url}: a wrong key, or the account is on another site (DD_SITE, now datadoghq.com)"
    ),
    404: "{url} does not answer as Datadog's API (404 Not Found): check DD_SITE, --api-url, proxies",
    409: "409 Conflict: somebody else is changing it; run it again (the answer: as the test wants it)",
    429: "429 Too Many Requests: still too many after 5 waits; run it again later",
    500: "500 Internal Server Error: Datadog failed; run it again later (the answer: as the test wants it)",
    503: "503 Service Unavailable: Datadog failed; run it again later (the answer: as the test wants it)",
}


@pytest.mark.parametrize("apply", [(), ("--apply",)], ids=str)
@pytest.mark.parametrize("status", FIRST_REQUEST)
def test_a_failure_of_the_first_request_stops_the_run(account, status, apply):
    account.datadog.answers = [Answer("GET /api/v1/validate", status)]
    outcome = account.run(*apply)
    assert outcome.code == 1
    assert outcome.line("STOPPED") == f"STOPPED: {FIRST_REQUEST[status].format(url=account.url)}"
    assert not any("To carry it out" in line for line in outcome.lines)


def test_the_failure_of_a_read_does_not_say_that_it_may_have_been_carried_out(account):
    account.datadog.answers = [Answer("GET /api/v1/monitor", 503)]
    assert account.apply().line_of("monitor", "(all)") == (
        "FAILED: 503 Service Unavailable: Datadog failed; run it again later (the answer: as the test wants it)"
    )


@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        ("GET /api/v1/dashboard", b"{}"),
        ("GET /api/v1/dashboard", b"null"),
        ("GET /api/v1/dashboard", b'{"dashboards": null}'),
        ("GET /api/v1/monitor", b"{}"),
        ("GET /api/v1/monitor", b"null"),
        ("GET /api/v1/monitor", b'[{"name": "no id"}]'),
        ("GET /api/v1/logs", b"{}"),
        ("GET /api/v1/logs", b"[17]"),
        ("GET /api/v1/metrics", b"[]"),
        ("POST /api/v1/dashboard", b"{}"),
        ("POST /api/v1/monitor", b""),
        ("PUT /api/v1/logs", b"[]"),
    ],
)
def test_an_answer_with_unexpected_json_stops_the_run(account, pattern, body):
    account.datadog.answers = [Answer(pattern, 200, body)]
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line("STOPPED").endswith(
        f": {account.url} does not answer as Datadog's API (unexpected JSON): check DD_SITE, --api-url, proxies"
    )


def test_a_pipeline_of_the_account_may_have_no_filter(account):
    account.datadog.pipelines["own"] = {"id": "own", "is_read_only": True, "is_enabled": True}
    assert account.apply().code == 0


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("assets/monitors/crash_loop.json", "{,}", "Expecting property name enclosed in double quotes"),
        ("assets/monitors/crash_loop.json", "{}", "'definition' is missing"),
        ("assets/monitors/crash_loop.json", "[]", "list indices must be integers"),
        ("assets/dashboards/gunicorn_dashboard.json", "", "Expecting value"),
        ("assets/logs/gunicorn.yaml", "pipeline: [", "while parsing a flow node"),
        ("assets/logs/gunicorn.yaml", "facets: []", "'pipeline' is missing"),
        ("metadata.csv", "metric_name\na\n", "'description' is missing"),
    ],
)
def test_a_damaged_file_is_named(account, capsys, path, text, reason):
    (account.checkout / path).write_text(text)
    assert account.apply().code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"{path}: cannot be read: {reason}")
    assert line.count("\n") == 1
    assert account.datadog.log == []


def test_a_missing_file_is_named(account, capsys):
    (account.checkout / "metadata.csv").unlink()
    assert account.apply().code == 2
    assert capsys.readouterr().err.startswith("metadata.csv: cannot be read: [Errno 2] No such file")


def test_a_proxy_that_does_not_listen_stops_the_run(account, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused.getsockname()[1]}")
        account.url = "https://api.datadog.invalid"
        line = account.apply().line("STOPPED")
    assert line.startswith("STOPPED: HTTPS_PROXY: the proxy failed: ")
    assert line.endswith("Connection refused")


def test_a_proxy_that_refuses_the_request_stops_the_run(account, monkeypatch):
    def refuse():
        connection = server.accept()[0]
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        account.url = "https://api.datadog.invalid"
        assert account.apply().line("STOPPED") == (
            "STOPPED: HTTPS_PROXY: the proxy failed: Tunnel connection failed: 407 Proxy Authentication Required"
        )


def test_an_object_that_somebody_else_removed_counts_as_removed(account):
    account.apply()
    account.datadog.answers = [Answer("DELETE /api/v1/monitor", 404, after=2, times=1, carried_out=True)]
    outcome = account.remove()
    assert outcome.code == 0
    assert outcome.line("Done: ") == f"Done: {OBJECTS} removed."


def test_an_interrupted_plan_does_not_offer_to_be_carried_out(account):
    asked, ended = threading.Event(), threading.Event()
    account.datadog.answers = [Answer("GET /api/v1/validate", 200, b"{}", act=lambda _: (asked.set(), ended.wait(30)))]
    with account.start() as process:
        assert asked.wait(30)
        wait_for_sleep(process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    ended.set()
    assert (process.returncode, errors) == (130, "")
    assert output.splitlines()[:2] == ["INTERRUPTED.", "Plan: nothing."]
    assert "APPLY=1" not in output


def test_an_interruption_of_the_imports_is_one_line(account, tmp_path):
    package = tmp_path / "first/datadog_api_client"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with account.start(PYTHONPATH=str(package.parent)) as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "", "INTERRUPTED before the first request.\n")


def test_nothing_is_written_into_the_working_directory(account):
    with account.start("--apply", PYTHONDONTWRITEBYTECODE="1") as process:
        process.communicate(timeout=50)
    assert process.returncode == 0
    assert {path.relative_to(account.checkout) for path in account.checkout.rglob("*")} == account.files
