"""Files of /proc, as text and of real processes."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.procfs import Stat, parse_stat, read_children, read_clock, read_stat
from tests.gunicorn_server import wait_until

# All that follows the flags, up to the start and beyond.
REST = b"1 0 2 0 9 4 0 0 20 0 1 0 4711 9883648 512 1844"


@pytest.mark.parametrize(
    ("what", "line", "stat"),
    [
        ("a worker", b"11 (gunicorn: worke) S 10 9 8 0 -1 4194368 " + REST, Stat(10, 9, 8, True, 47.11)),
        ("exec'ed", b"10 (python3.13) R 1 10 10 34816 10 4194304 " + REST, Stat(1, 10, 10, False, 47.11)),
        ("blanks and brackets in the name", b"7 (a) b (c)) S 1 6 5 0 -1 64 " + REST, Stat(1, 6, 5, True, 47.11)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_of_the_process_table(what, line, stat):
    assert parse_stat(line, ticks=100) == stat


def test_the_real_line_of_this_process():
    stat = read_stat(os.getpid())
    assert (stat.parent, stat.group, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))


def test_the_clock_is_the_one_that_processes_start_by():
    before = read_clock()
    with subprocess.Popen(["sleep", "60"]) as process:
        assert before <= read_stat(process.pid).started <= read_clock()
        process.kill()


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


def test_children_where_the_kernel_does_not_list_them(monkeypatch):
    monkeypatch.setattr(procfs, "path_of", lambda *_: "/nowhere")
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in read_children(psutil.Process())
        process.kill()
