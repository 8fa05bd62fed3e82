"""Record a Gunicorn whose database hangs while load rises, as the check sees it: `python -m images.record CSV`.

The clients keep a record of their own: how many of their requests are unanswered.
"""

import argparse
import contextlib
import csv
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from datadog_checks.gunicorn.standalone.demo.client import Client
from datadog_checks.gunicorn.standalone.demo.dogstatsd import open_receiver
from datadog_checks.gunicorn.standalone.demo.server import ServerError, start_server
from datadog_checks.gunicorn.standalone.instances import Instance
from datadog_checks.gunicorn.standalone.runner import run_rounds
from datadog_checks.gunicorn.standalone.runs import SubmittedMetric

SECONDS = 66
# Gunicorn's default, in seconds. No request takes that long, so no worker is killed.
TIMEOUT = 30
# Seconds after the start of the recording.
HANG = range(24, 52)

# One more client every four seconds.
CLIENTS = 10
JOIN_SECONDS = 4
# How long the database takes to answer a request, unless it hangs.
QUERY_SECONDS = 0.4
# How long a client waits between two requests: a random time in this range.
THINK_SECONDS = (0.5, 2.5)

# The columns that the check fills: a metric, and a tag if it has several values.
METRICS = {
    "workers_working": ("gunicorn.workers", "state:working"),
    "workers_idle": ("gunicorn.workers", "state:idle"),
    "cpu_percent": ("gunicorn.cpu.percent", "process_role:worker"),
    "connections_accepted": ("gunicorn.connections", "state:accepted"),
    "connections_queued": ("gunicorn.connections", "state:queued"),
    "heartbeat_age_max": ("gunicorn.worker.heartbeat.age.max", ""),
}
COLUMNS = ["second", "database_hangs", "clients", "unanswered_requests", *METRICS]


class Load:
    """Clients, each of which sends one request after another."""

    def __init__(self, client: Client, threads: ThreadPoolExecutor) -> None:
        self.clients: list[Future[None]] = []
        self._client = client
        self._threads = threads
        self._answers = threading.Event()
        self._answers.set()
        self._ended = threading.Event()
        self._unanswered = 0
        self._changing = threading.Lock()

    @property
    def hangs(self) -> bool:
        """Whether the database hangs, so that no request ends."""
        return not self._answers.is_set()

    @hangs.setter
    def hangs(self, value: bool) -> None:
        if value:
            self._answers.clear()
        else:
            self._answers.set()

    @property
    def unanswered(self) -> int:
        """The number of requests that were sent and not answered."""
        return self._unanswered

    def add_client(self) -> None:
        self.clients.append(self._threads.submit(self._send_requests))

    def end(self) -> None:
        """Let all clients end after their current requests."""
        self._ended.set()
        self.hangs = False

    def _send_requests(self) -> None:
        while not self._ended.is_set():
            with self._counted(), self._client.hold("/wait"):
                time.sleep(QUERY_SECONDS)
                self._answers.wait()
            self._ended.wait(random.uniform(*THINK_SECONDS))

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changing:
            self._unanswered += 1
        yield
        with self._changing:
            self._unanswered -= 1


@contextlib.contextmanager
def open_load(client: Client) -> Iterator[Load]:
    """Open a load that has no clients yet. Raises NoAnswerError at the end if a client got no answer."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        load = Load(client, threads)
        try:
            yield load
        finally:
            load.end()
    for each in load.clients:
        each.result()


def record(seconds: int = SECONDS) -> Iterator[dict[str, float]]:
    """Yield a row of COLUMNS every second. Raises ServerError."""
    name = f"figure-{os.getpid()}"
    with open_receiver() as dogstatsd, start_server(name, dogstatsd.address, "--timeout", str(TIMEOUT)) as server:
        server.await_workers(lambda: None)
        rounds = run_rounds([Instance("figure", "figure", {"proc_name": name})], 0)
        # A percentage of CPU needs an earlier run.
        next(rounds)
        with open_load(Client(server.port, timeout=2 * TIMEOUT)) as load:
            start = time.monotonic() + 1
            for second in range(seconds):
                time.sleep(max(0.0, start + second - time.monotonic()))
                elapsed = round(time.monotonic() - start, 1)
                (report,) = next(rounds)
                yield {
                    "second": elapsed,
                    "database_hangs": int(load.hangs),
                    "clients": len(load.clients),
                    "unanswered_requests": load.unanswered,
                    **read_values(report.last.metrics),
                }
                load.hangs = second in HANG
                if second % JOIN_SECONDS == 0 and len(load.clients) < CLIENTS:
                    load.add_client()


def read_values(metrics: Sequence[SubmittedMetric]) -> dict[str, float]:
    """Find the value for each column of METRICS. Raises KeyError if a metric was not submitted."""
    values = {(each.name, tag): round(each.value, 2) for each in metrics for tag in ("", *each.tags)}
    return {column: values[metric] for column, metric in METRICS.items()}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m images.record", description="Record a Gunicorn under load.")
    parser.add_argument("csv", type=Path, help="the file to write")
    path = parser.parse_args(arguments).csv
    if sys.platform != "linux":
        parser.exit(1, "Connections are counted only on Linux: record there.\n")
    print(f"Recording for {SECONDS} seconds ...")
    try:
        rows = list(record())
    except ServerError as error:
        parser.exit(1, f"{error}\n")
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({column: f"{value:g}" for column, value in row.items()} for row in rows)


if __name__ == "__main__":
    main(sys.argv[1:])
