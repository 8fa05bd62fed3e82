"""The signals that a process catches, and what they make of it."""

import signal

import pytest

from datadog_checks.gunicorn.host.values import Identity, Process, Stat
from datadog_checks.gunicorn.servers.roles import (
    Handlers,
    catches_all_of_master,
    is_dirty_worker,
    judge_handlers,
    recognize,
)


def mask(names):
    return sum(1 << (signal.Signals[f"SIG{name}"] - 1) for name in names.split())


MASTER = "HUP USR2 CHLD TTIN TTOU WINCH USR1 QUIT INT TERM"
WORKER = "USR1 ABRT QUIT TERM INT TTIN TTOU WINCH"
DIRTY_ARBITER = "HUP CHLD USR1 QUIT TERM INT TTIN TTOU WINCH"
DIRTY_WORKER = f"{WORKER} CHLD"
# Those of `python -X dev` and PYTHONFAULTHANDLER.
FAULTHANDLER = "SEGV FPE ABRT BUS ILL"

both = pytest.mark.parametrize("further", ["", FAULTHANDLER], ids=["plain", "faulthandler"])


@both
@pytest.mark.parametrize(
    ("caught", "handlers"),
    [
        pytest.param(MASTER, Handlers.MASTER, id="master, or a fork of pre_fork or when_ready"),
        pytest.param(WORKER, Handlers.WORKER, id="worker"),
        pytest.param(WORKER.replace("ABRT ", ""), Handlers.WORKER, id="UvicornWorker"),
        pytest.param(DIRTY_ARBITER, Handlers.DIRTY_ARBITER, id="dirty arbiter"),
        pytest.param(DIRTY_WORKER, Handlers.WORKER, id="dirty worker"),
        pytest.param("INT", Handlers.OTHERS, id="fork of a preloaded application or of on_starting"),
        pytest.param("INT USR1", Handlers.OTHERS, id="helper with a handler for USR1"),
        pytest.param("", Handlers.OTHERS, id="another program"),
    ],
)
def test_the_role_that_matches_the_signals(caught, further, handlers):
    assert judge_handlers(mask(caught) | mask(further)) is handlers


def test_a_worker_whose_application_catches_what_a_dirty_arbiter_does():
    assert judge_handlers(mask(f"{WORKER} HUP CHLD")) is Handlers.WORKER


def test_a_kernel_that_does_not_show_the_signals():
    assert judge_handlers(None) is Handlers.UNKNOWN
    assert not catches_all_of_master(None)


class TestAllSignalsOfAMaster:
    @both
    def test_are_caught_by_an_embedded_server(self, further):
        assert catches_all_of_master(mask(MASTER) | mask(further))

    @pytest.mark.parametrize("missing", MASTER.split())
    def test_are_not_caught_by_a_process_that_lacks_one(self, missing):
        assert not catches_all_of_master(mask(MASTER) & ~mask(missing))


@pytest.mark.parametrize(
    ("caught", "forked", "is_worker"),
    [
        pytest.param(DIRTY_WORKER, True, True, id="worker"),
        pytest.param(DIRTY_WORKER, None, True, id="worker on a kernel that shows no flags"),
        pytest.param(DIRTY_WORKER, False, False, id="program with the same handlers, started by an application"),
        pytest.param("INT", True, False, id="fork of a preloaded application"),
    ],
)
def test_which_children_of_a_dirty_arbiter_are_its_workers(caught, forked, is_worker):
    stat = Stat(True, 1, 7, 7, forked, 0.0, 1, 100.0)
    child = recognize(Process(Identity(7, 100.0), stat, ("python3", "/srv/serve.py"), mask(caught)))
    assert is_dirty_worker(child, None) is is_worker
