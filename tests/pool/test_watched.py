"""Finding masters and workers on real servers, in every situation that can be provoked."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from unittest.mock import Mock

import psutil
import pytest

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.pool.watched import Key, Watched
from datadog_checks.gunicorn.scanning.candidates import read_candidate
from datadog_checks.gunicorn.scanning.registry import HOST, Host
from tests.assertions import (
    OK,
    assert_not_found,
    assert_total,
    assert_without_workers,
    make_check,
    run,
    run_until,
)
from tests.gunicorn_server import kill_and_wait, run_gunicorn, unique, wait_until

pytestmark = pytest.mark.every_gunicorn


def cmdline(pid):
    return psutil.Process(pid).cmdline()


class TestNames:
    @pytest.mark.parametrize(
        "tail",
        [
            " with  blanks [in brackets] [",
            "/with/slashes:application()",
            "-\N{SNOWMAN}-naïve\nand a second line",
            "-" + "long" * 75,
            ".2",
        ],
    )
    def test_any_name(self, tail):
        name = unique("name") + tail
        with run_gunicorn(name=name, config=f"proc_name = {name!r}"):
            assert_total(run(make_check(name)), 2)

    def test_a_title_that_fills_the_memory_of_the_arguments(self):
        name = unique("split") + "-" + "long" * 75
        with run_gunicorn(name=name, config=f"proc_name = {name!r}") as server:
            assert cmdline(server.master)[:2] == ["gunicorn:", "master"]
            assert_total(run(make_check(name)), 2)

    @pytest.mark.parametrize(
        "command",
        [(sys.executable, "-m", "gunicorn"), (sys.executable, "embedded.py")],
        ids=["as a module", "embedded"],
    )
    def test_any_start_command(self, command):
        with run_gunicorn(command=command) as server:
            assert_total(run(make_check(server.name)), 2)

    def test_other_applications_are_not_counted(self):
        with (
            run_gunicorn() as server,
            run_gunicorn(name=(longer := f"{server.name}1"), config=f"proc_name = {longer!r}"),
        ):
            assert_total(run(make_check(server.name)), 2)
            assert_not_found(run(make_check(server.name[:-1])), server.name[:-1])

    def test_a_process_with_the_title_as_an_argument_is_not_a_master(self):
        name = unique("decoy")
        with subprocess.Popen([sys.executable, "-c", "input()", f"gunicorn: master [{name}]"], stdin=-1) as decoy:
            assert_not_found(run(make_check(name)), name)
            decoy.kill()


class TestServers:
    def test_several_masters_of_one_name(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            with run_gunicorn("--name", server.name, name=server.name, workers=3):
                assert_total(run(make_check(server.name)), 5)

    def test_one_of_several_masters_is_replaced_between_two_runs(self):
        with run_gunicorn() as server:
            with run_gunicorn("--name", server.name, name=server.name, workers=3):
                check = make_check(server.name)
                assert_total(run(check), 5)
            with run_gunicorn("--name", server.name, name=server.name, workers=1):
                assert_total(run(check), 3)

    def test_the_pid_of_a_known_master_is_reused(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            real = read_candidate(server.master)
            stale = real._replace(identity=Identity(server.master, 1.0))
            known = check.fleet.servers[Key(server.name)] = Watched(Key(server.name), HOST)
            known.masters = {stale.identity: stale}
            assert_total(run(check), 2)
            assert list(known.masters) == [real.identity]

    def test_an_application_called_dot_two_beside_its_namesake(self):
        with contextlib.ExitStack() as stack:
            other = unique("web")
            stack.enter_context(run_gunicorn("--name", f"{other}.2", name=f"{other}.2", workers=3))
            with run_gunicorn("--name", other, name=other, workers=1):
                check, check_2 = make_check(other), make_check(f"{other}.2")
                for _ in range(2):
                    assert_total(run(check), 1)
                    assert_total(run(check_2), 3)
            assert_not_found(run(check), other)
            assert_total(run(check_2), 3)

    def test_orphaned_workers_are_not_a_server(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            kill_and_wait(server.master)
            assert server.workers()
            assert_not_found(run(check), server.name)


@pytest.mark.usefixtures("scans")
class TestRescans:
    """The number of looks at the whole host."""

    @pytest.fixture
    def scans(self, monkeypatch):
        """Count the scans of a host that no other test has looked at."""
        host = Host()
        monkeypatch.setattr(host, "scan", scan := Mock(side_effect=host.scan))
        monkeypatch.setattr(check_module, "HOST", host)
        monkeypatch.setattr(check_module, "SAMPLE_SECONDS", 0)
        return scan

    @pytest.fixture
    def later(self, monkeypatch):
        """Advance the clock."""
        passed = [0.0]
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])
        return lambda seconds: passed.__setitem__(0, passed[0] + seconds)

    def test_known_masters_cost_one_look_in_ten_seconds_for_all_instances(self, scans, later):
        with run_gunicorn() as server, run_gunicorn() as other:
            checks = [make_check(name) for name in (server.name, other.name) for _ in range(3)]
            for check in checks:
                run(check)
            before = scans.call_count
            for _ in range(9):
                later(5)
                for check in checks:
                    assert_total(run(check), 2)
            assert scans.call_count - before <= 9 * 5 / 10

    def test_a_master_beside_a_known_one_is_found_by_the_next_run_at_the_default_interval(self, later):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            with run_gunicorn("--name", server.name, name=server.name, workers=3):
                assert_total(run(check), 2)
                later(15)
                assert_total(run(check), 5)

    def test_a_missing_master_is_found_in_the_next_run(self):
        check = make_check(name := unique("late"))
        assert_not_found(run(check), name)
        with run_gunicorn("--name", name, name=name):
            assert_total(run(check), 2)

    def test_a_missing_master_is_found_despite_another_instances_scan(self):
        check = make_check(name := unique("late"))
        assert_not_found(run(check), name)
        run(make_check(unique("other")))
        with run_gunicorn("--name", name, name=name):
            assert_total(run(check), 2)


class TestChildrenThatAreNotWorkers:
    def test_processes_of_a_preloaded_application(self):
        with run_gunicorn("--preload", app="preloaded:app") as server:
            assert len(psutil.Process(server.master).children()) == 4
            assert_total(run(make_check(server.name)), 2)

    def test_a_fork_with_the_masters_title(self):
        with run_gunicorn("--config", "python:forking") as server:
            titles = [cmdline(child.pid)[0] for child in psutil.Process(server.master).children()]
            assert titles.count(f"gunicorn: master [{server.name}]") == 1
            check = make_check(server.name)
            for _ in range(2):
                assert_total(run(check), 2)

    def test_forks_of_workers(self):
        with run_gunicorn("--config", "python:forked_tree") as server:
            children = psutil.Process(server.master).children(recursive=True)
            wait_until(lambda: len(psutil.Process(server.master).children(recursive=True)) == 4, str(children))
            assert_total(run(make_check(server.name)), 2)

    def test_zombies(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            server.signal(signal.SIGSTOP)
            first, second = server.workers()
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE, "a zombie")
            assert_total(run(check), 1)
            os.kill(second, signal.SIGKILL)
            wait_until(lambda: psutil.Process(second).status() == psutil.STATUS_ZOMBIE, "a zombie")
            assert_without_workers(run(check), server.name)


@contextlib.contextmanager
def upgrading(**options):
    """A server and the pid of the master that USR2 started beside its own; both have their two workers."""
    with run_gunicorn(**options) as server:
        check = make_check(server.name)
        assert_total(run(check), 2)
        server.signal(signal.SIGUSR2)
        server.await_workers(4)
        yield server, server.masters()[-1]


def end_old_master(server):
    server.signal(signal.SIGQUIT)
    wait_until(lambda: server.process.poll() is not None, "the old master's end", server.explain)


def is_titled(pid, name):
    return " ".join(cmdline(pid)).rstrip() == f"gunicorn: master [{name}]"


class TestUpgrade:
    def test_polling_during_the_promotion(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)

            def poll(condition, allowed):
                def well(found):
                    assert (found.status, found.error) == (OK, "")
                    assert not found.workers or found.total in allowed
                    return condition()

                run_until(check, well)

            server.signal(signal.SIGUSR2)
            poll(lambda: len(server.workers()) == 4, {2, 3, 4})
            assert_total(run(check), 4)
            new = server.masters()[-1]
            assert is_titled(new, f"{server.name}.2")
            server.signal(signal.SIGQUIT)
            poll(lambda: server.process.poll() is not None, {2, 3, 4})
            assert_total(run(check), 2)
            poll(lambda: is_titled(new, server.name), {2})
            assert cmdline(server.workers()[0])[0] == f"gunicorn: worker [{server.name}.2]"
            assert_total(run(check), 2)

    def test_before_the_promotion_no_process_has_the_name(self):
        with upgrading() as (server, new):
            check, check_2 = make_check(server.name), make_check(f"{server.name}.2")
            assert_total(run(check), 4)
            assert_not_found(run(check_2), f"{server.name}.2")
            # A stopped master cannot promote itself.
            server.signal(signal.SIGSTOP, new)
            end_old_master(server)
            assert is_titled(new, f"{server.name}.2")
            assert_total(run(check), 2)
            assert_not_found(run(check_2), f"{server.name}.2")
            server.signal(signal.SIGCONT, new)
            wait_until(lambda: is_titled(new, server.name), "the promotion")
            assert_total(run(check), 2)

    def test_before_the_promotion_a_new_master_is_found_even_if_no_run_has_seen_it(self):
        with run_gunicorn() as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            server.signal(signal.SIGUSR2)
            server.await_workers(4)
            new = server.masters()[-1]
            server.signal(signal.SIGSTOP, new)
            end_old_master(server)
            assert_total(run(check), 2)

    def test_the_new_master_drops_dot_two_on_hup(self):
        with upgrading() as (server, new):
            check = make_check(server.name)
            assert_total(run(check), 4)
            before = len(server.booted())
            server.signal(signal.SIGHUP, new)
            wait_until(lambda: len(server.booted()) == before + 2 and len(server.workers()) == 4, "new workers")
            assert_total(run(check), 4)
            assert_total(run(make_check(server.name)), 4)

    def test_the_upgrade_is_rolled_back(self):
        with upgrading() as (server, new):
            check = make_check(server.name)
            server.signal(signal.SIGQUIT, new)
            server.await_workers(2)
            assert_total(run(check), 2)
            assert_total(run(check), 2)

    def test_a_daemon_whose_old_master_has_no_workers_left(self):
        # Only a daemon handles WINCH.
        with run_gunicorn("--daemon") as server:
            check = make_check(server.name)
            assert_total(run(check), 2)
            server.signal(signal.SIGUSR2)
            server.await_workers(4)
            assert_total(run(check), 4)
            server.signal(signal.SIGWINCH)
            server.await_workers(2)
            assert_total(run(check), 2)
            assert_total(run(make_check(server.name)), 2)


def test_workers_are_counted_during_a_hup():
    with run_gunicorn(workers=3) as server:
        check = make_check(server.name)
        server.signal(signal.SIGHUP)

        def well(found):
            assert found.status == OK
            assert found.total <= 6
            return len(server.booted()) == 6 and found.total == 3

        run_until(check, well)


def test_a_hup_that_renames_the_server():
    with run_gunicorn(name=(name := unique("old")), config=f"proc_name = {name!r}") as server:
        check = make_check(name)
        assert_total(run(check), 2)
        renamed = unique("new")
        server.configure(f"proc_name = {renamed!r}")
        server.signal(signal.SIGHUP)
        wait_until(lambda: is_titled(server.master, renamed), "the new name")
        assert_not_found(run(check), name)
        assert run(make_check(renamed)).status == OK


def test_children_of_a_process_that_reuses_the_masters_pid_are_not_counted(monkeypatch):
    with run_gunicorn() as server, run_gunicorn(workers=1) as other:
        watched = Watched(Key(server.name), Host())
        watched.join([read_candidate(server.master)])
        first = watched.look()
        kill_and_wait(server.master)
        monkeypatch.setattr(procfs, "read_children", lambda _: other.workers())
        sample = watched.sample(first)
        # Its workers keep running for a while.
        assert {worker.pid for worker in sample.workers} <= set(server.booted())
