"""The option `container` from run to run: it has to lead to one container."""

from collections.abc import Iterable
from dataclasses import replace

from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.host.processes import Absence, attempt, read_groups
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.containers import Container
from datadog_checks.gunicorn.servers.selection import Selection


class ContainerError(Exception):
    """The option `container` does not lead to one container."""


class ContainerPid:
    """Finds the container of the process whose pid the option names."""

    def __init__(self) -> None:
        # The process, as first read.
        self._process: Identity | None = None

    def resolve(self, selection: Selection) -> Selection:
        """Replace the pid of the option, if it has one, by the id of its container, unless that is unknown.

        Raises ContainerError if the process is in no container.
        """
        container = selection.container
        if container is None or container.pid is None:
            return selection
        read = attempt(read_groups, container.pid)
        if read is Absence.UNREADABLE:
            return selection
        process, groups = (Identity(container.pid, 0.0), None) if isinstance(read, Absence) else read
        self._process = self._process or process
        if groups is None or process != self._process:
            # The process has ended, and with it the container, or the pid belongs to another one.
            return selection
        if groups.container is None:
            raise ContainerError(f"pid {container.pid} is in no container")
        return replace(selection, container=container._replace(pid=None, beginning=groups.container))


def require_one(container: Container, found: Iterable[Groups]) -> None:
    """Raise ContainerError if the masters with these control groups are in several containers that the option fits."""
    ids = container.find_ids(found)
    if not container.pod and len(ids) > 1:
        raise ContainerError(f"container {container.given!r} may be any of {', '.join(sorted(ids))}")
