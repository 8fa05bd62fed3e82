"""The demo: start Gunicorn, send requests, run the check, print the results."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from datadog_checks.gunicorn.standalone.extras import explain_missing
from datadog_checks.gunicorn.standalone.instances import Instance, UsageError
from datadog_checks.gunicorn.standalone.interrupts import InterruptError, Interrupts, noted_interrupts
from datadog_checks.gunicorn.standalone.pages.status import format_status
from datadog_checks.gunicorn.standalone.pages.watch import show_pages
from datadog_checks.gunicorn.standalone.runner import run_instances, run_rounds
from datadog_checks.gunicorn.standalone.runs import Report
from datadog_checks.gunicorn.standalone.terminal import complain, write

from .dogstatsd import Receiver, format_received, open_receiver
from .load import ANNOUNCEMENT, format_lesson, load
from .server import GUNICORN, WORKERS, ServerError, start_server

# Even an idle Gunicorn sends one or two lines a second, and the kernel buffers only some hundreds of them.
TAKE_SECONDS = 10.0


def run_demo(watch: float | None = None) -> int:
    """Run the demo once, or print a page every `watch` seconds until a signal arrives.

    Returns an exit code: 1 if something failed, 128 plus the signal number if a signal arrived before the last page.
    Raises UsageError if a package of the `demo` extra is missing.
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
        with start_server(name, dogstatsd.address) as server:
            write(f"Starting Gunicorn {version} with {WORKERS} workers, named {name}\n")
            server.await_workers(interrupts.check)
            write(ANNOUNCEMENT)
            with load(server.client, interrupts.check) as renew:
                dogstatsd.take()
                if watch is not None:
                    write(f"Running the check every {watch:g} seconds, until Ctrl-C\n\n")
                    return _show_pages(instance, watch, renew, dogstatsd, interrupts)
                write("Running the check twice, one second apart\n\n")
                (report,) = run_instances([instance], count=2, pause=interrupts.pause)
                interrupts.check()
        # The server has exited: everything that it sent has arrived.
        dogstatsd.take()
    write(_format_page(report, dogstatsd))
    interrupts.check()
    return report


def _show_pages(
    instance: Instance, watch: float, renew: Callable[[], None], dogstatsd: Receiver, interrupts: Interrupts
) -> Report:
    def pause(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            interrupts.pause(min(left, TAKE_SECONDS))
            dogstatsd.take()
        renew()

    def format_page(report: Report) -> str:
        dogstatsd.take()
        return _format_page(report, dogstatsd)

    return show_pages((report for (report,) in run_rounds([instance], watch, pause)), format_page)


def _format_page(report: Report, dogstatsd: Receiver) -> str:
    table = "\n".join(format_received(dogstatsd.received))
    return (
        f"{format_status([report])}\n"
        f"{format_lesson(report.last.metrics)}\n"
        f"DogStatsD metrics from Gunicorn, received at {dogstatsd.address}\n\n{table}\n"
    )


@contextlib.contextmanager
def _python_on_path() -> Iterator[str]:
    # The option `gunicorn` is split on blanks, which the path of this Python may contain.
    python, path = Path(sys.executable), os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{path}"
    try:
        yield python.name
    finally:
        os.environ["PATH"] = path
