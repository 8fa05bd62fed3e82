"""Compare the number of working workers with the requests that the application recorded."""

import contextlib
import itertools
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from datadog_checks.base.stubs import datadog_agent

from datadog_checks.gunicorn import GunicornCheck
from tests.apps.recording import RECORD
from tests.assertions import make_check, run
from tests.gunicorn_server import Server, cpu_seconds, run_gunicorn, temporary_folder, wait_until

WORKERS = 4
# Gunicorn itself works on a request before and after the application, and a look takes time, too.
EDGE_SECONDS = 0.005
# A worker that uses this much is certainly working; the threshold is 0.0005.
ENOUGH_SECONDS = 0.0006


class Window(NamedTuple):
    """One run of the check: when it waited between its two looks, and what it reported.

    `cpu` is the CPU seconds of each worker during the wait, by the kernel's clock, if the workers were given.
    """

    start: float
    end: float
    working: int
    total: int
    cpu: tuple[float, ...] = ()


class Request(NamedTuple):
    start: float
    end: float
    cpu_at_start: float


Record = Mapping[int, Sequence[Request]]


def read_cpu_clock(pid: int) -> float:
    """Read the CPU seconds of a process by its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


# Waiting for a program that prints its version would be a second wait.
NO_VERSION = {"gunicorn": "/nowhere/gunicorn"}


def look_often(check: GunicornCheck, runs: int, workers: Sequence[int] = ()) -> list[Window]:
    """Run the check repeatedly, and record when each run waited between its two looks."""
    return [look(check, workers) for _ in range(runs)]


def look(check: GunicornCheck, workers: Sequence[int]) -> Window:
    really_sleep, waits = time.sleep, []

    def sleep(seconds: float) -> None:
        before = [read_cpu_clock(pid) for pid in workers]
        start = time.monotonic()
        really_sleep(seconds)
        end = time.monotonic()
        used = [read_cpu_clock(pid) - cpu for pid, cpu in zip(workers, before, strict=True)]
        waits.append((start, end, tuple(used)))

    # Start at a random moment, not in step with anything periodic.
    time.sleep(random.uniform(0.01, 0.03))
    with mock.patch("time.sleep", sleep):
        found = run(check)
    (start, end, used) = waits[0]
    assert (len(waits), found.error) == (1, "")
    return Window(start, end, int(found.workers["state:working"]), int(found.total), used)


def print_windows(proc_name: str, procfs: str, runs: str) -> None:
    """Run the check repeatedly with another procfs, and print the windows; for a process of its own."""
    datadog_agent._config["procfs_path"] = procfs
    sys.stdout.write(json.dumps(look_often(make_check(proc_name, NO_VERSION), int(runs))))


def read_record(folder: Path) -> Record:
    return {
        int(file.name): sorted(Request(*fields) for fields in RECORD.iter_unpack(file.read_bytes()))
        for file in folder.iterdir()
    }


class Truth(NamedTuple):
    """The number of workers that ran a request during a window, with the bounds for working ones."""

    recorded: int
    least: int
    most: int


def estimate_cost(record: Record) -> float:
    """Estimate the CPU seconds of one request, including Gunicorn's part.

    A worker's CPU from one request to the next also includes wake-ups for connections that another worker took. The
    lowest tenth has few of them.
    """
    cycles = [
        after.cpu_at_start - before.cpu_at_start
        for requests in record.values()
        for before, after in itertools.pairwise(requests)
    ]
    return sorted(cycles)[len(cycles) // 10]


def find_truth(window: Window, record: Record, cost: float) -> Truth:
    """Count the workers whose requests overlap the window, and those that ran enough of them well inside it."""
    start, end = window.start, window.end
    enough = math.ceil(ENOUGH_SECONDS / cost)

    def overlap(requests: Sequence[Request], edge: float) -> bool:
        return any(each.start <= end + edge and start - edge <= each.end for each in requests)

    def fill(requests: Sequence[Request]) -> bool:
        inside = [each for each in requests if start + EDGE_SECONDS <= each.start and each.end <= end - EDGE_SECONDS]
        return len(inside) >= enough

    workers = record.values()
    return Truth(
        recorded=sum(overlap(requests, 0) for requests in workers),
        least=sum(map(fill, workers)),
        most=sum(overlap(requests, EDGE_SECONDS) for requests in workers),
    )


class Comparison(NamedTuple):
    """The average numbers of working workers, and the number of runs outside the bounds."""

    runs: int
    reported: float
    recorded: float
    too_few: int
    too_many: int
    cost: float

    @property
    def outside(self) -> int:
        return self.too_few + self.too_many

    def __str__(self) -> str:
        return (
            f"reported {self.reported:.2f}, recorded {self.recorded:.2f}, outside {self.outside} of {self.runs} "
            f"({self.too_few} too few, {self.too_many} too many), {self.cost * 1000:.2f} ms a request"
        )


def compare(windows: Sequence[Window], record: Record) -> Comparison:
    cost = estimate_cost(record)
    truths = [find_truth(window, record, cost) for window in windows]
    pairs = list(zip(windows, truths, strict=True))
    return Comparison(
        runs=len(windows),
        reported=sum(window.working for window in windows) / len(windows),
        recorded=sum(truth.recorded for truth in truths) / len(windows),
        too_few=sum(window.working < truth.least for window, truth in pairs),
        too_many=sum(window.working > truth.most for window, truth in pairs),
        cost=cost,
    )


@contextlib.contextmanager
def run_pool(worker_class: str, *options: str, app: str = "app") -> Iterator[tuple[Server, Path]]:
    """Run a server that records its requests; yield it and the folder of its records once its workers are at rest."""
    with temporary_folder() as folder:
        recording = ("--env", f"RECORDS={folder}", "--worker-class", worker_class, *options)
        with run_gunicorn(*recording, workers=WORKERS, app=f"recording:{app}") as server:
            wait_until(lambda: are_at_rest(server.workers()), "the end of the start")
            yield server, folder


def are_at_rest(workers: Sequence[int]) -> bool:
    before = [cpu_seconds(pid) for pid in workers]
    time.sleep(0.3)
    return before == [cpu_seconds(pid) for pid in workers]


def format_percentiles(values: Sequence[float]) -> str:
    ranked = sorted(values)
    return f"median {statistics.median(ranked):.2f}, 99th {ranked[len(ranked) * 99 // 100]:.2f}, most {ranked[-1]:.2f}"
