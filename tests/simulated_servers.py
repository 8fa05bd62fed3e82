"""A simulated host that runs Gunicorn servers, in containers or outside: starts no process, and takes no time."""

import itertools
import time

from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.host.cgroups import NO_GROUPS, Groups
from datadog_checks.gunicorn.host.cpu import CpuSource
from datadog_checks.gunicorn.host.values import Stat
from tests.scanning.test_registry import NOW, Table


class SimulatedServers(Table):
    """A process table with masters and their workers."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.parents = {}
        self.groups = {}
        # Above every real pid.
        self._pids = itertools.count(2**22 + 1)
        self.add(1, "/sbin/init")
        monkeypatch.setattr(procfs, "read_children", self.read_children)
        monkeypatch.setattr(procfs, "read_groups", lambda pid: self.groups.get(pid, NO_GROUPS))
        monkeypatch.setattr(procfs, "read_rss", lambda _: 1000)
        monkeypatch.setattr(time, "sleep", self.wait)
        for module in ("fleet", "sampling", "watched"):
            monkeypatch.setattr(f"datadog_checks.gunicorn.pool.{module}.read_clock", procfs.read_clock)
        monkeypatch.setattr("datadog_checks.gunicorn.pool.fleet.choose_source", lambda: CpuSource.TIMES)

    def start(self, name, *containers, workers=2, pods=(), age=1000.0):
        """Start a server with titles in these nested containers, the outermost first; return its master's pid."""
        groups = Groups(containers, frozenset(pods))
        master = self._spawn(f"gunicorn: master [{name}]", 1, groups, age)
        for _ in range(workers):
            self._spawn(f"gunicorn: worker [{name}]", master, groups, age)
        return master

    def _spawn(self, title, parent, groups, age):
        pid = next(self._pids)
        self.add(pid, title, age=age - self.passed)
        self.parents[pid], self.groups[pid] = parent, groups
        return pid

    def workers(self, master):
        return [pid for pid, parent in self.parents.items() if parent == master]

    def replace_workers(self, master):
        """Replace each worker of a server by a new one."""
        for worker in self.workers(master):
            (title,) = self.cmdlines[worker]
            self._end(worker)
            self._spawn(title, master, self.groups[master], age=0.0)

    def stop(self, master):
        """End a server and its workers."""
        for pid in [*self.workers(master), master]:
            self._end(pid)

    def _end(self, pid):
        del self.cmdlines[pid], self.parents[pid]

    def read_children(self, pid):
        if pid not in self.cmdlines:
            raise ProcessLookupError(pid)
        return self.workers(pid)

    def read_stat(self, pid):
        if pid not in self.cmdlines:
            raise ProcessLookupError(pid)
        return Stat(True, self.parents.get(pid, 1), pid, pid, False, 0.0, 1, NOW - self.ages[pid])

    def wait(self, seconds):
        self.passed += seconds
