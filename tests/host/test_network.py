"""The network namespace of this process; Linux only."""

import os
import socket
import sys

import pytest

from datadog_checks.gunicorn.host.network import read_namespace, read_own_namespace, read_somaxconn, read_table
from datadog_checks.gunicorn.sockets.addresses import Family
from datadog_checks.gunicorn.sockets.sock_diag import read_listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's procfs")


def test_our_own_namespace():
    assert read_namespace(os.getpid()) == read_own_namespace()


def test_a_missing_process_has_no_namespace():
    with pytest.raises(FileNotFoundError):
        read_namespace(2**31 - 1)


def test_the_rows_of_a_table():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = b":%04X " % listener.getsockname()[1]
        header, *rows = read_table(os.getpid(), "tcp")
        assert b"local_address" in header
        assert sum(port in row for row in rows) == 1


def test_a_missing_table_is_empty():
    assert read_table(os.getpid(), "none") == []


def test_somaxconn_limits_a_backlog():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2**31 - 1)
        inode = os.fstat(listener.fileno()).st_ino
        (found,) = [each for each in read_listening(Family.INET) if each.inode == inode]
    assert read_somaxconn() == found.limit
