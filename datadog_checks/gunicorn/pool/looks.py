"""The two looks of a run at one application's processes, as values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datadog_checks.gunicorn.host.cpu import Reading
from datadog_checks.gunicorn.host.identity import Identity
from datadog_checks.gunicorn.servers.titles import Role

from .usage import Usage


@dataclass(slots=True)
class FirstLook:
    """What the workers have used before the wait; `at` is by the clock of `procfs.read_clock`.

    `complete` is false if a process was there that could not be read: it may have been a worker. `has_workers` says
    whether at least one of the workers was alive and not a zombie.
    """

    at: float
    workers: dict[Identity, Reading] = field(default_factory=dict)
    complete: bool = True
    has_workers: bool = False


@dataclass(slots=True)
class Sample:
    """The second look: all that is known of the processes that are alive after the wait.

    `workers` gives the seconds of CPU that each worker used since the first look. `dirty_workers` is None without a
    dirty arbiter. `missed` are workers of the run before that seem to be there though they could not be read.
    """

    at: float
    workers: dict[Identity, float] = field(default_factory=dict)
    usage: Mapping[Role, dict[Identity, Usage]] = field(default_factory=lambda: {Role.MASTER: {}, Role.WORKER: {}})
    dirty_workers: int | None = None
    complete: bool = True
    missed: set[Identity] = field(default_factory=set)

    def overlooked(self, worker: Identity) -> bool:
        """Whether a worker was there at this look, or may have been, though it is not among `workers`."""
        return worker in self.missed or (not self.complete and worker.create_time <= self.at)
