"""The demo: a real Gunicorn, some load, the check, and what both of them sent."""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .demo_server import GUNICORN, WORKERS, DemoServer, ServerError, start_server
from .dogstatsd import format_samples, open_receiver
from .extras import explain_missing
from .instances import Instance, UsageError
from .interrupts import InterruptError, Interrupts, noted_interrupts
from .report import format_status
from .runner import run_instances
from .runs import Report
from .terminal import complain, write

BUSY_WORKERS = 2
# Some of each outcome that Gunicorn counts.
REQUESTS = ["/"] * 20 + ["/missing"] * 3 + ["/error"]


def run_demo() -> int:
    """Run the demo and return an exit code: 1 when something failed, 128 and the signal's number when one ended it.

    Raises UsageError when a package of the `demo` extra is missing.
    """
    version = _require("gunicorn")
    _require("setproctitle")
    with noted_interrupts() as interrupts:
        try:
            report = _demonstrate(version, interrupts)
            interrupts.check()
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


def _demonstrate(version: str, interrupts: Interrupts) -> Report:
    name = f"demo-{os.getpid()}"
    with open_receiver() as dogstatsd:
        with start_server(name, dogstatsd.address) as server:
            write(f"Starting Gunicorn {version} with {WORKERS} workers, called {name}\n")
            server.await_workers(interrupts.check)
            write(f"Sending {len(REQUESTS)} requests, and {BUSY_WORKERS} that burn CPU until the check is done\n")
            _send_requests(server, interrupts)
            dogstatsd.take()
            with contextlib.ExitStack() as load:
                for _ in range(BUSY_WORKERS):
                    load.enter_context(server.busy_worker())
                    interrupts.check()
                write("Running the check twice, one second apart\n\n")
                (report,) = _check(name, interrupts)
                interrupts.check()
        # After the server's end: all that it sent has arrived.
        dogstatsd.take()
    write(format_status([report]))
    write(f"\nDogStatsD metrics from Gunicorn, received at {dogstatsd.address}\n\n")
    write("\n".join(format_samples(dogstatsd.samples)) + "\n")
    return report


def _send_requests(server: DemoServer, interrupts: Interrupts) -> None:
    for path in REQUESTS:
        server.get(path)
        interrupts.check()


def _check(name: str, interrupts: Interrupts) -> list[Report]:
    with _python_on_path() as python:
        command = " ".join([python, *GUNICORN[1:]])
        instance = Instance(source="demo", where="demo", options={"proc_name": name, "gunicorn": command})
        return run_instances([instance], count=2, pause=interrupts.pause)


@contextlib.contextmanager
def _python_on_path() -> Iterator[str]:
    # The option `gunicorn` is split on blanks, and this Python's folder may have some in its name.
    python, path = Path(sys.executable), os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{path}"
    try:
        yield python.name
    finally:
        os.environ["PATH"] = path
