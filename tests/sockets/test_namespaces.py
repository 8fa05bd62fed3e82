"""Which sources sockets are read from, and how often; this process acts as the master."""

import os
import socket
import sys
from unittest.mock import Mock

import pytest

from datadog_checks.gunicorn.host.procfs import read_stat
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.sockets import namespaces
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.namespaces import Namespace, Tables, read_namespaces
from datadog_checks.gunicorn.sockets.netlink import NetlinkError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's socket tables")

MASTER = Identity(os.getpid(), read_stat(os.getpid()).started)
STALE = Identity(os.getpid(), 1.0)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def address(listener):
    return parse_bind("{}:{}".format(*listener.getsockname()))


@pytest.fixture
def read_table(monkeypatch):
    """Count the reads of tables in procfs."""
    read = Mock(side_effect=namespaces.read_table)
    monkeypatch.setattr(namespaces, "read_table", read)
    return read


def test_our_own_namespace_is_read_through_sock_diag(listener, address, read_table):
    (namespace,) = read_namespaces([MASTER], Tables())
    assert [found.address for found in namespace.read_at([address])] == [address]
    assert namespace.listening[os.fstat(listener.fileno()).st_ino].address == address
    read_table.assert_not_called()


@pytest.mark.parametrize("own", [False, True], ids=["another", "own, if sock_diag fails"])
def test_tables_are_read_once(own, listener, address, read_table, monkeypatch):
    asked = Mock(side_effect=NetlinkError)
    monkeypatch.setattr(namespaces, "read_at", asked)
    monkeypatch.setattr(namespaces, "read_listening", asked)
    namespace = Namespace(0, [MASTER, MASTER], Tables(), own=own)
    for _ in range(2):
        assert address in [found.address for found in namespace.read_at([address])]
    assert read_table.call_count == 1
    for _ in range(2):
        assert namespace.listening[os.fstat(listener.fileno()).st_ino].address == address
    assert read_table.call_count == 3
    assert asked.call_count == own


def test_a_reused_pid_is_not_read(address):
    assert Namespace(0, [STALE], Tables(), own=False).read_at([address]) == []
    assert address in [found.address for found in Namespace(0, [STALE, MASTER], Tables(), own=False).read_at([address])]


def test_expected_addresses_are_read_at_once(listener, address, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as second, socket.create_server(("127.0.0.1", 0)) as unexpected:
        others = [parse_bind("{}:{}".format(*each.getsockname())) for each in (second, unexpected)]
        expected = Tables(frozenset([address, others[0], parse_bind("unix:/run/nowhere.sock")]))
        monkeypatch.setattr(namespaces, "read_at", read := Mock(side_effect=namespaces.read_at))
        for each in (address, others[0], address):
            (namespace,) = read_namespaces([MASTER], expected)
            assert [found.address for found in namespace.read_at([each])] == [each]
        assert read.call_count == 1
        assert [found.address for found in namespace.read_at([others[1]])] == [others[1]]
        assert read.call_count == 2


def test_expected_addresses_are_read_from_procfs_if_sock_diag_fails(listener, address, read_table, monkeypatch):
    monkeypatch.setattr(namespaces, "read_at", Mock(side_effect=NetlinkError))
    assert address in [
        found.address for found in Namespace(0, [MASTER], Tables(frozenset([address])), own=True).read_at([address])
    ]
    assert read_table.call_count == 1


def test_masters_are_grouped_by_namespace():
    (namespace,) = read_namespaces([MASTER, STALE], Tables())
    assert namespace.masters == [MASTER, STALE]


def test_a_vanished_master_is_in_no_namespace():
    assert read_namespaces([Identity(2**31 - 1, 1.0)], Tables()) == []


def test_nothing_is_read_for_no_address(read_table):
    assert Namespace(0, [MASTER], Tables(), own=False).read_at([]) == []
    read_table.assert_not_called()


def test_servers_of_one_run_share_the_tables(address, read_table):
    tables = Tables()
    for number in (7, 7, 8):
        Namespace(number, [MASTER], tables, own=False).read_at([address])
    assert read_table.call_count == 2
