"""The shared knowledge of a host: a real one, and simulated ones."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from datadog_checks.gunicorn.host import processes, procfs
from datadog_checks.gunicorn.host.values import Identity, Stat
from datadog_checks.gunicorn.scanning import scanner
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.scanning.scanner import HostLook
from datadog_checks.gunicorn.servers.applications import Hint, assign_applications
from tests.gunicorn_server import run_gunicorn, wait_until
from tests.servers.test_applications import NEW, WEB, titled

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="replaces reads of procfs")

NOW = 100_000.0
STRANGER = ("vim", "gunicorn.conf.py")


class Table:
    """A simulated process table: command lines, ages, and the pids that were read."""

    def __init__(self, monkeypatch):
        self.cmdlines = {}
        self.ages = {}
        self.numbers = {}
        self.read_pids = []
        self.passed = 0.0
        # By default, all processes are listed at each look.
        self.last_pid = None
        monkeypatch.setattr(processes, "list_processes", lambda: {pid: self.number_of(pid) for pid in self.cmdlines})
        monkeypatch.setattr(procfs, "read_cmdline", self.read_cmdline)
        monkeypatch.setattr(procfs, "read_stat", self.read_stat)
        monkeypatch.setattr(procfs, "read_caught", lambda _: None)
        monkeypatch.setattr(procfs, "read_last_pid", lambda: self.last_pid)
        monkeypatch.setattr(procfs, "read_clock", lambda: NOW + self.passed)
        monkeypatch.setattr(time, "monotonic", lambda: NOW + self.passed)

    def number_of(self, pid):
        return self.numbers.get(pid, 10 * pid)

    def add(self, pid, *cmdline, age=10_000.0):
        self.cmdlines[pid] = cmdline
        self.ages[pid] = age

    def read_cmdline(self, pid, *_):
        self.read_pids.append(pid)
        if pid not in self.cmdlines:
            raise ProcessLookupError(pid)
        answer = self.cmdlines[pid]
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer

    def read_stat(self, pid):
        if pid not in self.cmdlines:
            raise ProcessLookupError(pid)
        return Stat(True, 1, pid, pid, False, 0.0, 1, NOW - self.ages[pid])

    def look(self, host, **options):
        """Look at the host; return the pids that were read, each once."""
        self.read_pids.clear()
        host.scan(**options)
        return set(self.read_pids)


@pytest.fixture
def table(monkeypatch):
    table = Table(monkeypatch)
    table.add(1, "/sbin/init")
    return table


class TestWhichProcessesAreRead:
    def test_strangers_are_read_once(self, table):
        host = Host()
        table.add(20, *STRANGER)
        assert table.look(host) == {1, 20}
        assert table.look(host, full=False) == set()
        assert table.look(host) == {1, 20}

    def test_a_new_process_is_read(self, table):
        host = Host()
        table.look(host)
        table.add(20, *STRANGER)
        assert table.look(host, full=False) == {20}

    def test_a_young_process_is_read_again_because_a_shell_execs_late(self, table):
        host = Host()
        table.add(20, "sh", "-c", "sleep 5; exec gunicorn", age=1.0)
        table.look(host)
        table.cmdlines[20] = ("python3", "/venv/bin/gunicorn", "app:app")
        assert table.look(host, full=False) == {20}
        assert [known.application for known in host.applications()] == ["app:app"]

    def test_all_processes_are_read_every_ten_minutes(self, table):
        host = Host()
        for pid in range(2, 100):
            table.add(pid, *STRANGER)
        table.look(host)
        read = set()
        for table.passed in range(15, 630, 15):
            newly_read = table.look(host, full=False)
            assert len(newly_read) <= 20
            read |= newly_read
        assert read == set(range(1, 100))

    def test_a_process_that_reuses_the_pid_of_a_stranger_is_read(self, table):
        host = Host()
        table.add(20, *STRANGER)
        table.look(host)
        table.numbers[20] = 7
        table.cmdlines[20] = ("gunicorn: master [web]",)
        assert table.look(host, full=False) == {20}

    def test_all_processes_are_read_if_the_system_does_not_number_them(self, table):
        host = Host()
        table.numbers[1] = 0
        table.look(host)
        assert table.look(host, full=False) == {1}

    def test_gunicorns_are_read_at_every_look(self, table):
        """A master renames itself without an exec after USR2."""
        host = Host()
        table.add(20, "gunicorn: master [web.2]")
        table.look(host)
        table.cmdlines[20] = ("gunicorn: master [web]",)
        assert table.look(host, full=False) == {20}
        assert [known.application for known in host.applications()] == ["web"]

    def test_unreadable_processes_are_counted(self, table):
        host = Host()
        table.add(20, PermissionError(13, "Permission denied"))
        table.look(host)
        assert host.last_scan().unreadable == 1
        assert table.look(host, full=False) == set()
        assert host.last_scan().unreadable == 1

    def test_exited_processes_are_forgotten(self, table):
        host = Host()
        table.add(20, *STRANGER)
        table.look(host)
        del table.cmdlines[20]
        table.look(host, full=False)
        assert set(host._last_look.strangers) == {1}


class TestNewcomers:
    """If the kernel shows the last pid, only processes with later pids are read."""

    @pytest.fixture(autouse=True)
    def lists(self, table, monkeypatch):
        table.last_pid = 100
        listed = []
        original = processes.list_processes
        monkeypatch.setattr(processes, "list_processes", lambda: (listed.append(table.passed), original())[1])
        return listed

    def test_a_new_process_is_read_without_listing_all(self, table, lists):
        host = Host()
        table.look(host)
        table.add(101, "gunicorn: master [web]")
        table.last_pid = 103
        assert table.look(host, full=False) == {101, 102, 103}
        assert [known.application for known in host.applications()] == ["web"]
        assert lists == [0.0]

    def test_a_pid_without_a_process_yet_is_read_again(self, table):
        host = Host()
        table.look(host)
        table.last_pid = 102
        table.look(host, full=False)
        table.add(102, "gunicorn: master [web]")
        assert table.look(host, full=False) == {101, 102}
        assert [known.application for known in host.applications()] == ["web"]

    def test_a_pid_without_a_process_yet_is_read_again_for_a_second(self, table):
        """Instances in several threads look within milliseconds."""
        host = Host()
        table.look(host)
        table.last_pid = 102
        for table.passed in (0.1, 0.2, 0.3):
            table.look(host, full=False)
        table.add(102, "gunicorn: master [web]")
        assert table.look(host, full=False) == {101, 102}
        assert [known.application for known in host.applications()] == ["web"]
        table.passed = 2.0
        assert table.look(host, full=False) == {101, 102}
        # Only Gunicorn's own is left.
        assert table.look(host, full=False) == {102}

    def test_without_new_processes_none_is_read(self, table, lists):
        host = Host()
        table.add(20, *STRANGER)
        table.look(host)
        assert table.look(host, full=False) == set()
        assert lists == [0.0]

    def test_masters_and_young_processes_are_still_read(self, table):
        host = Host()
        table.add(20, "gunicorn: master [web]")
        table.add(21, "sh", age=1.0)
        table.look(host)
        assert table.look(host, full=False) == {20, 21}
        assert len(host.applications()) == 1

    @pytest.mark.parametrize("last_pid", [99, 10_000, None], ids=["wrapped around", "very many", "unknown"])
    def test_otherwise_all_processes_are_listed(self, table, lists, last_pid):
        host = Host()
        table.look(host)
        table.add(20, *STRANGER)
        table.last_pid = last_pid
        assert table.look(host, full=False) == {20}
        assert lists == [0.0, 0.0]

    def test_all_processes_are_listed_once_a_minute(self, table, lists):
        host = Host()
        table.look(host)
        for table.passed in range(0, 130, 10):
            table.look(host, full=False)
        assert lists == [0.0, 70]

    @pytest.mark.skipif(procfs.read_last_pid() is None, reason="the kernel does not show the last pid here")
    def test_real_processes(self, monkeypatch):
        monkeypatch.undo()
        host = Host()

        def finds_without_a_list():
            host.scan()
            with subprocess.Popen(["sleep", "60"]) as process:
                before = host._last_look.listed
                host.scan(full=False)
                assert process.pid in host._last_look.strangers
                process.kill()
            # Other tests may start too many processes for a look without a list.
            return host._last_look.listed == before

        wait_until(finds_without_a_list, "a look without a list")

    def test_a_fork_that_was_allocated_before_the_list_but_is_not_in_it_is_read_again(self, table, lists):
        host = Host()
        table.look(host)
        # Listing all processes costs less than reading so many pids.
        table.last_pid = 1000
        table.look(host, full=False)
        assert len(lists) == 2
        table.add(1000, "gunicorn: master [web]")
        assert 1000 in table.look(host, full=False)
        assert [known.application for known in host.applications()] == ["web"]

    def test_a_pid_that_was_allocated_again_belongs_to_a_young_process(self, table):
        host = Host()
        table.add(102, *STRANGER)
        table.look(host)
        table.add(102, "sh", age=1.0)
        table.last_pid = 102
        table.look(host, full=False)
        assert 102 in table.look(host, full=False)


class TestFaults:
    def test_a_master_that_could_not_be_read_once_is_read_at_the_next_look(self, table):
        host = Host()
        table.add(20, "gunicorn: master [web]")
        table.look(host)
        table.cmdlines[20] = (PermissionError(13, "Permission denied"),)
        table.look(host, full=False)
        table.cmdlines[20] = ("gunicorn: master [web]",)
        assert 20 in table.look(host, full=False)
        assert [known.application for known in host.applications()] == ["web"]

    def test_a_look_that_is_blocked_does_not_prevent_another(self, table):
        host = Host()
        table.look(host)
        host._looking.append(time.monotonic())
        table.add(20, "gunicorn: master [web]")
        assert masters_of(host, "web", newer_than=time.monotonic()) == []
        table.passed = 2.0
        assert len(masters_of(host, "web", newer_than=time.monotonic())) == 1

    def test_a_look_at_newcomers_is_not_enough_for_a_search(self, table):
        host = Host()
        table.add(20, *STRANGER)
        table.look(host)
        # An old process that execs is found only by a full look.
        table.cmdlines[20] = ("gunicorn: master [web]",)
        began = time.monotonic()
        table.passed = 1.0
        table.look(host, full=False)
        assert len(masters_of(host, "web", newer_than=began, urgent=True)) == 1

    def test_hints_outlive_a_look_at_newcomers(self, table, monkeypatch):
        host = Host()
        table.add(20, "/opt/launcher", "/venv/bin/gunicorn", "app:app")
        table.add(21, "python3", "/srv/serve.py")
        monkeypatch.setattr(procfs, "read_caught", lambda _: 2**32 - 1)
        table.look(host)
        assert table.look(host, full=False) == set()
        assert host.last_scan().mentions == (Hint("/opt/launcher ... /venv/bin/gunicorn"),)
        assert host.last_scan().embedded == (Hint("/srv/serve.py"),)


class TestHints:
    def test_commands_that_run_gunicorn_and_were_not_recognized(self, table):
        host = Host()
        table.add(20, "/opt/launcher", "/venv/bin/gunicorn", "app:app")
        table.add(21, *STRANGER)
        table.look(host)
        assert host.last_scan().mentions == (Hint("/opt/launcher ... /venv/bin/gunicorn"),)

    def test_shells_and_wrappers_above_a_server_are_not_hints(self, table, monkeypatch):
        host = Host()
        table.add(20, "sh", "-c", "/opt/supervise gunicorn app:app; exit")
        table.add(21, "/opt/supervise", "/venv/bin/gunicorn", "app:app")
        table.add(22, "sh", "-c", "gunicorn app:app; exit")
        table.add(23, "python3", "/venv/bin/gunicorn", "app:app")
        parents = {23: 22, 22: 21, 21: 20}
        stat = table.read_stat
        monkeypatch.setattr(procfs, "read_stat", lambda pid: stat(pid)._replace(parent=parents.get(pid, 1)))
        table.look(host)
        assert host.last_scan().mentions == ()

    def test_embedded_servers_are_recognized_by_their_signals(self, table, monkeypatch):
        host = Host()
        table.add(20, "python3", "/srv/serve.py", "--port", "80")
        table.add(21, "ruby", "/srv/unicorn.rb")
        monkeypatch.setattr(procfs, "read_caught", lambda _: 2**32 - 1)
        table.look(host)
        assert host.last_scan().embedded == (Hint("/srv/serve.py"),)


def masters_of(host, application, newer_than, **options):
    return [known.candidate for known in host.find_masters(newer_than, **options) if known.application == application]


def replace_looks(host, candidates):
    """Make a host find these candidates at each look, and count the looks."""
    looks = []

    def scan(**_):
        looks.append(time.monotonic())
        host._assigned = assign_applications(candidates(), host._assigned)
        host._last_look = HostLook(full=True, now=looks[-1])

    host.scan = scan
    return looks


def test_one_look_serves_all_instances():
    host = Host()
    looks = replace_looks(host, lambda: (WEB, titled(101, "api")))
    assert masters_of(host, "web", newer_than=0) == [WEB]
    assert masters_of(host, "api", newer_than=0) == [titled(101, "api")]
    assert masters_of(host, "none", newer_than=0) == []
    assert len(looks) == 1
    masters_of(host, "web", newer_than=time.monotonic())
    assert len(looks) == 2


def test_candidates_found_outside_of_a_look_are_known_to_all_instances():
    host = Host()
    replace_looks(host, lambda: (WEB,))
    masters_of(host, "web", newer_than=0)
    assert host.learn(NEW, WEB.identity) == "web"
    assert masters_of(host, "web", newer_than=0) == [WEB, NEW]
    assert masters_of(host, "web.2", newer_than=0) == []


def test_a_failed_look_is_repeated(table, monkeypatch):
    host = Host()

    def fail():
        raise processes.ProcessTableError

    table.add(20, "gunicorn: master [web]")
    with monkeypatch.context() as patch:
        patch.setattr(processes, "list_processes", fail)
        with pytest.raises(processes.ProcessTableError):
            masters_of(host, "web", newer_than=0, urgent=True)
    assert len(masters_of(host, "web", newer_than=0)) == 1


def test_a_process_that_blocks_delays_only_its_first_reader():
    """Instances without a master all look at the same time, for instance when the Agent starts."""
    entered, go = threading.Event(), threading.Event()
    original = procfs.read_cmdline

    def read(pid, *size):
        if pid == os.getpid():
            entered.set()
            go.wait(20)
        return original(pid, *size)

    with run_gunicorn() as server, pytest.MonkeyPatch.context() as patch:
        host = Host()
        assert len(masters_of(host, server.name, newer_than=0)) == 1
        patch.setattr(procfs, "read_cmdline", read)
        looks = [threading.Thread(target=host.scan) for _ in range(4)]
        for look in looks:
            look.start()
        assert entered.wait(10)
        wait_until(lambda: sum(look.is_alive() for look in looks) == 1, "all looks but one to end")
        # An instance that knows its masters uses the last look; one that misses them looks without the blocked process.
        assert len(masters_of(host, server.name, newer_than=time.monotonic())) == 1
        assert len(masters_of(host, server.name, newer_than=time.monotonic(), urgent=True)) == 1
        assert host.last_scan().unreadable == 1
        go.set()
        for look in looks:
            look.join(10)
        assert host.scan().unreadable == 0


def test_a_full_look_counts_though_a_later_look_at_newcomers_ended_first(table, monkeypatch):
    host = Host()
    table.add(20, *STRANGER)
    table.look(host)
    # It exec'ed though it is old, which only a full look finds.
    table.cmdlines[20] = ("gunicorn: master [web]",)
    original = scanner._carry_over

    def end_later(look, before):
        original(look, before)
        if look.full:
            monkeypatch.setattr(scanner, "_carry_over", original)
            table.passed = 1.0
            table.add(30, "gunicorn: master [api]")
            host.scan(full=False)

    monkeypatch.setattr(scanner, "_carry_over", end_later)
    host.scan()
    assert {master.application for master in host.applications()} == {"web", "api"}
    table.passed = 2.0
    host.scan(full=False)
    assert {master.application for master in host.applications()} == {"web", "api"}


def test_an_exec_keeps_the_number_of_a_real_process():
    with subprocess.Popen(
        ["sh", "-c", f'read line; exec "{sys.executable}" -c "input()"'], stdin=subprocess.PIPE
    ) as process:
        before = processes.list_processes()[process.pid]
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: sys.executable in psutil.Process(process.pid).cmdline(), "the exec")
        assert processes.list_processes()[process.pid] == before
        process.kill()


def test_exited_masters_are_forgotten():
    host = Host()
    candidates = [WEB, NEW]
    replace_looks(host, lambda: tuple(candidates))
    masters_of(host, "web", newer_than=0)
    candidates[:] = [titled(300, "web")]
    assert [known.identity for known in masters_of(host, "web", newer_than=time.monotonic())] == [Identity(300, 300.0)]
    assert len(host._assigned) == 1
