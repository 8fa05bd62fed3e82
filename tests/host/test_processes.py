"""Reading real processes, and simulated failures."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from datadog_checks.gunicorn.host import portable, processes, procfs
from datadog_checks.gunicorn.host.processes import (
    Absence,
    ProcessTableError,
    attempt,
    hides_others,
    is_alive,
    list_processes,
    read_beginning,
    read_caught,
    read_children,
    read_folder,
    read_last_pid,
    read_process,
    read_rss,
    read_started,
    read_stat,
)
from datadog_checks.gunicorn.host.values import Identity
from tests.gunicorn_server import cpu_seconds, wait_until

pytestmark = pytest.mark.every_gunicorn

SELF = os.getpid()
# Above every pid_max.
UNUSED_PID = 2**22 + 1


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        # During an exec, a process has no command line.
        wait_until(psutil.Process(process.pid).cmdline, "the sleeper's command line")
        yield process
        process.kill()


@pytest.fixture
def stopped(sleeper):
    """Stop the process, because its usage would grow while its interpreter starts."""
    sleeper.send_signal(signal.SIGSTOP)
    process = psutil.Process(sleeper.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the sleeper to stop")
    return process


def test_a_live_process(sleeper):
    process = read_process(sleeper.pid)
    assert process.identity == Identity(sleeper.pid, read_stat(sleeper.pid).started)
    assert list(process.cmdline) == psutil.Process(sleeper.pid).cmdline()
    assert process.stat.parent == SELF
    assert process.stat.forked is False
    assert isinstance(process.caught, int)


def test_single_values_of_a_live_process(sleeper):
    process = read_process(sleeper.pid)
    assert read_started(sleeper.pid) == process.identity.create_time
    assert read_beginning(sleeper.pid, 4) == (sys.executable[:4],)
    assert read_folder(sleeper.pid) == os.getcwd()
    assert read_caught(sleeper.pid) == process.caught


def test_the_resources_of_a_live_process(stopped):
    stat = read_stat(stopped.pid)
    assert stat.cpu_seconds == pytest.approx(cpu_seconds(stopped.pid))
    assert stat.threads == stopped.num_threads()
    assert read_rss(stopped.pid) == stopped.memory_info().rss


@pytest.mark.skipif(not psutil.LINUX, reason="compares Linux's own files with psutil")
def test_psutil_agrees_with_procfs(stopped, monkeypatch):
    on_linux = read_process(stopped.pid)
    monkeypatch.setattr(psutil, "LINUX", False)
    elsewhere = read_process(stopped.pid)
    assert elsewhere.cmdline == on_linux.cmdline
    assert elsewhere.caught is None
    assert elsewhere.stat == on_linux.stat._replace(forked=None, started=elsewhere.identity.create_time)
    assert read_rss(stopped.pid) == stopped.memory_info().rss
    assert sorted(read_children(SELF)) == sorted(child.pid for child in psutil.Process().children())
    assert stopped.pid in list_processes()
    assert read_beginning(stopped.pid, 4) == on_linux.cmdline
    assert (read_started(stopped.pid), read_caught(stopped.pid), read_last_pid()) == (None, None, None)


@pytest.mark.skipif(not psutil.LINUX, reason="other systems hide no processes")
def test_hidden_processes_of_other_users():
    assert hides_others({SELF})
    assert not hides_others({1, SELF})


def test_a_process_is_recognized_again(sleeper):
    identity = read_process(sleeper.pid).identity
    assert is_alive(identity)
    assert not is_alive(identity._replace(create_time=identity.create_time + 1))
    sleeper.kill()
    sleeper.wait()
    assert not is_alive(identity)


def test_setting_the_clock_does_not_change_identities(sleeper, monkeypatch):
    before = read_process(sleeper.pid).identity
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    assert psutil.Process(sleeper.pid).create_time() > time.time()
    assert read_process(sleeper.pid).identity == before


def test_an_exited_process_is_gone(sleeper):
    sleeper.kill()
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert attempt(read_process, sleeper.pid) is Absence.GONE
    assert attempt(read_stat, sleeper.pid) is Absence.GONE
    sleeper.wait()
    for pid in (sleeper.pid, UNUSED_PID):
        assert attempt(read_process, pid) is Absence.GONE
        assert attempt(read_stat, pid) is Absence.GONE
        assert attempt(read_children, pid) is Absence.GONE


def test_an_exec_between_two_reads_gives_the_new_program(sleeper, monkeypatch):
    """The command line and the signal handlers are read between two reads of `stat`."""
    stat = read_stat(sleeper.pid)
    looks = iter([stat, stat._replace(forked=True)])
    monkeypatch.setattr(processes, "read_stat", lambda _: next(looks))
    assert read_process(sleeper.pid).stat.forked is True


def test_a_process_whose_pid_is_reused_between_two_reads_is_gone(sleeper, monkeypatch):
    stat = read_stat(sleeper.pid)
    looks = iter([stat, stat._replace(started=stat.started + 1)])
    monkeypatch.setattr(processes, "read_stat", lambda _: next(looks))
    assert attempt(read_process, sleeper.pid) is Absence.GONE


# Test ids must not contain a pid, because pytest-xdist compares them between its processes.
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
    (ValueError("not as Linux writes it"), Absence.UNREADABLE),
    (IndexError("cut short"), Absence.UNREADABLE),
]


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
@pytest.mark.parametrize("read", ["read_stat", "read_cmdline", "read_caught"])
def test_every_failure_of_a_look_has_one_meaning(fault, meaning, read, monkeypatch):
    def fail(*_):
        raise fault

    monkeypatch.setattr(procfs, read, fail)
    assert attempt(read_process, SELF) is meaning


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
def test_every_failure_to_list_children_has_one_meaning(fault, meaning, monkeypatch):
    def fail(_):
        raise fault

    monkeypatch.setattr(procfs, "read_children", fail)
    monkeypatch.setattr(portable, "read_children", fail)
    assert attempt(read_children, SELF) is meaning


def test_an_exiting_process_counts_as_gone(monkeypatch):
    monkeypatch.setattr(procfs, "read_cmdline", lambda _: ())
    assert attempt(read_process, SELF) is Absence.GONE


def test_the_processes_of_the_host(sleeper, tmp_path, monkeypatch):
    listed = list_processes()
    assert {SELF, sleeper.pid} <= listed.keys()
    assert listed[sleeper.pid] == os.stat(f"/proc/{sleeper.pid}").st_ino == list_processes()[sleeper.pid]
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ProcessTableError, match="procfs_path"):
        list_processes()
