"""The row of each worker, compared with the kernel and with the client's own connections."""

from pathlib import Path

import psutil
import pytest

from datadog_checks.gunicorn.pool.worker_rows import list_workers
from tests.assertions import is_idle, make_check, run, run_until
from tests.gunicorn_server import as_nobody, root, run_gunicorn

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads descriptors in Linux's procfs")


def workers_of(check):
    (server,) = check.fleet.alive.values()
    return list(list_workers(server))


def read_schedule(pid):
    """Return for how many seconds the kernel let a process run, and for how many it had to wait for a core."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def test_a_busy_pool():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        run_until(check, is_idle)
        with server.requests(1, "/sleep?9"), server.burning(1):
            run_until(check, lambda found: found.workers["state:working"] == 1)
            (working,) = [row.pid for row in workers_of(check) if row.working]
            ran, waited = read_schedule(working)
            run(check)
            rows = workers_of(check)
            ran, waited = (now - then for now, then in zip(read_schedule(working), (ran, waited), strict=True))
        processes = {pid: psutil.Process(pid) for pid in server.workers()}
        assert [row.pid for row in rows] == sorted(processes, key=lambda pid: processes[pid].create_time())
        assert sorted(row.accepted for row in rows) == [0, 1, 1]
        (burning,) = [row for row in rows if row.pid == working]
        assert burning.accepted == 1
        # It never sleeps: in the 0.1 seconds between the looks it ran, or waited for a core. The record lags by a tick.
        assert max(0, 100 - 1000 * waited - 10) < burning.cpu < 1000 * ran + 10
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
def test_what_another_user_may_not_read_is_unknown():
    def look(name):
        check = make_check(name)
        run(check)
        return workers_of(check)

    with run_gunicorn() as server:
        rows = as_nobody(lambda: look(server.name))
        assert [row.pid for row in rows] == server.workers()
        assert {(row.accepted, row.heartbeat) for row in rows} == {(None, None)}


def test_there_are_no_rows_before_the_first_run():
    with run_gunicorn() as server:
        check = make_check(server.name)
        check.fleet.find()
        assert workers_of(check) == []
