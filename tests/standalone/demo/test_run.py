import contextlib
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from datadog_checks.gunicorn.standalone.cli import main
from datadog_checks.gunicorn.standalone.demo import run as demo
from datadog_checks.gunicorn.standalone.demo import server as demo_server
from datadog_checks.gunicorn.standalone.demo.server import WORKERS
from datadog_checks.gunicorn.standalone.interrupts import InterruptError
from tests.gunicorn_server import GUNICORN_VERSION, is_alive, wait_until
from tests.standalone.command_process import start

newest = pytest.mark.skipif(GUNICORN_VERSION != "27.0.1", reason="the same with every Gunicorn")

# Parts of a page of the demo.
IDLE = "        gunicorn.workers  gauge  3  state:idle\n"
WORKING = "        gunicorn.workers  gauge  1  state:working\n"
CPU = r"\n        gunicorn\.cpu\.percent +gauge  ([\d.]+) +[\d.]+% +process_role:worker\n"
ACCEPTED = r"\n        gunicorn\.connections  gauge  4  listener:127\.0\.0\.1:\d+, state:accepted\n"
QUEUED = r"\n        gunicorn\.connections  gauge  2  listener:127\.0\.0\.1:\d+, state:queued\n"
LESSON = "\nHow to read it: the 3 idle workers use no CPU, but they are not free."
if sys.platform == "linux":
    LESSON += " 4 connections are accepted,\none by each of the 4 workers, and 2 are queued until a worker is free.\n"
    LESSON += "The worker that is stuck for longest has sent no heartbeat for "


def servers_of(pid):
    """List the processes of a demo: their command lines or titles hold its name."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        cmdline = " ".join(process.info["cmdline"] or [])
        if re.search(rf"\bdemo-{pid}\b", cmdline) and is_alive(process.pid):
            found.append(process.pid)
    return found


@pytest.fixture(scope="module")
def example():
    """List the files of the example app before any demo."""
    return sorted(demo_server.EXAMPLE.iterdir())


@dataclass
class Demo:
    """A finished demo."""

    folder: Path
    process: subprocess.Popen[str]
    out: str = ""
    err: str = ""
    seconds: float = 0.0

    @property
    def name(self):
        return f"demo-{self.process.pid}"


@pytest.fixture(scope="module")
def demos(example, tmp_path_factory):
    """Concurrent demos: a plain one, one in an odd environment, and two with a closed pipe as stdout."""
    environment = {
        "GUNICORN_CMD_ARGS": "--workers 1 --pid gunicorn.pid --access-logfile access.log --name other",
        "WEB_CONCURRENCY": "3",
        "LISTEN_FDS": "1",
        "PATH": os.defpath,
    }
    plain, odd, unread, watched = (tmp_path_factory.mktemp(name) for name in ["plain", "odd", "unread", "watched"])
    (odd / "gunicorn.conf.py").write_text("raise SystemExit('not this one')")
    (odd / "gunicorn.py").write_text("raise SystemExit('not this one')")
    began = time.monotonic()
    demos = {
        "plain": Demo(plain, start("demo", cwd=plain)),
        "odd": Demo(odd, start("demo", cwd=odd, env=environment)),
        "unread": Demo(unread, start("demo", cwd=unread)),
        "watched": Demo(watched, start("demo", "--watch", "0.1", cwd=watched)),
    }
    demos["unread"].process.stdout.close()
    demos["watched"].process.stdout.close()
    with contextlib.ExitStack() as stack:
        for demo in demos.values():
            stack.enter_context(demo.process)
            stack.callback(demo.process.kill)
        for name in ["plain", "odd"]:
            demos[name].out, demos[name].err = demos[name].process.communicate(timeout=30)
            demos[name].seconds = time.monotonic() - began
        for name in ["unread", "watched"]:
            demos[name].err = demos[name].process.stderr.read()
    return demos


def test_the_demo_shows_what_was_submitted_and_received_and_leaves_nothing(demos):
    demo = demos["plain"]

    assert demo.seconds < 20
    assert (demo.process.returncode, demo.err) == (0, "")
    assert f"Starting Gunicorn {GUNICORN_VERSION} with 4 workers, named {demo.name}\n" in demo.out
    assert "[OK]\n" in demo.out
    assert "Total Runs: 2\n" in demo.out
    assert f"        version.raw: {GUNICORN_VERSION}\n" in demo.out
    assert f"      Common tags:\n        app:{demo.name}\n" in demo.out
    assert IDLE in demo.out
    assert WORKING in demo.out
    assert re.search(r"\n        gunicorn\.workers\.started +count  0\n", demo.out)
    assert 0 < float(re.search(CPU, demo.out)[1]) < 150
    assert "        gunicorn.is_running  OK\n" in demo.out
    assert LESSON in demo.out
    for metric, lines in [("requests  +c", 30), ("request.status.200  +c", 26), ("request.duration  +ms", 30)]:
        assert re.search(rf"\n  gunicorn\.{metric} +{lines} +[\d.]+ +app:{demo.name}\n", demo.out), metric
    assert re.search(rf"\n  gunicorn\.workers +g +1 +4 +app:{demo.name}\n", demo.out)
    assert servers_of(demo.process.pid) == []
    assert list(demo.folder.iterdir()) == []


@newest
@pytest.mark.skipif(sys.platform != "linux", reason="connections are read from Linux")
def test_all_workers_hold_a_connection_and_two_more_wait(demos):
    for name in ["plain", "odd"]:
        assert len(re.findall(ACCEPTED, demos[name].out)) == 1
        assert len(re.findall(QUEUED, demos[name].out)) == 1
        assert demos[name].out.count("gunicorn.connections") == 2
        assert "Metric Samples: Last Run: 17, Total: 30\n" in demos[name].out


@newest
def test_the_environment_does_not_change_the_demo(demos, example):
    demo = demos["odd"]

    assert (demo.process.returncode, demo.err) == (0, "")
    assert f"version.raw: {GUNICORN_VERSION}\n" in demo.out
    assert sorted(demo_server.EXAMPLE.iterdir()) == example
    assert sorted(path.name for path in demo.folder.iterdir()) == ["gunicorn.conf.py", "gunicorn.py"]


@newest
def test_concurrent_demos_do_not_count_each_others_workers(demos):
    for name in ["plain", "odd"]:
        assert IDLE in demos[name].out
        assert re.search(rf"\n        gunicorn\.threads +gauge  {WORKERS} +process_role:worker\n", demos[name].out)


@newest
@pytest.mark.parametrize("name", ["unread", "watched"])
def test_a_closed_pipe(demos, name):
    demo = demos[name]

    assert (demo.process.returncode, demo.err) == (0, "")
    assert servers_of(demo.process.pid) == []


@newest
def test_pages_until_ctrl_c(tmp_path):
    with start("demo", "--watch", "0.2", cwd=tmp_path) as process:
        name = f"demo-{process.pid}"
        pages = ""
        for line in process.stdout:
            pages += line
            # The last row of a page.
            if pages.count("\n  gunicorn.workers ") == 3:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    assert "Running the check every 0.2 seconds, until Ctrl-C\n" in pages
    assert "Total Runs: 3\n" in pages
    # Gunicorn counts the long requests when they end, before the next page.
    assert re.findall(rf"\n  gunicorn\.requests +c +(\d+) +1 +app:{name}\n", pages) == ["24", "54", "84"]
    assert [pages.count(part) for part in [IDLE, WORKING, LESSON]] == [3, 3, 3]
    if sys.platform == "linux":
        assert [len(re.findall(row, pages)) for row in [ACCEPTED, QUEUED]] == [3, 3]
        assert "Metric Samples: Last Run: 17, Total: 47\n" in pages
    assert servers_of(process.pid) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "Starting"),
        (signal.SIGINT, 130, "Sending"),
        (signal.SIGINT, 130, "Running"),
        (signal.SIGTERM, 143, "Running"),
        (signal.SIGHUP, 129, "Running"),
        (signal.SIGKILL, -signal.SIGKILL, "Starting"),
        (signal.SIGKILL, -signal.SIGKILL, "Running"),
    ],
)
def test_nothing_survives_a_signal(tmp_path, number, code, moment):
    with start("demo", cwd=tmp_path) as process:
        line = next(line for line in process.stdout if line.startswith(moment))
        wait_until(lambda: servers_of(process.pid), f"the server after {line!r}")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        left = servers_of(process.pid)

    assert (process.returncode, err) == (code, "")
    if number is signal.SIGKILL:
        # The demo is gone: the server exits by itself.
        wait_until(lambda: not servers_of(process.pid), "the server's end", seconds=10)
    else:
        assert left == []
    assert list(tmp_path.iterdir()) == []


@newest
def test_signals_during_the_cleanup_change_nothing(tmp_path):
    with start("demo", cwd=tmp_path) as process:
        next(line for line in process.stdout if line.startswith("Running"))
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        _, err = process.communicate(timeout=20)

    # After the demo's last instruction, the signal kills Python itself; a shell reports 130 in both cases.
    assert process.returncode in {130, -signal.SIGINT}
    assert err == ""
    assert servers_of(process.pid) == []


def test_the_demo_cleans_up_after_a_killed_master(tmp_path):
    with start("demo", cwd=tmp_path) as process:
        next(line for line in process.stdout if line.startswith("Running"))
        (master,) = psutil.Process(process.pid).children()
        master.kill()
        _, err = process.communicate(timeout=30)

    assert "Traceback" not in err
    wait_until(lambda: not servers_of(process.pid), "the orphans' end", seconds=2)


@pytest.mark.parametrize("package", ["gunicorn", "setproctitle"])
def test_without_the_packages_of_the_extra(capsys, monkeypatch, package):
    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(demo, "start_server", lambda *_: pytest.fail("a server was started"))

    assert main(["demo"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert f"the package {package} is missing: pip install 'datadog-gunicorn[demo]'\n" in err
    assert err.count("\n") == 1


@newest
def test_a_gunicorn_that_does_not_start(capsys, monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text("")
    (tmp_path / "example_app.py").write_text("raise RuntimeError('this app is broken\\x1b')")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)

    assert main(["demo"]) == 1

    out, err = capsys.readouterr()
    assert err.startswith("Gunicorn did not start\n")
    assert "RuntimeError: this app is broken\\x1b\n" in err
    assert "Collector" not in out
    assert servers_of(os.getpid()) == []


@newest
def test_a_gunicorn_that_is_never_ready(capsys, monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text("")
    (tmp_path / "example_app.py").write_text("def application(environ, start_response): pass")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)
    monkeypatch.setattr(demo_server, "_START_SECONDS", 0.8)

    assert main(["demo"]) == 1

    assert capsys.readouterr().err.startswith("Gunicorn was not ready after 0.8 seconds\n")
    assert servers_of(os.getpid()) == []


@newest
def test_an_interrupt_during_the_start(monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text("")
    (tmp_path / "example_app.py").write_text("def application(environ, start_response): pass")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)
    asked = []

    def check_interrupts():
        asked.append(time.monotonic())
        if len(asked) == 5:
            raise InterruptError(signal.SIGINT)

    with demo_server.start_server(f"demo-{os.getpid()}", "127.0.0.1:9") as server, pytest.raises(InterruptError):
        server.await_workers(check_interrupts)

    assert asked[-1] - asked[0] < 2


@newest
def test_an_app_that_fails(capsys, monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text((demo_server.EXAMPLE / "gunicorn_conf.py").read_text())
    (tmp_path / "example_app.py").write_text("import os\ndef application(environ, start_response): os._exit(1)")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)

    assert main(["demo"]) == 1

    assert capsys.readouterr().err.startswith("Gunicorn did not answer /: ")
    assert servers_of(os.getpid()) == []


def test_a_hanging_gunicorn_is_killed(monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text(
        "import os, signal, time\n"
        "def post_worker_init(worker): os.write(1, b'ready\\n')\n"
        "def when_ready(server):\n"
        "    for number in [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]: signal.signal(number, signal.SIG_IGN)\n"
    )
    (tmp_path / "example_app.py").write_text("def application(environ, start_response): pass")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)
    monkeypatch.setattr(demo_server, "_STOP_SECONDS", 0.2)

    with demo_server.start_server(f"demo-{os.getpid()}", "127.0.0.1:9") as server:
        server.await_workers(lambda: None)
        assert len(servers_of(os.getpid())) == 5

    assert servers_of(os.getpid()) == []


def test_the_port_is_free_again_afterwards():
    with demo_server.start_server(f"demo-{os.getpid()}", "127.0.0.1:9") as server:
        server.await_workers(lambda: None)
        assert server.client.get("/") == 200
        port = server.port

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
