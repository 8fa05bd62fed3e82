"""The functions of `procfs` for systems without /proc, through psutil. They raise psutil.Error."""

import os

import psutil

from .values import Stat


def read_stat(pid: int) -> Stat:
    """Read the status of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        cpu = process.cpu_times()
        return Stat(
            alive=process.status() != psutil.STATUS_ZOMBIE,
            parent=process.ppid(),
            group=os.getpgid(pid),
            session=os.getsid(pid),
            forked=None,
            cpu_seconds=cpu.user + cpu.system,
            threads=process.num_threads(),
            started=process.create_time(),
        )


def read_rss(pid: int) -> int:
    """Read the resident bytes of a process."""
    return int(psutil.Process(pid).memory_info().rss)


def read_cmdline(pid: int) -> tuple[str, ...]:
    return tuple(psutil.Process(pid).cmdline())


def read_children(pid: int) -> list[int]:
    """List the pids of a process's children; psutil reads all processes of the host to find them."""
    return [child.pid for child in psutil.Process(pid).children()]


def list_processes() -> dict[int, int]:
    """List all processes, without a number that detects a reused pid."""
    return dict.fromkeys(psutil.pids(), 0)
