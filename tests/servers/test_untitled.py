"""Servers without process titles, recognized by their arguments and parents."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.assertions import (
    assert_not_found,
    assert_total,
    assert_without_workers,
    assert_workers,
    is_idle,
    make_check,
    run,
    run_until,
)
from tests.gunicorn_server import (
    APPS,
    GUNICORN,
    as_nobody,
    kill_and_wait,
    newest,
    root,
    run_gunicorn,
    unique,
    wait_until,
)

pytestmark = pytest.mark.every_gunicorn


@pytest.mark.parametrize("naming", [["-n", "{}"], ["-n{}"], ["--name", "{}"], ["--name={}"], ["--na={}"]], ids=" ".join)
def test_the_name_in_the_arguments(naming):
    name = unique("web")
    arguments = [argument.format(name) for argument in naming]
    with run_gunicorn(*arguments, name=name, workers=3, titled=False):
        assert_total(run(make_check(name)), 3)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "gunicorn"],
        [sys.executable, "-m", "gunicorn.app.wsgiapp"],
        [sys.executable, "-u", "-X", "dev", GUNICORN],
        ["sh", "-c", '"$@"; exit', "sh", GUNICORN],
    ],
    ids=["module", "wsgiapp", "python options", "shell"],
)
def test_any_start_command(command):
    with run_gunicorn(command=command, titled=False) as server:
        assert_total(run(make_check(server.name)), 2)


@pytest.fixture
def unique_app(tmp_path, monkeypatch):
    """The URI of an application that no other server runs."""
    module = unique("app").replace("-", "_")
    (tmp_path / f"{module}.py").write_text("from app import app\n")
    monkeypatch.setattr("tests.gunicorn_server.PYTHONPATH", [tmp_path, APPS])
    return f"{module}:app"


@pytest.mark.usefixtures("all_names_are_shown")
def test_the_application_is_the_name_without_a_name_option(unique_app):
    configured = unique("configured")
    with run_gunicorn(name=configured, config=f"proc_name = {configured!r}", app=unique_app, titled=False):
        assert_total(run(make_check(unique_app)), 2)
        check = make_check(configured)
        assert_not_found(run(check), configured)
        (warning,) = [text for text in check.get_warnings() if f"`{unique_app}`" in text]
        assert "Install setproctitle" in warning
        assert "set `proc_name` to" in warning


def test_idle_and_busy_workers():
    with run_gunicorn(workers=4, titled=False) as server:
        check = make_check(server.name)
        assert_workers(run_until(check, is_idle), idle=4, working=0)
        with server.burning(2):
            assert_workers(run(check), idle=2, working=2)


@root
def test_another_user_sees_the_same():
    with run_gunicorn(workers=3) as titled, run_gunicorn(workers=2, titled=False) as untitled:
        checks = [make_check(titled.name), make_check(untitled.name)]
        for check in checks:
            run(check)
        for check, expected in zip(checks, (3, 2), strict=True):
            assert_total(as_nobody(lambda check=check: run(check)), expected)
            assert_total(as_nobody(lambda name=check.instance["proc_name"]: run(make_check(name))), expected)


def test_titled_and_untitled_servers_of_one_name():
    with run_gunicorn() as server, run_gunicorn("-n", server.name, name=server.name, workers=3, titled=False):
        check = make_check(server.name)
        for _ in range(2):
            assert_total(run(check), 5)


@pytest.mark.parametrize(
    "decoy",
    [
        ["sh", "-c", "sleep 60; exit", GUNICORN, "-n", "{}", "app:app"],
        [sys.executable, "-c", "input()", GUNICORN, "-n", "{}", "app:app"],
        [sys.executable, "-c", "input()", "gunicorn: master [{}]"],
    ],
)
def test_other_programs_with_a_servers_arguments_are_not_servers(decoy):
    name = unique("decoy")
    with subprocess.Popen([argument.format(name) for argument in decoy], stdin=subprocess.PIPE) as process:
        wait_until(psutil.Process(process.pid).cmdline, "the decoy's command line")
        assert_not_found(run(make_check(name)), name)
        for member in [*psutil.Process(process.pid).children(), process]:
            member.kill()


@pytest.mark.parametrize(
    "command",
    [
        [GUNICORN],
        [sys.executable, "-u", GUNICORN],
        [sys.executable, "-m", "gunicorn.app.wsgiapp"],
    ],
    ids=["script", "python options", "module"],
)
def test_upgrade(command):
    with run_gunicorn(command=command, titled=False) as server:
        check = make_check(server.name)
        assert_total(run(check), 2)
        server.signal(signal.SIGUSR2)
        server.await_workers(4)
        for watched in (check, make_check(server.name)):
            assert_total(run(watched), 4)
        new = server.masters()[-1]
        server.signal(signal.SIGQUIT)
        wait_until(lambda: server.process.poll() is not None, "the old master's end", server.explain)
        assert_total(run(check), 2)
        server.signal(signal.SIGTTIN, new)
        server.await_workers(3)
        assert_total(run(check), 3)


def test_a_daemon():
    with run_gunicorn("--daemon", titled=False) as server:
        assert_total(run(make_check(server.name)), 2)
    with run_gunicorn("--daemon", workers=0, titled=False) as server:
        assert_without_workers(run(make_check(server.name)), server.name)


@pytest.mark.parametrize("options", [(), ("--config", "python:forked_tree")], ids=["alone", "with forks"])
def test_orphaned_workers_are_not_a_server(options):
    with run_gunicorn(*options, titled=False) as server:
        check = make_check(server.name)
        assert_total(run(check), 2)
        kill_and_wait(server.master)
        assert server.workers()
        assert_not_found(run(check), server.name)


def test_zombies_are_not_counted():
    with run_gunicorn(titled=False) as server:
        check = make_check(server.name)
        assert_total(run(check), 2)
        server.signal(signal.SIGSTOP)
        for worker in server.workers():
            kill_and_wait(worker)
        assert_without_workers(run(check), server.name)


def test_forks_of_workers_are_not_counted():
    with run_gunicorn("--config", "python:forked_tree", titled=False) as server:
        wait_until(lambda: len(psutil.Process(server.master).children(recursive=True)) == 4, "forks of both workers")
        assert_total(run(make_check(server.name)), 2)


@newest
def test_dirty_workers():
    with run_gunicorn("--dirty-app", "dirty:Idle", "--dirty-workers", "3", titled=False) as server:
        check = make_check(server.name)
        assert_total(run_until(check, lambda found: found.dirty_workers == 3), 2)
