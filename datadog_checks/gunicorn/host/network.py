"""The network namespaces of processes, in Linux's /proc. `processes.attempt` handles the errors."""

import os

from .procfs import path_of, read_file


def read_namespace(pid: int) -> int:
    """Read the number of a process's network namespace, the same in all mounts of procfs. Raises OSError."""
    # Any user may stat this file, unlike ns/net.
    return os.stat(path_of(pid, "net", "tcp")).st_ino


def read_own_namespace() -> int:
    """Read the number of our own network namespace, whatever `procfs_path` is. Raises OSError."""
    return os.stat("/proc/self/net/tcp").st_ino


def read_table(pid: int, name: str) -> list[bytes]:
    """Read the rows of a table in a process's network namespace, such as `tcp`, as any user may.

    Empty if the table does not exist, for instance without IPv6. Raises OSError.
    """
    try:
        with open(path_of(pid, "net", name), "rb") as table:
            return table.readlines()
    except FileNotFoundError:
        return []


def read_somaxconn() -> int:
    """Read the greatest limit that an accept queue can have in our own network namespace (listen(2)).

    Raises OSError, and ValueError if the file is not in Linux's format.
    """
    return int(read_file("/proc/sys/net/core/somaxconn"))
