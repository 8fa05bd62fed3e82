"""The sources of CPU times, compared with each other and with the known usage of a process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from datadog_checks.gunicorn.host import cpu, procfs
from datadog_checks.gunicorn.host.cpu import CpuSource, choose_source, compute_used, parse_schedstat, read_cpu
from datadog_checks.gunicorn.host.processes import Absence, attempt
from tests.gunicorn_server import wait_until

linux = pytest.mark.skipif(not psutil.LINUX, reason="reads Linux's clocks")


@pytest.mark.parametrize(
    ("what", "first", "second", "used"),
    [
        ("a whole process", {0: 1_000_000}, {0: 1_500_000}, 0.0005),
        ("threads", {1: 5, 2: 10}, {1: 5, 2: 2_000_010}, 0.002),
        ("a thread that ended in between", {1: 5, 2: 10}, {1: 1_000_005}, 0.001),
        ("a thread that was born in between", {1: 5}, {1: 1_000_005, 2: 9_000_000}, 0.001),
        ("a clock that went back", {0: 10}, {0: 5}, 0),
        ("a process born after the first look", None, {0: 3_000_000}, 0.003),
        ("a process whose CPU was unknown before", {}, {0: 3_000_000}, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_cpu_used_between_two_looks(what, first, second, used):
    assert compute_used(first, second) == pytest.approx(used)


@pytest.mark.parametrize(("line", "ns"), [(b"1234567 890 12\n", 1234567), (b"0 0 0\n", 0), (b"", 0)])
def test_the_cpu_of_a_thread_in_schedstat(line, ns):
    assert parse_schedstat(line) == ns


@contextlib.contextmanager
def burned(seconds):
    """A stopped process that has used a known amount of CPU, with a thread that has ended."""
    code = (
        "import threading, time\n"
        "def burn(seconds):\n"
        "    end = time.thread_time() + seconds\n"
        "    while time.thread_time() < end: pass\n"
        f"thread = threading.Thread(target=burn, args=[{seconds / 2}]); thread.start(); thread.join()\n"
        f"burn({seconds / 2}); print(time.process_time(), flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        reported = float(process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        yield process.pid, reported
        process.kill()


@linux
def test_the_clock_includes_threads_that_have_ended():
    with burned(0.2) as (pid, reported):
        (used,) = read_cpu(CpuSource.CLOCK, pid).values()
        assert used / 1e9 == pytest.approx(reported, abs=0.02)


@linux
def test_the_schedulers_figures_cover_live_threads():
    with burned(0.2) as (pid, reported):
        (used,) = read_cpu(CpuSource.SCHEDSTAT, pid).values()
        assert 0.1 < used / 1e9 < reported


@linux
def test_the_schedulers_figures_are_those_of_each_thread():
    used, end = [], threading.Event()

    def burn():
        while time.thread_time() < 0.05:
            pass
        used.append(time.thread_time())
        end.wait(20)

    threads = [threading.Thread(target=burn) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(used) == len(threads), "both threads to have burned")
    reading = read_cpu(CpuSource.SCHEDSTAT, os.getpid())
    end.set()
    assert threading.main_thread().native_id in reading
    assert [reading[thread.native_id] / 1e9 for thread in threads] == pytest.approx(used, abs=0.02)


def test_cpu_times_include_threads_that_have_ended():
    with burned(0.2) as (pid, reported):
        (used,) = read_cpu(CpuSource.TIMES, pid).values()
        assert used / 1e9 == pytest.approx(reported, abs=0.04)


@pytest.mark.parametrize("source", CpuSource, ids=lambda source: source.name)
def test_a_process_that_has_exited_is_gone(source):
    assert attempt(read_cpu, source, 2**22 + 1) is Absence.GONE


@linux
class TestChoice:
    def test_this_machine_has_cpu_clocks(self):
        assert choose_source() is CpuSource.CLOCK

    def test_a_thread_reads_what_another_thread_uses(self):
        readings = []
        thread = threading.Thread(target=lambda: readings.append(read_cpu(CpuSource.CLOCK, os.getpid())))
        thread.start()
        thread.join()
        assert 0 < readings[0][0] / 1e9 <= time.process_time()

    @pytest.mark.parametrize(
        ("pids", "path", "source"),
        [
            ([os.getpid()], "/host/proc", CpuSource.CLOCK),
            ([], "/proc", CpuSource.CLOCK),
            ([], "/host/proc", CpuSource.SCHEDSTAT),
            ([4711], "/proc", CpuSource.SCHEDSTAT),
            ([4711, 1], "/host/proc", CpuSource.SCHEDSTAT),
        ],
        ids=["own procfs elsewhere", "an old kernel", "an old kernel, elsewhere", "another pid", "two namespaces"],
    )
    def test_other_kernels_and_procfs_mounts(self, pids, path, source, monkeypatch):
        monkeypatch.setattr(procfs, "read_ns_pids", lambda: pids)
        monkeypatch.setattr(psutil, "PROCFS_PATH", path)
        monkeypatch.setattr(cpu, "_read_schedstat", lambda _: {1: 5})
        assert choose_source() is source

    def test_the_fallbacks_of_a_kernel_without_cpu_clocks(self, monkeypatch):
        def fail(*_):
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(time, "clock_gettime_ns", fail)
        assert choose_source() is CpuSource.SCHEDSTAT
        monkeypatch.setattr(cpu, "_read_schedstat", lambda _: {1: 0})
        assert choose_source() is CpuSource.TIMES

    def test_other_systems_have_only_cpu_times(self, monkeypatch):
        monkeypatch.setattr(psutil, "LINUX", False)
        assert choose_source() is CpuSource.TIMES
