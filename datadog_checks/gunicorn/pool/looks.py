"""The results of the two looks of a run at an application's processes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Identity, Reading
from datadog_checks.gunicorn.servers.titles import Role

from .usage import Usage


@dataclass(slots=True)
class FirstLook:
    """The look before the wait: the CPU time of each worker so far; `at` is by the clock of `procfs.read_clock`.

    `began` is the same by `time.monotonic`. `complete` is false if a process that may be a worker could not be read.
    `has_workers` is true if at least one worker was alive and not a zombie. `last_fork` is as in `SecondLook`.
    """

    at: float
    began: float = 0.0
    workers: dict[Identity, Reading] = field(default_factory=dict)
    complete: bool = True
    has_workers: bool = False
    last_fork: float = 0.0


@dataclass(slots=True)
class SecondLook:
    """The look after the wait.

    `workers` maps each worker to the seconds of CPU that it used since the first look, `seconds` ago. `heartbeats` maps
    workers to the seconds since their last heartbeat, as far as they are known. `dirty_workers` is None without
    a dirty arbiter. `missed` are workers of the previous run that seem to be alive but could not be read. `last_fork`
    is the start time of the youngest fork of a master that was not recognized as a worker: it may become one, or have
    been one, because without a title a worker that exits looks like a helper.
    """

    at: float
    workers: dict[Identity, float] = field(default_factory=dict)
    usage: Mapping[Role, dict[Identity, Usage]] = field(default_factory=lambda: {Role.MASTER: {}, Role.WORKER: {}})
    seconds: float = 0.0
    heartbeats: dict[Identity, float] = field(default_factory=dict)
    dirty_workers: int | None = None
    complete: bool = True
    missed: set[Identity] = field(default_factory=set)
    last_fork: float = 0.0


class Worker(NamedTuple):
    """One worker in the last run; None for unknown values.

    `age` and `heartbeat`, the time since its last one, are in seconds, `cpu` is in percent of one core between the two
    looks, `rss` in bytes. `accepted` counts its open connections.
    """

    pid: int
    age: float
    working: bool
    cpu: float | None
    rss: int
    threads: int
    accepted: int | None
    heartbeat: float | None
