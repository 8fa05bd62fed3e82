"""Files of /proc, as literals and of real processes."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from datadog_checks.gunicorn.host import processes, procfs
from datadog_checks.gunicorn.host.procfs import (
    parse_cmdline,
    parse_stat,
    read_caught,
    read_children,
    read_clock,
    read_stat,
)
from datadog_checks.gunicorn.host.values import Stat
from tests.gunicorn_server import wait_until

# The fields after the flags.
REST = b"1 0 2 0 9 4 0 0 20 0 3 0 4711 9883648 512 1844"
EXITING = b"1 0 2 0 9 4 0 0 20 0 1 0 4711 0 0 1844"


def stat_of(parent, group, session, forked, **others):
    """Build the values of a line that ends with REST, at 100 ticks per second."""
    values = {"alive": True, "cpu_seconds": 0.13, "threads": 3, "started": 47.11, **others}
    return Stat(parent=parent, group=group, session=session, forked=forked, **values)


@pytest.mark.parametrize(
    ("what", "line", "stat"),
    [
        ("a worker", b"11 (gunicorn: worke) S 10 9 8 0 -1 4194368 " + REST, stat_of(10, 9, 8, True)),
        ("exec'ed", b"10 (python3.13) R 1 10 10 34816 10 4194304 " + REST, stat_of(1, 10, 10, False)),
        ("blanks and brackets in the name", b"7 (a) b (c)) S 1 6 5 0 -1 64 " + REST, stat_of(1, 6, 5, True)),
        ("no flags at all (gVisor)", b"7 (a) S 1 6 5 0 -1 0 " + REST, stat_of(1, 6, 5, None)),
        ("a zombie", b"7 (a) Z 1 6 5 0 -1 4194368 " + REST, stat_of(1, 6, 5, True, alive=False)),
        (
            "exiting, without memory",
            b"7 (a) R 1 6 5 0 -1 4194368 " + EXITING,
            stat_of(1, 6, 5, True, alive=False, threads=1),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_of_stat(what, line, stat):
    assert parse_stat(line, ticks=100) == stat


def test_the_real_stat_of_this_process():
    stat = read_stat(os.getpid())
    assert (stat.parent, stat.group, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))


def test_the_clock_matches_start_times():
    before = read_clock()
    with subprocess.Popen(["sleep", "60"]) as process:
        assert before <= read_stat(process.pid).started <= read_clock()
        process.kill()


def test_children_of_all_threads():
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
        assert sorted(read_children(parent.pid)) == sorted(child.pid for child in children)
        for child in children:
            child.kill()
        parent.kill()


def test_more_children_than_the_kernel_lists_at_once():
    """A page of 4096 bytes holds some 800 pids."""
    code = "import subprocess; [subprocess.Popen(['sleep', '60']) for _ in range(1100)]; print('ready'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        assert len(read_children(parent.pid)) == 1100
        os.killpg(parent.pid, signal.SIGKILL)


def test_children_if_the_kernel_does_not_list_them(monkeypatch):
    monkeypatch.setattr(procfs, "path_of", lambda *_: "/nowhere")
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in processes.read_children(os.getpid())
        process.kill()


@pytest.mark.parametrize(
    ("content", "cmdline"),
    [
        (b"", ()),
        (b"gunicorn\0-w\0002\0", ("gunicorn", "-w", "2")),
        (b"gunicorn: master [web]", ("gunicorn: master [web]",)),
        (b"gunicorn: master [web]\0\0\0", ("gunicorn: master [web]", "", "")),
        (b"cut\0off", ("cut", "off")),
        (b"\xe9\0", ("\udce9",)),
    ],
)
def test_a_command_line(content, cmdline):
    assert parse_cmdline(content) == cmdline


def test_the_signals_that_a_process_catches():
    code = "import signal; signal.signal(signal.SIGUSR1, print); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        caught = read_caught(process.pid)
        assert caught & 1 << (signal.SIGUSR1 - 1)
        assert not caught & 1 << (signal.SIGHUP - 1)
        process.kill()


def test_a_kernel_that_does_not_show_caught_signals(monkeypatch):
    monkeypatch.setattr(procfs, "read_file", lambda *_: b"Name:\tcat\nState:\tS\n")
    assert read_caught(1) is None
    assert procfs.read_ns_pids() == []


def test_the_pids_of_this_process():
    assert procfs.read_ns_pids()[-1] == os.getpid()
