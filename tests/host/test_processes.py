"""Looks at real processes, and at ones that fail in ways nobody can provoke."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.processes import (
    Absence,
    Processes,
    Sighting,
    is_still,
    read_candidate,
    scan_host,
)
from datadog_checks.gunicorn.host.procfs import read_stat
from datadog_checks.gunicorn.pool.usage import Usage
from datadog_checks.gunicorn.servers.applications import Identity
from datadog_checks.gunicorn.servers.titles import Role, Title
from tests.gunicorn_server import cpu_seconds, run_gunicorn, wait_until

pytestmark = pytest.mark.every_version

SELF = os.getpid()
# Above every pid_max.
NOBODY = 2**22 + 1


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        # A process has no words while it is exec'ed.
        wait_until(psutil.Process(process.pid).cmdline, "the sleeper's words")
        yield process
        process.kill()


def test_a_look_at_a_live_process(sleeper):
    seen = Processes().look_at(sleeper.pid)
    assert seen == Sighting(Identity(sleeper.pid, read_stat(sleeper.pid).started), None, None, False)


def test_what_a_live_process_uses(sleeper):
    # It would be using more and more while its interpreter starts.
    sleeper.send_signal(signal.SIGSTOP)
    process = psutil.Process(sleeper.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "a process that stands still")
    table = Processes()
    identity = table.look_at(sleeper.pid).identity
    assert table.cpu_seconds(identity) == cpu_seconds(sleeper.pid)
    assert table.measure(identity) == Usage(cpu_seconds(sleeper.pid), process.memory_info().rss, 1)


def test_a_process_is_still_the_one_that_was_meant(sleeper):
    identity = Processes().look_at(sleeper.pid).identity
    assert is_still(identity)
    assert not is_still(identity._replace(create_time=identity.create_time + 1))
    sleeper.kill()
    sleeper.wait()
    assert not is_still(identity)


def test_a_clock_that_is_set_makes_no_other_process_of_one(sleeper, monkeypatch):
    before = Processes().look_at(sleeper.pid).identity
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    assert psutil.Process(sleeper.pid).create_time() > time.time()
    assert Processes().look_at(sleeper.pid).identity == before


def test_a_process_that_has_gone(sleeper):
    table = Processes()
    identity = table.look_at(sleeper.pid).identity
    sleeper.kill()
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert table.look_at(sleeper.pid) is Absence.GONE
    assert table.measure(identity) is Absence.GONE
    sleeper.wait()
    assert table.look_at(sleeper.pid) is Absence.GONE
    assert table.measure(identity) is Absence.GONE
    assert table.look_at(NOBODY) is Absence.GONE
    assert table.children_of(Identity(NOBODY, 1.0)) is Absence.GONE
    assert read_candidate(NOBODY) is Absence.GONE


# The ids of tests must not hold a pid: pytest-xdist compares them between its processes.
PID = 4711
FAULTS = [
    (psutil.NoSuchProcess(PID), Absence.GONE),
    (psutil.ZombieProcess(PID), Absence.GONE),
    (ProcessLookupError(3, "No such process"), Absence.GONE),
    (FileNotFoundError(2, "No such file or directory"), Absence.GONE),
    (psutil.AccessDenied(PID), Absence.UNREADABLE),
    (PermissionError(13, "Permission denied"), Absence.UNREADABLE),
    (OSError(24, "Too many open files"), Absence.UNREADABLE),
    (OSError(5, "Input/output error"), Absence.UNREADABLE),
]


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
@pytest.mark.parametrize("method", ["cmdline", "is_running"])
@pytest.mark.parametrize("kept", [False, True])
def test_every_failure_of_a_look_has_one_meaning(fault, meaning, method, kept, monkeypatch):
    table = Processes()
    if kept:
        table.look_at(SELF)

    def fail(_):
        raise fault

    monkeypatch.setattr(psutil.Process, method, fail)
    assert table.look_at(SELF) is meaning


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
@pytest.mark.parametrize("method", ["cpu_times", "memory_info", "num_threads", "is_running"])
def test_every_failure_to_measure_has_one_meaning(fault, meaning, method, monkeypatch):
    table = Processes()
    identity = table.look_at(SELF).identity

    def fail(_):
        raise fault

    monkeypatch.setattr(psutil.Process, method, fail)
    assert table.measure(identity) is meaning


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
def test_every_failure_to_list_children_has_one_meaning(fault, meaning, monkeypatch):
    def fail(_):
        raise fault

    monkeypatch.setattr(procfs, "read_children", fail)
    assert Processes().children_of(Identity(SELF, 1.0)) is meaning


def test_another_process_with_the_pid_of_one_that_was_kept(sleeper, monkeypatch):
    table = Processes()
    before = table.look_at(sleeper.pid)
    successor = psutil.Process(sleeper.pid)
    stat = read_stat(sleeper.pid)
    monkeypatch.setattr(procfs, "read_stat", lambda _: stat._replace(started=stat.started + 1))
    monkeypatch.setattr(psutil.Process, "is_running", lambda process: process is successor)
    monkeypatch.setattr(psutil, "Process", lambda pid: successor)
    assert table.measure(before.identity) is Absence.GONE
    after = table.look_at(sleeper.pid)
    assert after.identity == Identity(sleeper.pid, before.identity.create_time + 1)
    assert table.measure(before.identity) is Absence.GONE
    assert isinstance(table.measure(after.identity), Usage)


def test_an_exiting_process_has_gone(monkeypatch):
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: [])
    assert Processes().look_at(SELF) is Absence.GONE


def test_what_nobody_looks_at_is_forgotten(sleeper):
    table = Processes()
    table.look_at(SELF)
    table.look_at(sleeper.pid)
    for _ in range(2):
        table.forget_unseen()
        table.look_at(SELF)
    assert set(table._kept) | set(table._kept_before) == {SELF}


@pytest.mark.skipif(not psutil.LINUX, reason="compares Linux's own files with psutil")
def test_elsewhere_than_on_linux_psutil_and_the_standard_library_tell_the_same(monkeypatch):
    with run_gunicorn() as server:
        on_linux = [found for found in scan_host().candidates if found.name == server.name]
        monkeypatch.setattr(psutil, "LINUX", False)
        elsewhere = [found for found in scan_host().candidates if found.name == server.name]
    assert [found._replace(identity=None) for found in elsewhere] == [
        found._replace(identity=None, forked=None) for found in on_linux
    ]
    assert len(elsewhere) == 1


def test_the_title_of_a_real_master():
    with run_gunicorn() as server:
        title = read_candidate(server.master)
        assert (title.name, title.parent, title.session, title.forked) == (server.name, SELF, server.master, False)
        assert title.reparented  # It is a session of its own.
        assert Processes().look_at(server.master).title == Title(Role.MASTER, server.name)
        assert read_candidate(server.workers()[0]) is None
