"""Looks at real processes, and at ones that fail in ways nobody can provoke."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from datadog_checks.gunicorn import processes
from datadog_checks.gunicorn.processes import (
    Absence,
    Processes,
    Sighting,
    Stat,
    parse_stat,
    read_candidate,
    read_children,
    read_stat,
    scan_host,
)
from datadog_checks.gunicorn.servers import Identity
from datadog_checks.gunicorn.titles import Role, Title

from .gunicorn_server import cpu_seconds, run_gunicorn, wait_until

SELF = os.getpid()
# Above every pid_max.
NOBODY = 2**22 + 1


@pytest.mark.parametrize(
    ("what", "line", "stat"),
    [
        ("a worker", b"11 (gunicorn: worke) S 10 9 8 0 -1 4194368 1 2", Stat(10, 9, 8, forked=True)),
        ("exec'ed", b"10 (python3.13) R 1 10 10 34816 10 4194304 1", Stat(1, 10, 10, forked=False)),
        ("blanks and brackets in the name", b"7 (a) b (c)) S 1 6 5 0 -1 64 0", Stat(1, 6, 5, forked=True)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_of_the_process_table(what, line, stat):
    assert parse_stat(line) == stat


def test_the_real_line_of_this_process():
    stat = read_stat(SELF)
    assert (stat.parent, stat.group, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        # A process has no words while it is exec'ed.
        wait_until(psutil.Process(process.pid).cmdline, "the sleeper's words")
        yield process
        process.kill()


def test_a_look_at_a_live_process(sleeper):
    seen = Processes().look_at(sleeper.pid)
    identity = Identity(sleeper.pid, psutil.Process(sleeper.pid).create_time())
    assert seen == Sighting(identity, None, None, False, seen.cpu_seconds)
    assert 0 <= seen.cpu_seconds <= cpu_seconds(sleeper.pid)


def test_a_process_that_has_gone(sleeper):
    table = Processes()
    table.look_at(sleeper.pid)
    sleeper.kill()
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert table.look_at(sleeper.pid) is Absence.GONE
    sleeper.wait()
    assert table.look_at(sleeper.pid) is Absence.GONE
    assert table.look_at(NOBODY) is Absence.GONE
    assert table.children_of(Identity(NOBODY, 1.0)) is Absence.GONE
    assert read_candidate(NOBODY) is Absence.GONE


FAULTS = [
    (psutil.NoSuchProcess(SELF), Absence.GONE),
    (psutil.ZombieProcess(SELF), Absence.GONE),
    (ProcessLookupError(3, "No such process"), Absence.GONE),
    (FileNotFoundError(2, "No such file or directory"), Absence.GONE),
    (psutil.AccessDenied(SELF), Absence.UNREADABLE),
    (PermissionError(13, "Permission denied"), Absence.UNREADABLE),
    (OSError(24, "Too many open files"), Absence.UNREADABLE),
    (OSError(5, "Input/output error"), Absence.UNREADABLE),
]


@pytest.mark.parametrize(("fault", "meaning"), FAULTS, ids=str)
@pytest.mark.parametrize("method", ["cpu_times", "cmdline", "is_running"])
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
def test_every_failure_to_list_children_has_one_meaning(fault, meaning, monkeypatch):
    def fail(_):
        raise fault

    monkeypatch.setattr(processes, "read_children", fail)
    assert Processes().children_of(Identity(SELF, psutil.Process().create_time())) is meaning


def test_another_process_with_the_pid_of_one_that_was_kept(sleeper, monkeypatch):
    table = Processes()
    before = table.look_at(sleeper.pid)
    successor = psutil.Process(sleeper.pid)
    monkeypatch.setattr(successor, "_create_time", before.identity.create_time + 1)
    monkeypatch.setattr(psutil.Process, "is_running", lambda process: process is successor)
    monkeypatch.setattr(psutil, "Process", lambda pid: successor)
    after = table.look_at(sleeper.pid)
    assert after.identity == Identity(sleeper.pid, before.identity.create_time + 1)
    assert table.children_of(before.identity) is Absence.GONE


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


def test_children_are_those_of_all_threads():
    code = (
        "import subprocess, sys, threading\n"
        "start = lambda: subprocess.Popen(['sleep', '60'])\n"
        "start(); hold = threading.Event()\n"
        "threading.Thread(target=lambda: (start(), hold.wait()), daemon=True).start(); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
        process = psutil.Process(parent.pid)
        wait_until(lambda: len(process.children()) == 2, "two children")
        children = process.children()
        assert sorted(read_children(process)) == sorted(child.pid for child in children)
        for child in children:
            child.kill()
        parent.kill()


def test_more_children_than_the_kernel_lists_at_once():
    """A page of 4096 bytes holds some 800 pids; a server of that many workers has more."""
    code = "import subprocess; [subprocess.Popen(['sleep', '60']) for _ in range(1100)]; print('ready'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        assert len(read_children(psutil.Process(parent.pid))) == 1100
        os.killpg(parent.pid, signal.SIGKILL)


def test_children_where_the_kernel_does_not_list_them(monkeypatch, sleeper):
    monkeypatch.setattr(processes, "_path", lambda *_: "/nowhere")
    assert sleeper.pid in read_children(psutil.Process())


@pytest.mark.skipif(not psutil.LINUX, reason="compares Linux's own files with psutil")
def test_elsewhere_than_on_linux_psutil_and_the_standard_library_tell_the_same(monkeypatch):
    with run_gunicorn() as server:
        on_linux = [found for found in scan_host().candidates if found.name == server.name]
        monkeypatch.setattr(psutil, "LINUX", False)
        elsewhere = [found for found in scan_host().candidates if found.name == server.name]
    assert elsewhere == [found._replace(forked=None) for found in on_linux]
    assert len(elsewhere) == 1


def test_the_title_of_a_real_master():
    with run_gunicorn() as server:
        title = read_candidate(server.master)
        assert (title.name, title.parent, title.session, title.forked) == (server.name, SELF, server.master, False)
        assert title.reparented  # It is a session of its own.
        assert Processes().look_at(server.master).title == Title(Role.MASTER, server.name)
        assert read_candidate(server.workers()[0]) is None
