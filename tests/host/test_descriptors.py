"""Descriptors of this process; Linux only."""

import os
import re
import socket
import sys

import pytest

from datadog_checks.gunicorn.host.descriptors import (
    OpenFile,
    parse_inheritable,
    read_files,
    read_inheritable,
    read_socket,
    read_sockets,
    read_status,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's procfs")


@pytest.mark.parametrize(
    ("text", "inheritable"),
    [
        (b"pos:\t0\nflags:\t02\nmnt_id:\t9\nino:\t1\n", True),
        (b"pos:\t0\nflags:\t02000002\nmnt_id:\t9\nino:\t1\n", False),
        (b"pos:\t0\nflags:\t02004002\n", False),
        (b"pos:\t0\nflags:\t04002\n", True),
        (b"", None),
        (b"flags:\n", None),
    ],
)
def test_parse_inheritable(text, inheritable):
    assert parse_inheritable(text) is inheritable


@pytest.mark.parametrize("inheritable", [True, False])
def test_a_descriptor_is_inheritable(inheritable):
    with socket.socket() as ours:
        ours.set_inheritable(inheritable)
        assert read_inheritable(os.getpid(), ours.fileno()) is inheritable


def test_sockets_by_descriptor():
    with socket.socket() as ours, open(os.devnull) as other:
        inode = os.fstat(ours.fileno()).st_ino
        found = read_sockets(os.getpid())
        assert (found[ours.fileno()], read_socket(os.getpid(), ours.fileno())) == (inode, inode)
        assert other.fileno() not in found
        assert read_socket(os.getpid(), other.fileno()) is None


def test_files_by_name(tmp_path):
    with open(tmp_path / "wanted", "w") as wanted, open(tmp_path / "other", "w"):
        status = os.fstat(wanted.fileno())
        found = read_files(os.getpid(), re.compile(f"^{re.escape(str(tmp_path))}/w"))
        assert found == [OpenFile(wanted.fileno(), status.st_dev, status.st_ino)]
        assert read_status(os.getpid(), wanted.fileno()) == status


def test_descriptors_that_are_closed_meanwhile_are_skipped(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda _, listdir=os.listdir: [*listdir("/proc/self/fd"), "999999"])
    with socket.socket() as ours:
        assert ours.fileno() in read_sockets(os.getpid())
        assert read_files(os.getpid(), re.compile("999999")) == []


def test_the_descriptors_of_a_missing_process():
    for read in (read_sockets, lambda pid: read_files(pid, re.compile(""))):
        with pytest.raises(FileNotFoundError):
            read(2**31 - 1)
