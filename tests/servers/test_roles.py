"""The roles of the processes of a real server: masters, workers, dirty arbiters, and helpers."""

import os
import signal
import sys

import psutil
import pytest

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.scanning.registry import Host
from tests.assertions import assert_not_found, assert_total, make_check, run, run_until
from tests.gunicorn_server import GUNICORN, is_alive, kill_and_wait, newest, run_gunicorn, wait_until
from tests.pool.truth import are_at_rest

pytestmark = pytest.mark.every_gunicorn

both = pytest.mark.parametrize("titled", [True, False], ids=["titled", "untitled"])


@pytest.fixture
def make_fresh_check(monkeypatch):
    """Make a check in an Agent that was started just now, and so has never seen the host."""

    def make(proc_name):
        monkeypatch.setattr(check_module, "HOST", Host())
        return make_check(proc_name)

    return make


def children_of(server):
    return psutil.Process(server.master).children()


class TestHelpers:
    @both
    def test_processes_of_a_preloaded_application_and_of_hooks(self, titled, make_fresh_check):
        options = ("--config", "python:helpers", "--preload")
        with run_gunicorn(*options, app="preloaded:app", titled=titled) as server:
            # A Manager, a sleep, and a fork of each of three hooks.
            assert len(children_of(server)) == 2 + 5
            check = make_fresh_check(server.name)
            for _ in range(2):
                assert_total(run(check), 2)

    @both
    def test_a_hooks_fork_that_outlives_its_master(self, titled):
        with run_gunicorn("--config", "python:outliving", titled=titled) as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            (helper,) = {child.pid for child in children_of(server)} - set(server.booted())
            kill_and_wait(server.master)
            assert_not_found(run(check), server.name)
            assert is_alive(helper)

    @pytest.mark.parametrize(
        ("options", "titled"),
        [((), False), ((), True), (("--daemon",), True)],
        ids=["untitled", "titled", "titled daemon"],
    )
    def test_a_hooks_fork_that_outlives_a_master_that_the_check_never_saw(self, options, titled, make_fresh_check):
        with run_gunicorn("--config", "python:outliving", *options, titled=titled) as server:
            (helper,) = {child.pid for child in children_of(server)} - set(server.booted())
            workers = server.workers()
            kill_and_wait(server.master)
            assert_not_found(run(make_fresh_check(server.name)), server.name)
            for worker in workers:
                kill_and_wait(worker)
            assert is_alive(helper)
            assert_not_found(run(make_fresh_check(server.name)), server.name)

    @both
    def test_a_hooks_fork_that_prints_its_stack_on_usr1(self, titled, make_fresh_check):
        config = """
import faulthandler, os, signal, time
def on_starting(server):
    parent = os.getpid()
    if os.fork() == 0:
        faulthandler.register(signal.SIGUSR1)
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)
"""
        with run_gunicorn(config=config, titled=titled) as server:
            assert len(children_of(server)) == 3
            assert_total(run(make_fresh_check(server.name)), 2)


class TestWorkers:
    @pytest.mark.parametrize(
        "title", ["web worker 7", "[busy] gunicorn: worker [x]", "gunicorn: master [x]", "gunicorn: dirty-arbiter"]
    )
    def test_titles_that_the_application_sets(self, title, make_fresh_check):
        config = f"def post_worker_init(worker):\n    import setproctitle\n    setproctitle.setproctitle({title!r})\n"
        with run_gunicorn(config=config) as server:
            wait_until(lambda: all(is_titled(pid, title) for pid in server.workers()), "the titles", server.explain)
            check = make_fresh_check(server.name)
            for _ in range(2):
                assert_total(run(check), 2)

    def test_handlers_that_the_application_sets(self, make_fresh_check):
        config = """
import signal
def post_worker_init(worker):
    signal.signal(signal.SIGHUP, print)
    signal.signal(signal.SIGCHLD, print)
"""
        with run_gunicorn(config=config, titled=False) as server:
            server.await_workers(2)
            assert_total(run_until(make_fresh_check(server.name), lambda found: found.total == 2), 2)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_workers_of_a_master_that_was_killed(self, workers, make_fresh_check):
        with run_gunicorn(workers=workers, titled=False) as server:
            check = make_check(server.name)
            assert_total(run(check), workers)
            kill_and_wait(server.master)
            for watched in (check, make_fresh_check(server.name)):
                assert_not_found(run(watched), server.name)
            assert len(server.workers()) == workers


def is_titled(pid, title):
    return " ".join(psutil.Process(pid).cmdline()).rstrip() == title


class TestMasters:
    @pytest.mark.parametrize(
        ("arguments", "config"), [(("--daemon",), ""), ((), "daemon = True")], ids=["arguments", "configuration"]
    )
    def test_a_daemon(self, arguments, config, make_fresh_check):
        with run_gunicorn(*arguments, config=config, titled=False) as server:
            assert psutil.Process(server.master).pid != server.process.pid
            check = make_fresh_check(server.name)
            for _ in range(2):
                assert_total(run(check), 2)
            assert_total(run(make_fresh_check(server.name)), 2)

    def test_one_with_faulthandler(self, make_fresh_check):
        with run_gunicorn(command=[sys.executable, "-X", "dev", GUNICORN], titled=False) as server:
            check = make_fresh_check(server.name)
            for _ in range(2):
                assert_total(run(check), 2)
            kill_and_wait(server.master)
            for watched in (check, make_fresh_check(server.name)):
                assert_not_found(run(watched), server.name)


@newest
@both
def test_a_dirty_arbiter_that_only_the_configuration_asks_for(titled, make_fresh_check):
    config = "dirty_apps = ['dirty:Idle']\ndirty_workers = 3\n"
    with run_gunicorn(config=config, titled=titled) as server:
        found = run_until(make_fresh_check(server.name), lambda found: found.dirty_workers == 3)
        assert_total(found, 2)


@pytest.fixture
def _bare_kernel(monkeypatch):
    """A kernel that shows neither flags nor signals, as gVisor's."""
    read_stat = procfs.read_stat
    monkeypatch.setattr(procfs, "read_stat", lambda pid: read_stat(pid)._replace(forked=None))
    monkeypatch.setattr(procfs, "read_caught", lambda pid: os.stat(procfs.path_of(pid)) and None)


@pytest.mark.usefixtures("_bare_kernel")
class TestKernelsThatShowNeitherFlagsNorSignals:
    @both
    @pytest.mark.parametrize("workers", [1, 3])
    def test_workers(self, titled, workers, make_fresh_check):
        with run_gunicorn(workers=workers, titled=titled) as server:
            check = make_fresh_check(server.name)
            for _ in range(2):
                assert_total(run(check), workers)
            kill_and_wait(server.master)
            assert server.workers()
            assert_not_found(run(check), server.name)

    def test_workers_of_a_master_that_was_killed_before(self, make_fresh_check):
        with run_gunicorn(titled=False) as server:
            # A worker that is still booting exits at once, and a single one cannot be told from a master here.
            wait_until(lambda: are_at_rest(server.workers()), "the end of the start")
            kill_and_wait(server.master)
            assert_not_found(run(make_fresh_check(server.name)), server.name)
            assert server.workers()

    def test_a_daemon(self, make_fresh_check):
        with run_gunicorn("--daemon", titled=False) as server:
            assert_total(run(make_fresh_check(server.name)), 2)

    def test_helpers_of_a_titled_server(self, make_fresh_check):
        with run_gunicorn("--config", "python:helpers", "--preload", app="preloaded:app") as server:
            assert_total(run(make_fresh_check(server.name)), 2)

    @both
    def test_upgrade(self, titled, make_fresh_check):
        with run_gunicorn(titled=titled) as server:
            check = make_fresh_check(server.name)
            assert_total(run(check), 2)
            server.signal(signal.SIGUSR2)
            server.await_workers(4)
            assert_total(run(check), 4)
            assert_total(run(make_fresh_check(server.name)), 4)

    def test_a_look_while_the_new_master_of_an_upgrade_has_no_workers_yet(self, make_fresh_check):
        config = "import os, time\nif 'GUNICORN_PID' in os.environ:\n    time.sleep(1)\n"
        with run_gunicorn(config=config, titled=False) as server:
            check = make_fresh_check(server.name)
            assert_total(run(check), 2)
            server.signal(signal.SIGUSR2)
            wait_until(lambda: is_upgrading(server), "the new master", server.explain)
            # Now it cannot be distinguished from a worker.
            check_module.HOST.scan()
            server.await_workers(4)
            server.signal(signal.SIGQUIT)
            wait_until(lambda: server.process.poll() is not None, "the old master's end", server.explain)
            for watched in (check, make_fresh_check(server.name)):
                assert_total(run(watched), 2)


def is_upgrading(server):
    """Whether the master has a third child, which runs Gunicorn by now: its fork has the same arguments."""
    children = [child for child in children_of(server) if child.pid not in server.booted()]
    return children and procfs.parse_stat(procfs.read_file(procfs.path_of(children[0].pid, "stat"))).forked is False
