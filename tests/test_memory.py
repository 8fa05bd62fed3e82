"""The memory that the Agent keeps for processes that are not Gunicorn."""

import contextlib
import subprocess
import sys

import psutil
import pytest

from .gunicorn_server import unique

# Runs the check once for each input line, and prints its resident bytes and the warnings of the run.
SCRIPT = """
import sys
import psutil
from tests.assertions import make_check

check = make_check(sys.argv[1])
for _ in sys.stdin:
    check.run()
    print(psutil.Process().memory_info().rss, *check.get_warnings(), flush=True)
"""
MEGABYTE = ["x" * 100_000] * 10


@contextlib.contextmanager
def strangers(number, script, name):
    """Start sleeping processes with a megabyte of arguments each; half of them have Gunicorn's arguments."""
    commands = [("sh", "-c", "read line", "gunicorn"), ("python3", script, "-n", name)]
    with contextlib.ExitStack() as stack:
        for index in range(number):
            command = [*commands[index % 2], *MEGABYTE]
            process = stack.enter_context(subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE))
            stack.callback(process.kill)
        yield


@pytest.mark.skipif(not psutil.LINUX, reason="reads long arguments only in part on Linux")
def test_the_arguments_of_two_hundred_strangers_are_not_kept(tmp_path):
    name = unique("stranger")
    script = tmp_path / "gunicorn"
    script.write_text("read line\n")
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, f"{name}0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as agent:

        def run():
            agent.stdin.write("run\n")
            resident, _, warnings = agent.stdout.readline().partition(" ")
            return int(resident), warnings

        with strangers(2, script, name):
            run()
        before, _ = run()
        for _ in range(10):
            with strangers(20, script, name):
                _, warnings = run()
                assert name in warnings
        after, _ = run()
        agent.stdin.close()
    assert after - before < 5 * 2**20
