import functools
import json
from dataclasses import replace

import pytest

from datadog_checks.gunicorn import __version__
from datadog_checks.gunicorn.standalone.pages.status import (
    format_check,
    format_date,
    format_json,
    format_status,
)
from datadog_checks.gunicorn.standalone.runs import (
    Report,
    Run,
    RunError,
    ServiceCheckResult,
    SubmittedMetric,
    Totals,
    WatchedServer,
)
from tests.host.test_cgroups import OWN

WELL = Run(
    began=1795174270.0384,
    seconds=0.1052,
    metrics=(
        SubmittedMetric("gunicorn.workers", "gauge", 12.0, ("app:web", "state:idle"), "host1"),
        SubmittedMetric("gunicorn.workers", "gauge", 2.0, ("app:web", "state:working"), "host1"),
    ),
    service_checks=(ServiceCheckResult("gunicorn.is_running", 0, ("app:web",), "host1", ""),),
    events=0,
    metadata={"version.raw": "27.0.1", "version.major": "27"},
    warnings=(),
    error=None,
)
MESSAGE = "Found no master process with name: gunicorn: master [web]"
FAILED = replace(
    WELL,
    began=1795174280.0,
    seconds=0.002,
    metrics=(),
    service_checks=(ServiceCheckResult("gunicorn.is_running", 2, ("app:web",), "host1", MESSAGE),),
    metadata={},
    error=RunError(MESSAGE, ""),
)
SOURCE = "file:/etc/datadog-agent/conf.d/gunicorn.d/conf.yaml[0]"


def report(*runs):
    totals = functools.reduce(Totals.plus, runs, Totals())
    return Report(
        "gunicorn:97a4cdc4ee6afd32",
        SOURCE,
        {"psutil": "7.2.2"},
        "a clock",
        (),
        (),
        runs[-1],
        totals,
    )


def test_the_page_of_a_successful_run():
    title = f"gunicorn ({__version__})"

    assert format_status([report(WELL)]) == (
        f"""\
=========
Collector
=========

  Running Checks
  ==============

    {title}
    {"-" * len(title)}
      Instance ID: gunicorn:97a4cdc4ee6afd32 [OK]
      Configuration Source: file:/etc/datadog-agent/conf.d/gunicorn.d/conf.yaml[0]
      Total Runs: 1
      Metric Samples: Last Run: 2, Total: 2
      Events: Last Run: 0, Total: 0
      Service Checks: Last Run: 1, Total: 1
      Average Execution Time : 105ms
      Last Execution Date : 2026-11-20 11:31:10.038 UTC (1795174270038)
      Last Successful Execution Date : 2026-11-20 11:31:10 UTC (1795174270000)
      metadata:
        version.major: 27
        version.raw: 27.0.1

  Dependencies
  ============
    psutil: 7.2.2

  Submitted in the last run
  =========================

    gunicorn:97a4cdc4ee6afd32
    -------------------------
      Common tags:
        app:web
      Workers:
        gunicorn.workers  gauge  12  state:idle
        gunicorn.workers  gauge  2   state:working
      Service Checks:
        gunicorn.is_running  OK
      CPU times: a clock
"""
    )


def test_the_page_if_the_last_of_two_runs_failed():
    page = format_status([report(WELL, replace(FAILED, warnings=("first", "second")))])

    assert "      Instance ID: gunicorn:97a4cdc4ee6afd32 [ERROR]\n" in page
    assert (
        f"""
      Total Runs: 2
      Metric Samples: Last Run: 0, Total: 2
      Events: Last Run: 0, Total: 0
      Service Checks: Last Run: 1, Total: 2
      Average Execution Time : 54ms
      Last Execution Date : 2026-11-20 11:31:20.000 UTC (1795174280000)
      Last Successful Execution Date : 2026-11-20 11:31:10 UTC (1795174270000)
      Error: {MESSAGE}

      Warning: first
      Warning: second
"""
        in page
    )
    assert "      Metrics:\n        none\n" in page
    assert "      Common tags:\n        app:web\n" in page
    assert f"        gunicorn.is_running  CRITICAL  {MESSAGE}\n" in page
    assert "metadata" not in page


def test_the_page_of_an_instance_that_always_failed():
    assert "      Last Successful Execution Date : Never\n" in format_status([report(FAILED)])


def test_the_page_of_a_run_with_a_warning():
    assert "gunicorn:97a4cdc4ee6afd32 [WARNING]\n" in format_status([report(replace(WELL, warnings=("careful",)))])


def test_the_page_shows_the_traceback_of_an_unexpected_error():
    error = RunError("lost", 'Traceback (most recent call last):\n  File "x.py", line 1\nKeyError: lost\n')

    page = format_status([report(replace(FAILED, error=error))])

    assert (
        """
      Error: lost
      Traceback (most recent call last):
        File "x.py", line 1
      KeyError: lost
"""
        in page
    )


def test_the_page_of_two_instances():
    page = format_status([report(WELL), replace(report(FAILED), instance_id="gunicorn:82255294d83a2e84")])

    assert page.count("Instance ID: gunicorn:") == 2
    assert page.count("psutil: 7.2.2") == 1
    assert page.count("gunicorn:82255294d83a2e84") == 2


def test_the_page_says_what_is_missing():
    page = format_status([replace(report(WELL), notes=("No metric: \x1b[2J is unknown.",))])

    assert page.endswith("      CPU times: a clock\n      No metric: \\x1b[2J is unknown.\n")


def test_the_page_of_several_servers_says_where_they_run():
    servers = (
        WatchedServer("api", None, (12,)),
        WatchedServer("web", OWN, (345, 6789)),
        WatchedServer("web\x1b[2J" + "x" * 3000, "f" * 64, (7,)),
    )

    page = format_status([replace(report(WELL), servers=servers)])

    cut = rf"web\x1b[2J{'x' * 54}..."
    assert page.endswith(
        f"""
      CPU times: a clock
      Servers:
        {"api":67}  in no container         master 12
        {"web":67}  container 4f1c9a2b7d3e  master 345, 6789
        {cut}  container ffffffffffff  master 7
"""
    )


@pytest.mark.parametrize(
    ("servers", "is_shown"),
    [
        ((), False),
        ((WatchedServer("web", None, (12,)),), False),
        ((WatchedServer("web", OWN, (12,)),), True),
        ((WatchedServer("web", None, (12,)), WatchedServer("api", None, (13,))), True),
    ],
)
def test_the_page_says_where_servers_run_unless_that_is_obvious(servers, is_shown):
    assert ("      Servers:\n" in format_status([replace(report(WELL), servers=servers)])) is is_shown


def test_the_page_escapes_text_of_other_processes():
    evil = "a\x1b[2J\nb\u202e"
    run = Run(
        began=0,
        seconds=0,
        metrics=(SubmittedMetric(evil, "gauge", 1, (f"app:{evil}", f"state:{evil}"), ""),),
        service_checks=(ServiceCheckResult("gunicorn.is_running", 2, (f"app:{evil}",), "", evil),),
        events=0,
        metadata={"version.raw": evil},
        warnings=(evil,),
        error=RunError(evil, f"Traceback:\n{evil}"),
    )

    page = format_status(
        [Report("gunicorn:1", f"command line: --proc-name {evil}", {}, "a clock", (), (), run, Totals().plus(run))]
    )

    assert all(line.isprintable() for line in page.split("\n"))
    assert page.count(r"a\x1b[2J\nb\u202e") == 8


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (0.0, "1970-01-01 00:00:00.000 UTC (0000)"),
        (1795174270.0389, "2026-11-20 11:31:10.038 UTC (1795174270038)"),
        (1795174270.9999, "2026-11-20 11:31:10.999 UTC (1795174270999)"),
    ],
)
def test_format_date_to_the_millisecond(timestamp, text):
    assert format_date(timestamp, milliseconds=True) == text


def test_format_check_prints_the_last_run_with_the_agents_keys_and_the_page():
    printed = format_check([report(FAILED, WELL)])

    series, rest = printed.removeprefix("=== Series ===\n").split("=== Service Checks ===\n")
    service_checks, page = rest.split("\n\n", 1)
    assert json.loads(series)[0] == {
        "metric": "gunicorn.workers",
        "points": [[1795174270, 12.0]],
        "tags": ["app:web", "state:idle"],
        "host": "host1",
        "type": "gauge",
        "interval": 0,
    }
    assert json.loads(service_checks) == [
        {
            "check": "gunicorn.is_running",
            "host_name": "host1",
            "timestamp": 1795174270,
            "status": 0,
            "message": "",
            "tags": ["app:web"],
        }
    ]
    assert page == format_status([report(FAILED, WELL)])


def test_format_json():
    failed = replace(FAILED, warnings=("w\u202e",), error=RunError("lost", "Traceback"))

    text = format_json([report(WELL), report(failed)])

    assert text.isascii()
    well, ill = json.loads(text)
    assert well == {
        "instance_id": "gunicorn:97a4cdc4ee6afd32",
        "source": SOURCE,
        "status": "OK",
        "metrics": [
            {
                "metric": "gunicorn.workers",
                "points": [[1795174270, value]],
                "tags": ["app:web", f"state:{state}"],
                "host": "host1",
                "type": "gauge",
                "interval": 0,
            }
            for state, value in [("idle", 12.0), ("working", 2.0)]
        ],
        "service_checks": [
            {
                "check": "gunicorn.is_running",
                "host_name": "host1",
                "timestamp": 1795174270,
                "status": 0,
                "message": "",
                "tags": ["app:web"],
            }
        ],
        "metadata": {"version.raw": "27.0.1", "version.major": "27"},
        "warnings": [],
        "error": None,
        "traceback": None,
    }
    assert (ill["status"], ill["warnings"], ill["error"], ill["traceback"]) == (
        "ERROR",
        ["w\u202e"],
        "lost",
        "Traceback",
    )
