"""Every read of a process in a run fails once, in every possible way."""

import contextlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from enum import Enum
from unittest.mock import Mock

import psutil
import pytest

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.cpu import CpuSource
from datadog_checks.gunicorn.pool import fleet
from datadog_checks.gunicorn.pool.heartbeats import Heartbeats
from datadog_checks.gunicorn.scanning.registry import Host
from tests.assertions import CRITICAL, OK, assert_total, make_check, run
from tests.gunicorn_server import GUNICORN_VERSION, NEWEST, run_gunicorn, wait_until

WORKERS = 3


class Fault(Enum):
    """The failure of a read; later reads of the process fail, too."""

    VANISHED = "it has vanished"
    ZOMBIE = "it is a zombie"
    DENIED = "it may not be read"
    BROKEN = "the system cannot read it"
    ANOTHER = "another process has its pid"

    def happen(self, pid: int) -> None:
        match self:
            case Fault.VANISHED:
                raise psutil.NoSuchProcess(pid)
            case Fault.ZOMBIE:
                raise psutil.ZombieProcess(pid)
            case Fault.DENIED:
                raise psutil.AccessDenied(pid)
            case Fault.BROKEN:
                raise OSError(5, "Input/output error")


class Looks:
    """Counts reads of processes, and makes one of them fail, and all later ones of the same process."""

    def __init__(self, position: int = 0, fault: Fault | None = None) -> None:
        self.count = 0
        self.victim: int | None = None
        # Whether the first failure was at the heartbeat of a worker, which has been counted by then.
        self.is_late = False
        self._at_heartbeat = False
        self._position = position
        self._fault = fault
        self._inside = False

    def at(self, pid: int) -> None:
        if not pid or self._inside:
            # Not a read of a process, or only a part of one.
            return
        self.count += 1
        if self.count == self._position:
            self.victim = pid
            self.is_late = self._at_heartbeat
        if self.victim == pid and self._fault:
            self._fault.happen(pid)

    def _replaced(self, pid: int) -> bool:
        return pid == self.victim and self._fault is Fault.ANOTHER

    @contextlib.contextmanager
    def watched(self) -> Iterator["Looks"]:
        with pytest.MonkeyPatch.context() as patch:

            def wrap(owner: object, name: str, pid_of: Callable, answer: Callable = lambda value, *_: value) -> None:
                original = getattr(owner, name)

                def look(*args, **kwargs):
                    self.at(pid_of(*args))
                    outermost, self._inside = not self._inside, True
                    try:
                        return answer(original(*args, **kwargs), *args)
                    finally:
                        self._inside = not outermost

                patch.setattr(owner, name, look)

            def pid_in(path, *_):
                found = re.search(r"/(\d+)/", f"{os.fsdecode(path)}/")
                return int(found[1]) if found else 0

            def pid_of_clock(clock):
                # As clock_of computes it; the clocks of the system are not negative.
                return ~(clock >> 3) if clock < 0 else 0

            read_age = Heartbeats.read_age

            def read_heartbeat(heartbeats, worker, now):
                self._at_heartbeat = True
                try:
                    return read_age(heartbeats, worker, now)
                finally:
                    self._at_heartbeat = False

            patch.setattr(Heartbeats, "read_age", read_heartbeat)
            wrap(procfs, "read_stat", lambda pid: pid, self._birth)
            wrap(procfs, "read_rss", lambda pid: pid)
            wrap(procfs, "read_cmdline", lambda pid, *_: pid, self._cmdline)
            wrap(procfs, "read_caught", lambda pid: pid, self._signals)
            wrap(procfs, "read_children", lambda pid: pid)
            wrap(procfs, "list_processes", lambda: 0, self._numbers)
            wrap(procfs, "read_file", pid_in)
            wrap(time, "clock_gettime_ns", pid_of_clock)
            wrap(os, "listdir", pid_in)
            yield self

    def _cmdline(self, cmdline, pid, *_):
        return ("/usr/bin/stranger",) if self._replaced(pid) else cmdline

    def _signals(self, caught, pid):
        return 0 if self._replaced(pid) else caught

    def _birth(self, stat, pid):
        return stat._replace(started=stat.started + 1000) if self._replaced(pid) else stat

    def _numbers(self, numbers):
        return {pid: number + 1 if self._replaced(pid) else number for pid, number in numbers.items()}


@pytest.fixture(scope="module", params=[True, False], ids=["titled", "untitled"])
def server(request):
    """Shared by all faults, because they affect only the check."""
    with run_gunicorn(workers=WORKERS, titled=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def server_with_helpers():
    dirty = ("--dirty-app", "dirty:Idle", "--dirty-workers", "2") if GUNICORN_VERSION == NEWEST else ()
    helpers = ("--config", "python:forking", "--preload")
    with run_gunicorn(*dirty, *helpers, workers=1, app="preloaded:app") as server:
        if dirty:
            wait_until(lambda: run(make_check(server.name)).dirty_workers == 2, "both dirty workers")
        yield server


def looks_of_a_run(check) -> int:
    with Looks().watched() as looks:
        run(check)
    return looks.count


@pytest.fixture
def _no_wait(monkeypatch):
    monkeypatch.setattr(check_module, "SAMPLE_SECONDS", 0)


@pytest.fixture
def _few_strangers(server, monkeypatch):
    """Hide most of the host: the first run looks at every process, and other tests start hundreds."""
    shown = {1, os.getpid(), os.getppid(), server.master, *server.workers()}
    real = procfs.list_processes
    monkeypatch.setattr(
        procfs, "list_processes", lambda: {pid: number for pid, number in real().items() if pid in shown}
    )


@pytest.mark.usefixtures("_no_wait", "_few_strangers")
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("known", [True, False], ids=["a later run", "the first run"])
def test_a_run_survives_every_failure_of_every_look(server, known, fault, record_property):
    def prepared():
        # Connections are counted after the workers, so a worker that vanishes then still counts.
        check = make_check(server.name, {"gunicorn": "/nowhere"}, collect_connections=False)
        if known:
            run(check)
        return check

    positions = looks_of_a_run(prepared())
    assert positions > 3 * WORKERS
    for position in itertools.count(1):
        check = prepared()
        with Looks(position, fault).watched() as looks:
            found = run(check)
        if looks.victim is None:
            break
        where = f"{fault.value} at look {position}, process {looks.victim}"
        assert_plausible(found, looks, server, where)
        if known and looks.victim in server.workers():
            exited = fault not in {Fault.DENIED, Fault.BROKEN} and not looks.is_late
            assert found.metrics["gunicorn.workers.exited"] == exited, where
            assert found.metrics["gunicorn.workers.started"] == 0, where
    record_property("positions", position - 1)
    assert position > positions / 2


def assert_plausible(found, looks, server, where):
    """Assert that no unread worker is counted, and that only a missing master is an error."""
    victim = looks.victim
    if victim == server.master:
        assert found.error in {"", f"Found no master process with name: gunicorn: master [{server.name}]"}, where
        assert bool(found.error) == (found.status == CRITICAL), where
        assert found.total in {0, WORKERS}, where
        assert found.workers == {} or found.total, where
    else:
        expected = WORKERS - (victim in server.workers() and not looks.is_late)
        assert (found.status, found.error, found.total) == (OK, "", expected), where


@pytest.mark.usefixtures("_no_wait")
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_a_run_with_dirty_workers_and_helpers_survives_every_failure(server_with_helpers, fault):
    for position in itertools.count(1):
        check = make_check(server_with_helpers.name, {"gunicorn": "/nowhere"})
        run(check)
        with Looks(position, fault).watched() as looks:
            found = run(check)
        if looks.victim is None:
            break
        assert found.total <= 1
        assert (found.dirty_workers or 0) <= 2
        assert not found.error or looks.victim == server_with_helpers.master
    assert position > 10


@contextlib.contextmanager
def failing(owner: object, name: str, error: OSError, pattern: str = "") -> Iterator[None]:
    """Make a read fail, or only those of paths that match the pattern."""
    original = getattr(owner, name)
    failures = 0

    def read(*args):
        nonlocal failures
        if not pattern or re.search(pattern, os.fsdecode(args[0])):
            failures += 1
            raise error
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, read)
        yield
    assert failures


@pytest.mark.skipif(not psutil.LINUX, reason="replaces reads of procfs")
@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")],
    ids=lambda error: type(error).__name__,
)
class TestReadsThatAreNotOfOneProcess:
    @pytest.fixture(params=[True, False], ids=["a later run", "the first run"])
    def check(self, request, server, monkeypatch):
        """Look at the host in every run."""
        monkeypatch.setattr(check_module, "HOST", Host())
        monkeypatch.setattr(fleet, "FRESH_SECONDS", 0)
        check = make_check(server.name)
        if request.param:
            run(check)
        return check

    def test_the_list_of_all_processes(self, check, error, monkeypatch):
        # Otherwise, a later run lists only new processes.
        monkeypatch.setattr(procfs, "read_last_pid", lambda: None)
        with failing(procfs, "list_processes", error):
            (failure,) = json.loads(check.run())
        assert failure["message"] == f"{error}; set `procfs_path` in datadog.yaml to the host's /proc"
        assert_total(run(check), WORKERS)

    def test_the_last_pid(self, check, error):
        with failing(procfs, "read_file", error, "/loadavg$"):
            assert_total(run(check), WORKERS)
        assert_total(run(check), WORKERS)

    def test_the_schedulers_figures(self, server, error, monkeypatch):
        monkeypatch.setattr(time, "clock_gettime_ns", Mock(side_effect=OSError(22, "Invalid argument")))
        check = make_check(server.name)
        run(check)
        assert check.fleet.cpu_source is CpuSource.SCHEDSTAT
        with failing(procfs, "read_file", error, "/schedstat$"):
            found = run(check)
            # An Agent that is started now has only the ticks.
            assert_total(run(make_check(server.name)), WORKERS)
        assert (found.status, found.error) == (OK, "")
        assert found.total in {0, WORKERS}
        assert_total(run(check), WORKERS)
