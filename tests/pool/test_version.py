import os
import signal
import threading
import time
from unittest.mock import Mock

import pytest

from datadog_checks.gunicorn.pool.version import VersionError, parse_version, read_version
from tests.gunicorn_server import GUNICORN, GUNICORN_VERSION, is_alive, wait_until

pytestmark = pytest.mark.every_gunicorn


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("gunicorn (version 27.0.1)\n", "27.0.1"),
        ("gunicorn (version 19.9.0)", "19.9.0"),
        ("__main__.py (version 20.1.0)", "20.1.0"),
        ("a warning\ngunicorn (version 25.0.0rc1)\n", "25.0.0rc1"),
        ("", None),
        ("gunicorn 27.0.1", None),
        ("usage: gunicorn (version )", None),
    ],
)
def test_parse_version(text, version):
    assert parse_version(text) == version


def test_the_real_program_is_read_without_a_thread(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
    assert read_version([GUNICORN]) == GUNICORN_VERSION


@pytest.fixture
def program(tmp_path):
    def write(script):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_old_releases_answer_on_stderr(program):
    assert read_version([program('echo "gunicorn (version 19.4.5)" >&2')]) == "19.4.5"


def test_arguments_are_passed_without_a_shell(program):
    assert read_version([program('test "$1" = "exec;" && echo "($2) (version 1.2.3)"'), "exec;"]) == "1.2.3"


def test_a_program_that_cannot_be_run():
    with pytest.raises(VersionError, match=r"`/nowhere/gunicorn --version` could not be run: .*No such file"):
        read_version(["/nowhere/gunicorn"])


def test_a_program_that_prints_no_version(program):
    with pytest.raises(VersionError, match="printed no version: 'not me'"):
        read_version([program("echo not me; exit 3")])


def test_a_program_that_prints_endlessly(program):
    with pytest.raises(VersionError) as caught:
        read_version([program("yes | head -c 1000000")])
    assert len(str(caught.value)) < 500


def test_a_program_that_hangs_is_killed_with_its_children(program, tmp_path):
    command = [program(f"sleep 300 & echo $! > {tmp_path}/pid; wait")]
    before = time.monotonic()
    with pytest.raises(VersionError, match=r"did not end within 0\.5 seconds"):
        read_version(command, timeout=0.5)
    assert time.monotonic() - before < 5
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(child), "the child's end")


def test_a_program_that_may_not_be_killed_does_not_block_the_check(program, monkeypatch):
    """Like a program that runs as another user."""
    monkeypatch.setattr(os, "killpg", Mock(side_effect=PermissionError))
    before = time.monotonic()
    with pytest.raises(VersionError, match="did not end"):
        read_version([program("exec sleep 5")], timeout=0.2)
    assert time.monotonic() - before < 3


def test_a_child_that_keeps_the_output_open_does_not_matter(program, tmp_path):
    command = [program(f'sleep 300 & echo $! > {tmp_path}/pid; echo "gunicorn (version 1.2.3)"')]
    try:
        assert read_version(command) == "1.2.3"
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
