"""Real processes that crowd the host, and the table of ratios at the end."""

import contextlib
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.pool import fleet
from tests.assertions import make_check
from tests.gunicorn_server import run_gunicorn

CROWDS = [100, 1000, 3000]
POOLS = [8, 64, 256]
OPEN = [10, 1000, 10_000]
# The number of connections to other listeners, and the address families.
OTHERS, FAMILIES = 3000, ["AF_INET", "AF_UNIX"]
SOURCES = ["sock_diag", "procfs"]
# Runs 15 s apart, each after a look at the host.
RUNS_A_MINUTE = 4


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch):
    """Skip the wait between two looks, and the looks at the host, which are measured separately."""
    monkeypatch.setattr(check_module, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(fleet, "FRESH_SECONDS", float("inf"))


@pytest.fixture(scope="module")
def server() -> Iterator:
    with run_gunicorn("--preload", workers=8) as server:
        yield server


def make_bare_check(server):
    """Make a check without connections and version, which are measured separately."""
    return make_check(server.name, {"gunicorn": "true"}, collect_connections=False)


@pytest.fixture
def check(server):
    """A check that has already found its server."""
    check = make_bare_check(server)
    assert check.run() == ""
    return check


@pytest.fixture(scope="session")
def crowd():
    """Start processes until the host has a given number."""
    with contextlib.ExitStack() as stack:
        sleepers = []

        def fill(count):
            while len(sleepers) and len(psutil.pids()) > count:
                end(sleepers.pop())
            while len(psutil.pids()) < count:
                sleepers.append(subprocess.Popen(["sleep", "3600"]))

        def end(sleeper):
            sleeper.kill()
            sleeper.wait()

        stack.callback(lambda: [end(sleeper) for sleeper in sleepers])
        yield fill


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    measured = {bench.name: bench.stats.median * 1000 for bench in session.benchmarks} if session else {}
    lines = [*(format_ratios(measured) if "test_run[3000]" in measured else ()), *format_discovery(measured)]
    if lines:
        terminalreporter.section("CPU milliseconds, medians")
        for line in lines:
            terminalreporter.write_line(line)


def format_discovery(ms: dict[str, float]) -> Iterator[str]:
    """Format what an instance that discovers twenty servers saves."""
    for waits in ("without waits", "with waits"):
        one, twenty = (ms.get(f"test_{name}[{waits}]") for name in ("discovery_of_twenty", "twenty_instances"))
        if one and twenty:
            saved = f"{one:.1f} / {twenty:.1f} = {one / twenty:.2f}"
            yield f"discovery of twenty servers / an instance for each, {waits}: {saved}"


def format_ratios(ms: dict[str, float]) -> Iterator[str]:
    """Format the tables that docs/costs.md quotes; `ms` maps the name of a benchmark to milliseconds."""

    def measured(name):
        return [ms[f"test_{name}[{count}]"] for count in CROWDS]

    def row(title, values, form):
        return f"{title:40}" + "".join(f"{form.format(value):>10}" for value in values)

    def ratios(over, under):
        return [a / b for a, b in zip(over, under, strict=True)]

    textbook, run, look = measured("textbook"), measured("run"), measured("look_at_the_host")
    listing, full_look = measured("list_of_the_host"), measured("full_look")
    minute = [RUNS_A_MINUTE * a + (RUNS_A_MINUTE - 1) * b + c for a, b, c in zip(run, look, listing, strict=True)]
    listed = [RUNS_A_MINUTE * (a + b) for a, b in zip(run, listing, strict=True)]
    yield row("processes on the host", CROWDS, "{}")
    yield row("textbook algorithm", textbook, "{:.2f}")
    yield row("a run", run, "{:.2f}")
    yield row("a look at the host", look, "{:.2f}")
    yield row("a look at the host with a list", listing, "{:.2f}")
    yield row("a look at every process", full_look, "{:.2f}")
    yield row("textbook / run", ratios(textbook, run), "{:.0f}x")
    of_textbook = [RUNS_A_MINUTE * a for a in textbook]
    yield row("textbook / run, looks included", ratios(of_textbook, minute), "{:.1f}x")
    yield row("the same with a list at every look", ratios(of_textbook, listed), "{:.1f}x")
    yield f"a run at 3000 processes / at 100: {run[2] / run[0]:.2f}x"
    yield f"256 workers / 8 workers: {ms['test_workers[256]'] / ms['test_workers[8]']:.1f}x"
    yield f"ten instances of one server / one: {ms['test_ten_instances'] / run[2]:.1f}x"
    yield f"wall time of a run at 3000 processes beyond the 0.1 s: {ms['test_wall_time'] - 100:.1f} ms"
    for workers in POOLS:
        mine, bare = ms[f"test_workers[{workers}]"], ms[f"test_bare_loop[{workers}]"]
        yield f"{workers} workers: a run {mine:.2f} ms, a bare loop of its calls {bare:.2f} ms, {mine / bare:.2f}x"
    if f"test_look[{OPEN[0]}-sock_diag]" in ms:
        sources = {name: [ms[f"test_look[{count}-{name}]"] for count in OPEN] for name in SOURCES}
        yield row("open connections", OPEN, "{}")
        for name, values in sources.items():
            yield row(f"a look at them by {name}", values, "{:.2f}")
        yield row(f"{OPEN[0]} open connections, {OTHERS} others", FAMILIES, "{}")
        for name in sources:
            beside = [ms[f"test_look_beside_others[{family}-{name}]"] for family in FAMILIES]
            yield row(f"a look at them by {name}", beside, "{:.2f}")
        yield f"a look at 10 connections by sock_diag / a run: {sources['sock_diag'][0] / run[0]:.2f}x"
