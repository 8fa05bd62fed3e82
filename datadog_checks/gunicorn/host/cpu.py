"""The CPU time of processes, from the most precise of three sources that works here."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

import psutil

from . import portable, procfs
from .processes import Absence, attempt
from .values import Reading


class CpuSource(StrEnum):
    """Where CPU times come from, the most precise source first."""

    # clock_getcpuclockid(3): nanoseconds of all threads, including those that have ended.
    CLOCK = "the CPU clock of each process"
    # The first field of /proc/PID/task/TID/schedstat: nanoseconds of one thread.
    SCHEDSTAT = "the scheduler's figures of each thread"
    # user and system time, counted in ticks.
    TIMES = "CPU times in ticks of 10 ms"


def choose_source() -> CpuSource:
    """Choose the source for the processes that this procfs shows.

    A CPU clock takes a pid of our own pid namespace. The pids in procfs are different ones in a container that mounts
    the host's procfs.
    """
    if not psutil.LINUX:
        return CpuSource.TIMES
    if procfs.owns_processes() and not isinstance(attempt(_read_clock, os.getpid()), Absence):
        return CpuSource.CLOCK
    figures = attempt(_read_schedstat, "self")
    return CpuSource.SCHEDSTAT if isinstance(figures, dict) and any(figures.values()) else CpuSource.TIMES


def clock_of(pid: int) -> int:
    """Compute the id of a process's CPU clock, as glibc's clock_getcpuclockid does (CPUCLOCK_SCHED of the kernel)."""
    return (~pid << 3) | 2


def _read_clock(pid: int) -> Reading:
    try:
        return {0: time.clock_gettime_ns(clock_of(pid))}
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
        raise


def _read_schedstat(pid: int | str) -> Reading:
    folder = procfs.path_of(pid, "task")
    reading = {}
    for thread in os.listdir(folder):
        # Skip threads that have ended since.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            reading[int(thread)] = parse_schedstat(procfs.read_file(f"{folder}/{thread}/schedstat", 256))
    return reading


def parse_schedstat(line: bytes) -> int:
    """Parse the nanoseconds that a thread has run (Documentation/scheduler/sched-stats.rst); 0 if the file is empty.

    >>> parse_schedstat(b"1234567 890 12")
    1234567
    """
    return int(line.split(None, 1)[0]) if line.strip() else 0


def _read_times(pid: int) -> Reading:
    stat = (procfs if psutil.LINUX else portable).read_stat(pid)
    return {0: round(stat.cpu_seconds * 1e9)}


_READ: Mapping[CpuSource, Callable[[int], Reading]] = {
    CpuSource.CLOCK: _read_clock,
    CpuSource.SCHEDSTAT: _read_schedstat,
    CpuSource.TIMES: _read_times,
}


def read_cpu(source: CpuSource, pid: int) -> Reading:
    """Read the CPU time of the current owner of a pid since its start. Raises what `attempt` handles."""
    return _READ[source](pid)


def compute_used(first: Reading | None, second: Reading) -> float:
    """Compute the seconds of CPU used between two readings, over the threads that are in both.

    Without a first reading, count from the start of the process. Never negative, even if the pid was reused in between.
    """
    if first is None:
        return sum(second.values()) / 1e9
    return max(0, sum(used - first[thread] for thread, used in second.items() if thread in first)) / 1e9
