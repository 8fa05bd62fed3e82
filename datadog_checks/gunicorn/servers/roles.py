"""The role of a process in its server, by its title, its arguments and the signals that it catches. Pure."""

import functools
import signal
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from datadog_checks.gunicorn.host.values import Process

from .command_line import find_command
from .titles import Role, Title, parse_title


class Handlers(Enum):
    """The role that matches the signal handlers of a process (`SigCgt` in proc_pid_status(5), Gunicorn 20.1 to 27.0).

    A new worker has its master's handlers for some milliseconds; a process forked by a `pre_fork` hook keeps them.
    """

    MASTER = auto()
    DIRTY_ARBITER = auto()
    # A dirty worker has the same ones.
    WORKER = auto()
    OTHERS = auto()
    # The kernel does not show them: macOS, gVisor.
    UNKNOWN = auto()


def _mask_of(*signals: signal.Signals) -> int:
    return functools.reduce(int.__or__, (1 << (number - 1) for number in signals))


_MASTER = _mask_of(signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
_DIRTY_ARBITER = _mask_of(signal.SIGHUP, signal.SIGCHLD)
_WORKER, _END_OF_WORKER = _mask_of(signal.SIGUSR1), _mask_of(signal.SIGQUIT, signal.SIGTERM)
_ABORT, _CRASH = _mask_of(signal.SIGABRT), _mask_of(signal.SIGSEGV)
# `Arbiter.SIGNALS` and SIGCHLD, every release from 19.9 to 27.0.
_ALL_OF_MASTER = _MASTER | _mask_of(
    *(signal.SIGQUIT, signal.SIGINT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGWINCH)
)


def judge_handlers(caught: int | None) -> Handlers:
    """Match the mask of caught signals to a role.

    USR1 without all of the master's signals is the most reliable sign of a worker: applications install handlers of
    their own. A helper may have a handler for USR1, but not for the signals that end a worker.
    """
    if caught is None:
        return Handlers.UNKNOWN
    if caught & _MASTER == _MASTER:
        return Handlers.MASTER
    if caught & _DIRTY_ARBITER == _DIRTY_ARBITER and not _catches_abort(caught):
        return Handlers.DIRTY_ARBITER
    return Handlers.WORKER if caught & _WORKER and caught & _END_OF_WORKER else Handlers.OTHERS


def _catches_abort(caught: int) -> bool:
    """Whether a process has a handler of its own for ABRT, as workers have: faulthandler's comes with one for SEGV."""
    return caught & (_ABORT | _CRASH) == _ABORT


def catches_all_of_master(caught: int | None) -> bool:
    """Whether a process of unknown origin catches every signal that a Gunicorn master does."""
    return caught is not None and caught & _ALL_OF_MASTER == _ALL_OF_MASTER


class Sighting(NamedTuple):
    """A process, with its Gunicorn `title` or, if it has none but runs Gunicorn, with Gunicorn's `arguments`."""

    process: Process
    title: Title | None
    arguments: tuple[str, ...] | None
    handlers: Handlers


def recognize(process: Process) -> Sighting:
    """Find out whether a process is Gunicorn."""
    title = parse_title(process.cmdline)
    command = None if title else find_command(process.cmdline)
    handlers = judge_handlers(process.caught)
    if command and not command.certain and handlers in (Handlers.OTHERS, Handlers.UNKNOWN):
        # An archive of another application.
        command = None
    return Sighting(process, title, command.arguments if command else None, handlers)


def find_role(child: Sighting, arguments: tuple[str, ...] | None, leads: Callable[[], bool]) -> Role | None:
    """Find the role of a master's child; None for a helper.

    `arguments` are the master's if it has no title. `leads` returns whether the child has children with the same
    arguments; it is called only if the kernel shows neither flags nor signals.
    """
    forked = child.process.stat.forked
    if child.title:
        # Applications set titles of their own, which may look like another role's.
        return Role.WORKER if forked and child.handlers is Handlers.WORKER else child.title.role
    if forked is False:
        # It has exec'ed since its fork: a new master by USR2, or a program started by a hook.
        return Role.MASTER if child.arguments is not None else None
    if child.handlers is Handlers.UNKNOWN and child.arguments is not None and child.arguments == arguments:
        return _guess_role(child, leads)
    return {Handlers.DIRTY_ARBITER: Role.DIRTY_ARBITER, Handlers.WORKER: Role.WORKER}.get(child.handlers)


def _guess_role(child: Sighting, leads: Callable[[], bool]) -> Role:
    if not leads():
        return Role.WORKER
    is_dirty = any(argument.startswith("--dirty-") for argument in child.arguments or ())
    return Role.DIRTY_ARBITER if is_dirty else Role.MASTER


def is_dirty_worker(child: Sighting, arguments: tuple[str, ...] | None) -> bool:
    """Whether a dirty arbiter's child is one of its workers; `arguments` are the server's if it has no title."""
    if child.title:
        return child.title.role is Role.DIRTY_WORKER
    if child.handlers is Handlers.UNKNOWN:
        return arguments is not None and child.arguments == arguments
    return child.handlers is Handlers.WORKER and child.process.stat.forked is not False
