"""The age of the oldest heartbeat, compared with a record that the workers themselves write."""

import importlib.util
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.procfs import read_stat
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.pool import heartbeats
from datadog_checks.gunicorn.pool.heartbeats import Heartbeats, compute_age, list_known
from tests.assertions import OK, make_check, run, run_until
from tests.gunicorn_server import as_nobody, newest, root, run_gunicorn, wait_until

AGE = "gunicorn.worker.heartbeat.age.max"
UVICORN = "uvicorn_worker" if importlib.util.find_spec("uvicorn_worker") else "uvicorn.workers"
# The record is written after the heartbeat, and the check reads at another moment than the test.
TOLERANCE = 0.3
CONFIG = """
import os, time

record = os.open("{record}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def post_fork(server, worker):
    notify = worker.notify

    def note():
        notify()
        os.write(record, f"{{worker.pid}} {{time.monotonic()}}\\n".encode())

    worker.notify = note
"""


@pytest.fixture
def config(tmp_path):
    return CONFIG.format(record=tmp_path / "record")


@pytest.fixture
def confirm_age(tmp_path):
    """A function that runs a check, asserts that the age matches the record, and returns it."""

    def confirm_age(check, workers):
        began = time.monotonic()
        age = run(check).metrics[AGE]
        ended = time.monotonic()
        records = [(int(pid), float(at)) for pid, at in map(str.split, (tmp_path / "record").open())]

        def silent_at(now):
            last = {pid: at for pid, at in records if at <= now}
            return now - min(last[pid] for pid in workers)

        moments = [began + (ended - began) * step / 20 for step in range(21)]
        silent = [silent_at(moment) for moment in moments]
        assert any(each == pytest.approx(age, abs=TOLERANCE) for each in silent), (age, silent)
        return age

    return confirm_age


@pytest.fixture
def await_heartbeats(tmp_path):
    def wait(server, count):
        record = tmp_path / "record"
        server.await_workers(count)
        wait_until(lambda: {*map(str, server.workers())} <= {*record.read_text().split()}, "all to send a heartbeat")

    return wait


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")


CLASSES = [
    pytest.param(["-k", "sync"], "app:app", id="sync"),
    pytest.param(["-k", "gthread", "--threads", "4"], "app:app", id="gthread"),
    pytest.param(["-k", "gevent"], "app:app", id="gevent", marks=needs("gevent")),
    pytest.param(["-k", "tornado"], "app:app", id="tornado", marks=needs("tornado")),
    pytest.param(["-k", "asgi"], "app:asgi_app", id="asgi", marks=newest),
    pytest.param(["-k", f"{UVICORN}.UvicornWorker"], "app:asgi_app", id="uvicorn", marks=needs("uvicorn")),
]


@pytest.mark.every_gunicorn
class TestOnRealServers:
    @pytest.mark.parametrize(("arguments", "app"), CLASSES)
    def test_every_worker_class(self, arguments, app, config, confirm_age, await_heartbeats):
        """Idle, every class sends a heartbeat within half of its timeout."""
        with run_gunicorn(*arguments, "--timeout", "4", app=app, config=config) as server:
            await_heartbeats(server, 2)
            check = make_check(server.name)
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                assert confirm_age(check, server.workers()) < 2 + TOLERANCE

    def test_a_sync_worker_in_a_request(self, config, confirm_age, await_heartbeats):
        with run_gunicorn("--timeout", "60", workers=1, config=config) as server:
            await_heartbeats(server, 1)
            check = make_check(server.name)
            with server.requests(1, "/sleep?9"):
                began = time.monotonic()
                ages = []
                for _ in range(6):
                    ages.append((time.monotonic() - began, confirm_age(check, server.workers())))
                    time.sleep(0.3)
        assert all(age == pytest.approx(elapsed, abs=TOLERANCE) for elapsed, age in ages[1:])
        assert ages[-1][1] > 1.5

    def test_gthread_sends_heartbeats_during_long_requests(self, config, await_heartbeats):
        with run_gunicorn("-k", "gthread", "--threads", "4", workers=1, config=config) as server:
            await_heartbeats(server, 1)
            check = make_check(server.name)
            with server.requests(4, "/sleep?9"):
                end = time.monotonic() + 3.5
                while time.monotonic() < end:
                    assert run(check).metrics[AGE] < 2.5

    def test_a_stopped_worker(self, config, confirm_age, await_heartbeats):
        with run_gunicorn("-k", "gthread", "--timeout", "60", config=config) as server:
            await_heartbeats(server, 2)
            check = make_check(server.name)
            run(check)
            stopped = server.workers()[0]
            server.signal(signal.SIGSTOP, stopped)
            assert run_until(check, lambda found: found.metrics[AGE] > 2.5).total == 2
            confirm_age(check, [stopped])
            server.signal(signal.SIGCONT, stopped)
            run_until(check, lambda found: found.metrics[AGE] < 2)

    def test_another_folder_and_workers_that_a_hup_replaced(self, config, confirm_age, await_heartbeats, tmp_path):
        with run_gunicorn("--worker-tmp-dir", str(tmp_path), config=config) as server:
            await_heartbeats(server, 2)
            check = make_check(server.name)
            assert AGE in run(check).metrics
            before = server.workers()
            server.signal(signal.SIGHUP)
            wait_until(lambda: len(server.workers()) == 2 and not {*before} & {*server.workers()}, "new workers")
            await_heartbeats(server, 2)
            confirm_age(check, server.workers())

    def test_both_masters_of_an_upgrade(self, config, confirm_age, await_heartbeats):
        with run_gunicorn("--timeout", "60", config=config) as server:
            await_heartbeats(server, 2)
            stopped = server.workers()[0]
            server.signal(signal.SIGUSR2)
            await_heartbeats(server, 4)
            server.signal(signal.SIGSTOP, stopped)
            time.sleep(0.5)
            check = make_check(server.name)
            assert run(check).total == 4
            confirm_age(check, server.workers())

    def test_without_a_title(self, config, confirm_age, await_heartbeats):
        with run_gunicorn(titled=False, config=config) as server:
            await_heartbeats(server, 2)
            check = make_check(server.name)
            run_until(check, lambda found: found.total == 2)
            confirm_age(check, server.workers())

    @root
    def test_as_a_user_who_may_not_read_descriptors(self):
        with run_gunicorn() as server:
            found = as_nobody(lambda: run(make_check(server.name)))
            assert (found.status, found.error, found.total) == (OK, "", 2)
            assert AGE not in found.metrics


@newest
def test_dirty_workers_do_not_count():
    with run_gunicorn("-k", "gthread", "--dirty-app", "dirty:Idle", "--dirty-workers", "1", workers=1) as server:
        check = make_check(server.name)
        run_until(check, lambda found: found.dirty_workers == 1)
        before = {*server.workers()}
        dirty = [
            int(line.split()[0]) for line in os.popen(f"ps -o pid,args -g {server.master}") if "dirty-worker" in line
        ]
        assert dirty
        for pid in {*dirty} - before:
            server.signal(signal.SIGSTOP, pid)
        time.sleep(2.5)
        assert run(check).metrics[AGE] < 2.3
        for pid in dirty:
            server.signal(signal.SIGCONT, pid)


# Long after the start of this process.
NOW = read_stat(os.getpid()).started + 3600


class TestFiles:
    """Heartbeat files of this process, which acts as a worker."""

    @pytest.fixture
    def worker(self):
        return Identity(os.getpid(), read_stat(os.getpid()).started)

    @pytest.fixture
    def heartbeat(self, tmp_path):
        """Open a heartbeat file, and return its descriptor."""
        opened = []

        def open_file():
            path = tmp_path / f"wgunicorn-{len(opened)}"
            opened.append(os.open(path, os.O_RDWR | os.O_CREAT))
            path.unlink()
            return opened[-1]

        yield open_file
        for descriptor in opened:
            os.close(descriptor)

    def test_the_descriptor_is_found_once(self, worker, heartbeat, monkeypatch):
        known = Heartbeats()
        descriptor = heartbeat()
        os.utime(descriptor, (0, time.monotonic() - 5))
        assert known.read_age(worker, NOW) == pytest.approx(5, abs=0.1)
        monkeypatch.setattr(heartbeats, "read_files", lambda *_: pytest.fail("it searched again"))
        assert known.read_age(worker, NOW) == pytest.approx(5, abs=0.1)

    def test_a_new_worker_that_holds_the_files_of_its_siblings(self, worker, heartbeat):
        heartbeat()
        heartbeat()
        assert Heartbeats().read_age(worker, NOW) is None

    def test_another_process_with_the_same_pid(self, worker, heartbeat):
        heartbeat()
        assert Heartbeats().read_age(worker._replace(create_time=1.0), NOW) is None

    def test_another_file_behind_the_descriptor(self, worker, heartbeat):
        known = Heartbeats()
        first = heartbeat()
        assert known.read_age(worker, NOW) is not None
        second = heartbeat()
        os.dup2(second, first)
        assert known.read_age(worker, NOW) is None

    def test_the_search_for_a_file_is_repeated_only_for_a_young_worker(self, worker, heartbeat, monkeypatch):
        known = Heartbeats()
        assert known.read_age(worker, worker.create_time + 1) is None
        heartbeat()
        assert known.read_age(worker, worker.create_time + 1) is not None

        known = Heartbeats()
        heartbeat()
        assert known.read_age(worker, NOW) is None
        monkeypatch.setattr(heartbeats, "read_files", lambda *_: pytest.fail("it searched again"))
        assert known.read_age(worker, NOW) is None

    def test_other_systems_have_no_heartbeats(self, worker, heartbeat, monkeypatch):
        heartbeat()
        monkeypatch.setattr(heartbeats, "LINUX", False)
        assert Heartbeats().read_age(worker, NOW) is None

    def test_setting_the_clock_changes_nothing(self, worker, heartbeat, monkeypatch):
        os.utime(heartbeat(), (0, time.monotonic() - 5))
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert Heartbeats().read_age(worker, NOW) == pytest.approx(5, abs=0.1)

    def test_workers_that_ended_are_forgotten(self, worker, heartbeat):
        known = Heartbeats()
        heartbeat()
        known.read_age(worker, NOW)
        known.keep_only([])
        assert known._files == {}


def test_a_worker_with_a_monotonic_clock_of_its_own():
    assert compute_age(mtime=10.0, ctime=1.7e9, monotonic=90000.0, wall=1.7e9 + 2, lifetime=60.0) == 2.0
    assert compute_age(mtime=89998.5, ctime=1.7e9, monotonic=90000.0, wall=1.7e9 + 500, lifetime=1.0) == 1.5


times = st.floats(0, 1e10)


@given(times, times, times, times)
def test_ages_are_never_negative(mtime, ctime, monotonic, wall):
    assert compute_age(mtime, ctime, monotonic, wall) >= 0


@pytest.mark.parametrize(
    ("ages", "known"),
    [
        ({}, [2.0, 5.0]),
        ({"new": 1.0}, [2.0, 5.0]),
        ({"old": 60.0}, None),
    ],
    ids=["all known", "younger than the oldest heartbeat", "older"],
)
def test_workers_whose_heartbeat_is_unknown(ages, known):
    now = 1000.0
    read = {Identity(1, now - 100): 2.0, Identity(2, now - 100): 5.0}
    workers = [*read, *(Identity(3, now - age) for age in ages.values())]
    assert list_known(read, workers, now) == known


def test_without_workers_there_is_no_heartbeat():
    assert list_known({}, [], 1000.0) == []
    assert list_known({}, [Identity(1, 990.0)], 1000.0) is None
