"""The row of each worker, compared with the kernel and with the client's own connections."""

import time

import psutil
import pytest

from datadog_checks.gunicorn.pool.workers import list_workers
from tests.assertions import is_idle, make_check, run, run_until
from tests.gunicorn_server import as_nobody, cpu_seconds, root, run_gunicorn

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads descriptors in Linux's procfs")


def workers_of(check):
    (server,) = check.fleet.alive.values()
    return list(list_workers(server))


def test_a_busy_pool():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        run_until(check, is_idle)
        with server.requests(1, "/sleep?9"), server.burning(1):
            run_until(check, lambda found: found.workers["state:working"] == 1)
            (working,) = [row.pid for row in workers_of(check) if row.working]
            before, began = cpu_seconds(working), time.monotonic()
            time.sleep(1)
            run(check)
            rows = workers_of(check)
            used = (cpu_seconds(working) - before) / (time.monotonic() - began)
        processes = {pid: psutil.Process(pid) for pid in server.workers()}
        assert [row.pid for row in rows] == sorted(processes, key=lambda pid: processes[pid].create_time())
        assert sorted(row.accepted for row in rows) == [0, 1, 1]
        (burning,) = [row for row in rows if row.pid == working]
        assert burning.accepted == 1
        assert burning.cpu == pytest.approx(100 * used, rel=0.2)
        assert used > 0.02
        for row in rows:
            assert row.rss == pytest.approx(processes[row.pid].memory_info().rss, rel=0.2)
            assert row.threads == processes[row.pid].num_threads()
            assert 0 <= row.heartbeat < 20
            assert row.age < 60


def test_several_connections_of_one_worker():
    with run_gunicorn("-k", "gthread", "--threads", "4", workers=1) as server:
        check = make_check(server.name)
        with server.requests(3, "/sleep?9"):
            run_until(check, lambda _: workers_of(check)[0].accepted == 3)


@root
def test_what_another_user_may_not_read():
    def look(name):
        check = make_check(name)
        run(check)
        return workers_of(check)

    with run_gunicorn() as server:
        rows = as_nobody(lambda: look(server.name))
        assert [row.pid for row in rows] == server.workers()
        assert {(row.accepted, row.heartbeat) for row in rows} == {(None, None)}


def test_before_the_first_run():
    with run_gunicorn() as server:
        check = make_check(server.name)
        check.fleet.find()
        assert workers_of(check) == []
