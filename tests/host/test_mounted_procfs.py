"""Process tables other than the host's /proc, created in namespaces; only for root on Linux."""

import contextlib
import shutil
import subprocess
import sys

import psutil
import pytest
from datadog_checks.base.stubs import datadog_agent

from tests.assertions import assert_not_found, assert_total, make_check, run
from tests.gunicorn_server import (
    APPS,
    GUNICORN,
    as_nobody,
    environment,
    root,
    run_gunicorn,
    temporary_folder,
    unique,
    wait_until,
)

pytestmark = [
    root,
    pytest.mark.skipif(
        not psutil.LINUX
        or shutil.which("unshare") is None
        or subprocess.call(["unshare", "--pid", "--fork", "--mount-proc", "true"], stderr=subprocess.DEVNULL) != 0,
        reason="needs Linux's namespaces",
    ),
]


@pytest.fixture
def mount(monkeypatch):
    """Mount a procfs, and set it as the Agent's `procfs_path`."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", psutil.PROCFS_PATH)
    with contextlib.ExitStack() as stack:

        def mount(*options):
            folder = stack.enter_context(temporary_folder())
            subprocess.run(["mount", "-t", "proc", *options, "proc", folder], check=True)
            stack.callback(subprocess.run, ["umount", folder], check=True)
            datadog_agent._config["procfs_path"] = str(folder)

        yield mount


def test_the_check_reads_the_agents_procfs_path(mount):
    mount()
    with run_gunicorn() as server, run_gunicorn(titled=False) as untitled:
        for name in (server.name, untitled.name):
            assert_total(run(make_check(name)), 2)
    assert datadog_agent.get_config("procfs_path") == psutil.PROCFS_PATH


def test_a_wrong_procfs_path_is_an_error_that_names_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", psutil.PROCFS_PATH)
    datadog_agent._config["procfs_path"] = str(tmp_path / "nowhere")
    assert "procfs_path" in make_check("web").run()


@pytest.mark.parametrize(
    ("hidepid", "finding"),
    [(1, "of this host could not be read"), (2, "Processes of other users are hidden")],
)
def test_a_warning_names_hidepid(hidepid, finding, mount):
    mount("-o", f"hidepid={hidepid}")
    with run_gunicorn() as server:
        check = make_check(server.name)
        assert_total(run(check), 2)

        def run_as_nobody():
            check = make_check(server.name)
            return run(check), check.get_warnings()

        found, warnings = as_nobody(run_as_nobody)
        assert_not_found(found, server.name)
        assert [warning for warning in warnings if finding in warning and f"hidepid={hidepid}" in warning]


def test_an_agent_in_a_container_with_the_hosts_procfs(tmp_path):
    """As with Docker's `--volume /proc:/host/proc`: it has its own pid namespace, and the host's procfs as well."""
    script = """
import sys
from datadog_checks.base.stubs import datadog_agent
datadog_agent._config["procfs_path"] = sys.argv[2]
from tests.assertions import make_check, run
import os
assert os.getpid() < 10
print(run(make_check(sys.argv[1])).total)
"""
    host = tmp_path / "host"
    host.mkdir()
    with run_gunicorn(workers=3) as server:
        inside = 'mount --bind /proc "$1" && exec unshare --pid --fork --mount-proc "$2" -c "$3" "$4" "$1"'
        command = ["unshare", "--mount", "sh", "-ec", inside, "sh", host, sys.executable, script, server.name]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.returncode) == ("3.0\n", 0), answer.stderr


def test_a_server_in_a_container(tmp_path):
    """It has its own pid namespace, but the host's procfs shows its processes."""
    name = unique("contained")
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", GUNICORN]
    with subprocess.Popen(
        [*command, "--name", name, "--workers", "3", "--bind", "127.0.0.1:0", "app:app"],
        cwd=APPS,
        env=environment(tmp_path),
        stderr=subprocess.DEVNULL,
    ) as container:
        check = make_check(name)
        wait_until(lambda: run(check).total == 3, "all of its workers")
        assert_total(run(check), 3)
        container.kill()


@pytest.mark.parametrize(("first", "is_hinted_at"), [("systemd", False), ("init(Ubuntu)", False), ("s6-svscan", True)])
def test_only_an_agent_in_an_application_container_gets_the_hint_about_host_pid(first, is_hinted_at, tmp_path):
    """LXC and WSL run a whole system with an init in their own pid namespace."""
    script = "from tests.assertions import make_check, run; check = make_check('x'); run(check); print(check.warnings)"
    program = tmp_path / first
    # A shell that does not exec, because the kernel names a process after its executable.
    program.write_text(f'#!/bin/sh\n"{sys.executable}" -c "{script}"\ntrue\n')
    program.chmod(0o755)
    command = ["unshare", "--pid", "--fork", "--mount-proc", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("hostPID" in answer.stdout) is is_hinted_at
