"""Churn and resources of real servers, compared with the values of the kernel."""

import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.cpu import CpuSource
from datadog_checks.gunicorn.pool import fleet
from tests.assertions import (
    OK,
    assert_not_found,
    assert_total,
    assert_without_workers,
    is_idle,
    make_check,
    run,
    run_until,
)
from tests.gunicorn_server import cpu_seconds, kill_and_wait, newest, run_gunicorn, unique, wait_until

pytestmark = pytest.mark.every_gunicorn

WORKERS_CPU = "gunicorn.cpu.percent{process_role:worker}"
# Start times have a resolution of one tick, 0.01 s.
A_TICK = 0.02
AGE = "gunicorn.worker.age.max"
STARTED, EXITED = "gunicorn.workers.started", "gunicorn.workers.exited"


def churn(found):
    return found.metrics[STARTED], found.metrics[EXITED]


class TestChurn:
    def test_the_first_run_counts_nothing(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert not {STARTED, EXITED} & run(check).metrics.keys()
            assert churn(run(check)) == (0, 0)

    def test_two_workers_are_killed_between_runs(self):
        with run_gunicorn(workers=3) as server:
            check = make_check(server.name)
            run(check)
            for worker in server.workers()[:2]:
                kill_and_wait(worker)
            server.await_workers(3)
            assert churn(run(check)) == (2, 2)
            assert churn(run(check)) == (0, 0)

    def test_a_restart_of_the_master(self):
        name = unique("app")
        check = make_check(name)
        with run_gunicorn("--name", name, name=name, workers=3):
            run(check)
        assert_not_found(run(check), name)
        with run_gunicorn("--name", name, name=name, workers=2):
            assert churn(run(check)) == (2, 3)

    def test_a_server_that_starts_after_the_first_run(self):
        name = unique("app")
        check = make_check(name)
        assert_not_found(run(check), name)
        with run_gunicorn("--name", name, name=name):
            assert churn(run(check)) == (2, 0)

    def test_all_workers_have_exited(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            run(check)
            server.signal(signal.SIGTTOU)
            server.await_workers(1)
            server.signal(signal.SIGSTOP)
            kill_and_wait(server.workers()[0])
            # The last worker stays a zombie while its master is stopped.
            found = run(check)
            assert_without_workers(found, server.name)
            assert churn(found) == (0, 2)

    @newest
    def test_workers_that_exit_half_a_second_after_boot(self):
        config = "import os, threading\ndef post_worker_init(_):\n    threading.Timer(0.5, os._exit, [1]).start()"
        with run_gunicorn("--preload", workers=4, config=config) as server:
            check = make_check(server.name)
            run(check)
            ages = []
            for _ in range(4):
                time.sleep(0.9)
                found = run(check)
                assert found.status == OK
                assert min(churn(found)) >= 1
                # All of them may be dead at the moment of a look.
                ages += [found.metrics[AGE]] if AGE in found.metrics else []
            assert 0 <= max(ages) < 2


@pytest.mark.parametrize("known", [True, False], ids=["a known worker", "one that was never read"])
@pytest.mark.parametrize("unread", ["a worker", "the children of the master"])
def test_a_worker_that_a_look_missed_has_neither_exited_nor_started(monkeypatch, unread, known):
    with run_gunicorn() as server:
        check = make_check(server.name)
        if known:
            run_until(check, is_idle)
        missed = server.workers()[0]
        with monkeypatch.context() as patch:
            if unread == "a worker":
                fail_for(patch, missed)
            else:
                fail_for_children(patch)
            found = run(check)
            assert found.total == (1 if unread == "a worker" else 0)
            assert not known or churn(found) == (0, 0)
            assert not [name for name in found.metrics if re.search("memory|threads|cpu|age", name)]
        found = run(check)
        assert churn(found) == (0, 0)
        # The CPU time of two intervals does not count for one.
        assert WORKERS_CPU not in found.metrics
        assert run_until(check, lambda found: WORKERS_CPU in found.metrics)


def test_a_worker_that_two_looks_missed():
    with run_gunicorn() as server:
        check = make_check(server.name)
        run_until(check, is_idle)
        with pytest.MonkeyPatch.context() as patch:
            fail_for(patch, server.workers()[0])
            for _ in range(3):
                assert churn(run(check)) == (0, 0)
        assert churn(run(check)) == (0, 0)


def test_a_worker_younger_than_an_incomplete_look_has_started():
    with run_gunicorn() as server:
        check = make_check(server.name)
        run_until(check, is_idle)
        with pytest.MonkeyPatch.context() as patch:
            fail_for_children(patch)
            run(check)
        time.sleep(A_TICK)
        server.signal(signal.SIGTTIN)
        server.await_workers(3)
        assert churn(run(check)) == (1, 0)


@pytest.mark.parametrize("known", [True, False], ids=["after a look that missed some", "at the very first run"])
def test_workers_that_survive_a_run_without_a_master_have_not_started(known):
    with run_gunicorn() as server:
        check = make_check(server.name)
        with pytest.MonkeyPatch.context() as patch:
            if known:
                fail_for_children(patch)
                run(check)
            patch.setattr(fleet.Fleet, "alive", {})
            assert_not_found(run(check), server.name)
        found = run(check)
        assert churn(found) == (0, 0)
        # Their earlier CPU time does not belong to this interval.
        assert WORKERS_CPU not in found.metrics
        assert run_until(check, lambda found: WORKERS_CPU in found.metrics)


def test_missed_workers_are_remembered_in_runs_without_a_master():
    with run_gunicorn() as server:
        check = make_check(server.name)
        run_until(check, is_idle)
        with pytest.MonkeyPatch.context() as patch:
            fail_for(patch, server.workers()[0])
            run(check)
            patch.setattr(fleet.Fleet, "alive", {})
            assert_not_found(run(check), server.name)
        time.sleep(A_TICK)
        kill_and_wait(server.workers()[0])
        server.await_workers(2)
        assert churn(run(check)) == (1, 1)


def fail_for(patch, unreadable):
    original = procfs.read_stat

    def look(pid):
        if pid == unreadable:
            raise PermissionError
        return original(pid)

    patch.setattr(procfs, "read_stat", look)


def fail_for_children(patch):
    def fail(_):
        raise PermissionError

    patch.setattr("datadog_checks.gunicorn.host.procfs.read_children", fail)


def run_and_bound_cpu(check, pids):
    """Run twice, a second apart, and return the second run, and how much CPU the processes used in between.

    That is a lower and an upper bound, in percent, from the kernel's record before and after each run.
    """

    def record():
        return sum(map(cpu_seconds, pids)), time.monotonic()

    earliest = record()
    run(check)
    (used, began), _ = record(), time.sleep(1)
    (used_later, ended), found = record(), run(check)
    latest = record()
    # The record has steps of 0.01 s for user and system time of each process.
    steps = 0.02 * len(pids)
    least = (used_later - used - steps) / (latest[1] - earliest[1])
    most = (latest[0] - earliest[0] + steps) / (ended - began)
    return found, 100 * least, 100 * most


class TestAgainstTheKernel:
    def test_memory_and_threads(self):
        with run_gunicorn("--threads", "3", "--worker-class", "gthread") as server, server.requests(2, "/sleep?60"):
            check = make_check(server.name)
            run_until(check, is_idle)
            workers = server.workers()
            found = run(check).metrics
            rss = {pid: status(pid, "VmRSS") * 1024 for pid in (server.master, *workers)}
            # The resident size changes when a process touches memory; these processes are idle.
            assert found["gunicorn.memory.rss{process_role:master}"] == pytest.approx(rss[server.master], rel=0.1)
            total = sum(rss[pid] for pid in workers)
            assert found["gunicorn.memory.rss{process_role:worker}"] == pytest.approx(total, rel=0.1)
            largest = max(rss[pid] for pid in workers)
            assert found["gunicorn.memory.rss.max{process_role:worker}"] == pytest.approx(largest, rel=0.1)
            threads = sum(status(pid, "Threads") for pid in workers)
            assert found["gunicorn.threads{process_role:worker}"] == threads > 2
            assert found["gunicorn.threads{process_role:master}"] == status(server.master, "Threads")

    def test_cpu(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            run_until(check, is_idle)
            with server.burning(1):
                found, least, most = run_and_bound_cpu(check, server.workers())
                assert 0 < least <= found.metrics[WORKERS_CPU] <= most
                assert found.metrics["gunicorn.cpu.percent{process_role:master}"] < 10

    @pytest.mark.skipif(not psutil.LINUX, reason="reads the scheduler's figures")
    @pytest.mark.parametrize("source", CpuSource, ids=lambda source: source.name)
    def test_cpu_includes_threads_that_have_ended(self, source, monkeypatch):
        monkeypatch.setattr(fleet, "choose_source", lambda: source)
        config = """
import threading, time
def burn():
    while time.thread_time() < 0.5:
        pass
def pre_request(worker, req):
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
"""
        with run_gunicorn(workers=1, config=config) as server:
            check = make_check(server.name)
            run_until(check, is_idle)
            began = time.monotonic()
            run(check)
            server.get()
            percent = run(check).metrics[WORKERS_CPU]
            assert percent / 100 * (time.monotonic() - began) > 0.4

    def test_ages(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            kill_and_wait(server.workers()[0])
            server.await_workers(2)
            ages = sorted(time.time() - psutil.Process(pid).create_time() for pid in server.workers())
            uptime = time.time() - psutil.Process(server.master).create_time()
            found = run(check).metrics
            # psutil knows the time of the boot only in whole seconds.
            assert found["gunicorn.worker.age.min"] == pytest.approx(ages[0], abs=1.1)
            assert found["gunicorn.worker.age.max"] == pytest.approx(ages[1], abs=1.1)
            assert 0 < found["gunicorn.worker.age.min"] < found["gunicorn.worker.age.max"] < found["gunicorn.uptime"]
            assert found["gunicorn.uptime"] == pytest.approx(uptime, abs=1.1)


def status(pid, name):
    (value,) = re.findall(rf"(?m)^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(value)


def test_replaced_workers_cause_neither_negative_cpu_nor_a_spike():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        run(check)
        with server.burning(2):
            run(check)
            percentages = []
            while len(percentages) < 3:
                kill_and_wait(max(server.workers(), key=cpu_seconds))
                server.await_workers(3)
                # There is no value in the run after one in which a worker had no title yet.
                percentages += [value for name, value in run(check).metrics.items() if name == WORKERS_CPU]
            assert min(percentages) >= 0
            assert max(percentages) < 100 * psutil.cpu_count() + 30


@newest
def test_helpers_and_dirty_workers_have_no_role():
    dirty = ("--dirty-app", "dirty:Idle", "--dirty-workers", "2")
    with run_gunicorn(*dirty, "--config", "python:forking", "--preload", workers=1, app="preloaded:app") as server:
        check = make_check(server.name)
        wait_until(lambda: run(check).dirty_workers == 2, "both dirty workers")
        found = run(check)
        assert_total(found, 1)
        (worker,) = server.workers()
        assert found.metrics["gunicorn.threads{process_role:worker}"] == status(worker, "Threads")
        assert found.metrics["gunicorn.threads{process_role:master}"] == status(server.master, "Threads")
        rss = found.metrics["gunicorn.memory.rss{process_role:master}"]
        assert rss == pytest.approx(status(server.master, "VmRSS") * 1024, rel=0.1)
