"""The descriptors of processes in Linux's /proc, which root and the same user may read.

`processes.attempt` handles the errors.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from .procfs import path_of, read_file


class OpenFile(NamedTuple):
    """A file that a process has open as `descriptor`; the other fields identify the file."""

    descriptor: int
    device: int
    inode: int


def read_files(pid: int, link: re.Pattern[str]) -> list[OpenFile]:
    """Read the open files of a process whose links in /proc/PID/fd (proc_pid_fd(5)) match. Raises OSError."""
    files = []
    for descriptor, target in _read_links(pid):
        if link.search(target):
            # It may have been closed since.
            with contextlib.suppress(FileNotFoundError):
                status = read_status(pid, descriptor)
                files.append(OpenFile(descriptor, status.st_dev, status.st_ino))
    return files


def read_status(pid: int, descriptor: int) -> os.stat_result:
    """Read the status of the file behind a descriptor. Raises OSError."""
    return os.stat(path_of(pid, "fd", str(descriptor)))


def parse_socket(link: str) -> int | None:
    """Parse the inode of a socket from the link of its descriptor; None if it is not a socket.

    >>> parse_socket("socket:[987]")
    987
    """
    return int(link[len("socket:[") : -1]) if link.startswith("socket:[") else None


def read_socket(pid: int, descriptor: int) -> int | None:
    """Read the inode of a descriptor's socket; None if it is not a socket. Raises OSError."""
    return parse_socket(_read_link(pid, descriptor))


def read_sockets(pid: int) -> dict[int, int]:
    """Read the inodes of a process's sockets, by descriptor. Raises OSError."""
    sockets = {}
    for descriptor, link in _read_links(pid):
        inode = parse_socket(link)
        if inode is not None:
            sockets[descriptor] = inode
    return sockets


def parse_inheritable(text: bytes) -> bool | None:
    r"""Parse from /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)) whether a descriptor survives an exec; None if unknown.

    >>> parse_inheritable(b"pos:\t0\nflags:\t02000002\n")
    False
    """
    flags = re.search(rb"^flags:\s*([0-7]+)", text, re.MULTILINE)
    return None if flags is None else not int(flags[1], 8) & os.O_CLOEXEC


def read_inheritable(pid: int, descriptor: int) -> bool | None:
    """Read whether a descriptor survives an exec; None if unknown. Raises OSError."""
    return parse_inheritable(read_file(path_of(pid, "fdinfo", str(descriptor))))


def _read_links(pid: int) -> Iterator[tuple[int, str]]:
    for name in os.listdir(path_of(pid, "fd")):
        # It may have been closed since.
        with contextlib.suppress(FileNotFoundError):
            yield int(name), _read_link(pid, int(name))


def _read_link(pid: int, descriptor: int) -> str:
    return os.readlink(path_of(pid, "fd", str(descriptor)))
