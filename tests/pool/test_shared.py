import threading

import pytest

from datadog_checks.gunicorn.pool.shared import Host
from datadog_checks.gunicorn.servers.applications import Identity, Scan
from tests.servers.test_applications import NEW, WEB, titled


class Scans:
    """A process table that counts its readers."""

    def __init__(self, *rows):
        self.rows = rows
        self.count = 0

    def __call__(self):
        self.count += 1
        return Scan(tuple(self.rows))


def now(host):
    """A moment that every scan until now is older than."""
    return host._scanned


def test_one_scan_serves_all_who_may_take_it():
    scans = Scans(WEB, titled(101, "api"))
    host = Host(scans)
    assert host.masters_of("web", newer_than=0) == [WEB]
    assert host.masters_of("api", newer_than=0) == [titled(101, "api")]
    assert host.masters_of("none", newer_than=0) == []
    assert scans.count == 1
    host.masters_of("web", newer_than=now(host))
    assert scans.count == 2


def test_what_was_met_outside_of_a_scan_is_known_to_all():
    host = Host(Scans(WEB))
    host.masters_of("web", newer_than=0)
    assert host.learn(NEW, WEB.identity) == "web"
    assert host.masters_of("web", newer_than=0) == [WEB, NEW]
    assert host.masters_of("web.2", newer_than=0) == []


def test_a_scan_that_fails_is_made_again():
    scans = Scans(WEB)
    host = Host(scans)
    scans.rows = None
    with pytest.raises(TypeError):
        host.masters_of("web", newer_than=0)
    scans.rows = (WEB,)
    assert host.masters_of("web", newer_than=0) == [WEB]


def test_threads_that_want_a_scan_at_once_share_it():
    entered, go = threading.Event(), threading.Event()

    class Slow(Scans):
        def __call__(self):
            entered.set()
            go.wait(10)
            return super().__call__()

    scans = Slow(WEB)
    host = Host(scans)
    found = []
    threads = [threading.Thread(target=lambda: found.append(host.masters_of("web", newer_than=0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert found == [[WEB]] * 8
    assert scans.count == 1


def test_what_has_gone_is_forgotten():
    scans = Scans(WEB, NEW)
    host = Host(scans)
    host.masters_of("web", newer_than=0)
    scans.rows = (titled(300, "web"),)
    assert [was.identity for was in host.masters_of("web", newer_than=now(host))] == [Identity(300, 300.0)]
    assert len(host._assigned) == 1
