"""The demo: a real Gunicorn, some load, the check, and what both of them sent."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .demo_server import GUNICORN, WORKERS, DemoServer, ServerError, start_server
from .dogstatsd import Receiver, format_received, open_receiver
from .extras import explain_missing
from .instances import Instance, UsageError
from .interrupts import InterruptError, Interrupts, noted_interrupts
from .report import format_status
from .runner import run_instances, run_rounds
from .runs import Report
from .terminal import complain, write
from .watch import show_pages

BUSY_WORKERS = 2
# Some of each outcome that Gunicorn counts.
REQUESTS = ["/"] * 20 + ["/missing"] * 3 + ["/error"]
# Gunicorn sends a line or two in a second without any request, and the kernel keeps some hundreds of them.
TAKE_SECONDS = 10.0


def run_demo(watch: float | None = None) -> int:
    """Run the demo, with a new page every `watch` seconds where that is given, until a signal ends it.

    Returns an exit code: 1 when something failed, 128 and the signal's number when one came before the last page.
    Raises UsageError when a package of the `demo` extra is missing.
    """
    version = _require("gunicorn")
    _require("setproctitle")
    with noted_interrupts() as interrupts:
        try:
            report = _demonstrate(version, watch, interrupts)
        except ServerError as error:
            head, _, log = str(error).partition("\n")
            complain(head)
            for line in log.splitlines():
                complain(line)
            return 1
        except InterruptError as interrupt:
            return interrupt.exit_code
    return 1 if report.last.error else 0


def _require(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise UsageError(explain_missing(error, extra="demo")) from error


def _demonstrate(version: str, watch: float | None, interrupts: Interrupts) -> Report:
    name = f"demo-{os.getpid()}"
    with open_receiver() as dogstatsd, _python_on_path() as python:
        command = " ".join([python, *GUNICORN[1:]])
        instance = Instance(source="demo", where="demo", options={"proc_name": name, "gunicorn": command})
        with _busy_server(name, version, dogstatsd, interrupts) as server:
            if watch is not None:
                write(f"Running the check every {watch:g} seconds, until Ctrl-C\n\n")
                return _show_pages(instance, watch, server, dogstatsd, interrupts)
            write("Running the check twice, one second apart\n\n")
            (report,) = run_instances([instance], count=2, pause=interrupts.pause)
            interrupts.check()
        # After the server's end: all that it sent has arrived.
        dogstatsd.take()
    write(_format_page(report, dogstatsd))
    interrupts.check()
    return report


@contextlib.contextmanager
def _busy_server(name: str, version: str, dogstatsd: Receiver, interrupts: Interrupts) -> Iterator[DemoServer]:
    with start_server(name, dogstatsd.address) as server, contextlib.ExitStack() as load:
        write(f"Starting Gunicorn {version} with {WORKERS} workers, called {name}\n")
        server.await_workers(interrupts.check)
        write(f"Sending {len(REQUESTS)} requests, and {BUSY_WORKERS} that burn CPU until the end\n")
        _send_requests(server, interrupts)
        dogstatsd.take()
        for _ in range(BUSY_WORKERS):
            load.enter_context(server.busy_worker())
            interrupts.check()
        yield server


def _send_requests(server: DemoServer, interrupts: Interrupts) -> None:
    for path in REQUESTS:
        server.get(path)
        interrupts.check()


def _show_pages(
    instance: Instance, watch: float, server: DemoServer, dogstatsd: Receiver, interrupts: Interrupts
) -> Report:
    def pause(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            interrupts.pause(min(left, TAKE_SECONDS))
            dogstatsd.take()
        _send_requests(server, interrupts)

    def format_page(report: Report) -> str:
        dogstatsd.take()
        return _format_page(report, dogstatsd)

    return show_pages((report for (report,) in run_rounds([instance], watch, pause)), format_page)


def _format_page(report: Report, dogstatsd: Receiver) -> str:
    table = "\n".join(format_received(dogstatsd.received))
    return f"{format_status([report])}\nDogStatsD metrics from Gunicorn, received at {dogstatsd.address}\n\n{table}\n"


@contextlib.contextmanager
def _python_on_path() -> Iterator[str]:
    # The option `gunicorn` is split on blanks, and this Python's folder may have some in its name.
    python, path = Path(sys.executable), os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{path}"
    try:
        yield python.name
    finally:
        os.environ["PATH"] = path
