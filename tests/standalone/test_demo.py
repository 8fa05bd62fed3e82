import importlib.metadata
import os
import re
import signal
import socket
import time

import psutil
import pytest

from datadog_checks.gunicorn.standalone import demo, demo_server
from datadog_checks.gunicorn.standalone.cli import main
from datadog_checks.gunicorn.standalone.interrupts import InterruptError
from tests.gunicorn_server import GUNICORN_VERSION, is_alive, wait_until

from .command import run, start

newest = pytest.mark.skipif(GUNICORN_VERSION != "27.0.1", reason="the same with every Gunicorn")


def servers_of(pid):
    """List the processes that a demo started: their command line, or title, names the demo."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if re.search(rf"\bdemo-{pid}\b", words) and is_alive(process.pid):
            found.append(process.pid)
    return found


def test_the_demo_shows_what_was_submitted_and_received_and_leaves_nothing(tmp_path):
    began = time.monotonic()

    with start("demo", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=30)

    assert time.monotonic() - began < 20
    assert (process.returncode, err) == (0, "")
    name = f"demo-{process.pid}"
    assert f"Starting Gunicorn {GUNICORN_VERSION} with 4 workers, called {name}\n" in out
    assert "[OK]\n" in out
    assert "Total Runs: 2\n" in out
    assert f"        version.raw: {GUNICORN_VERSION}\n" in out
    assert f"gunicorn.workers  gauge  2  app:{name}, state:idle\n" in out
    assert f"gunicorn.workers  gauge  2  app:{name}, state:working\n" in out
    assert f"gunicorn.is_running  OK  app:{name}\n" in out
    for metric, lines in [("requests  +c", 26), ("request.status.200  +c", 22), ("request.duration  +ms", 26)]:
        assert re.search(rf"\n  gunicorn\.{metric} +{lines} +[\d.]+ +app:{name}\n", out), metric
    assert re.search(rf"\n  gunicorn\.workers +g +1 +4 +app:{name}\n", out)
    assert servers_of(process.pid) == []
    assert list(tmp_path.iterdir()) == []


@newest
def test_the_environment_does_not_change_the_demo(tmp_path):
    environment = {
        "GUNICORN_CMD_ARGS": "--workers 1 --pid gunicorn.pid --access-logfile access.log --name other",
        "WEB_CONCURRENCY": "3",
        "LISTEN_FDS": "1",
        "PATH": os.defpath,
    }
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "gunicorn.py").write_text("raise SystemExit('not this one')")

    example = sorted(demo_server.EXAMPLE.iterdir())

    ended = run("demo", cwd=tmp_path, env=environment)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"version.raw: {GUNICORN_VERSION}\n" in ended.stdout
    assert sorted(demo_server.EXAMPLE.iterdir()) == example
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gunicorn.conf.py", "gunicorn.py"]


@newest
def test_two_demos_at_once(tmp_path):
    with start("demo", cwd=tmp_path) as one, start("demo", cwd=tmp_path) as other:
        outs = [one.communicate(timeout=30)[0], other.communicate(timeout=30)[0]]

    for process, out in zip([one, other], outs, strict=True):
        assert process.returncode == 0
        assert "Metric Samples: Last Run: 2, Total: 4\n" in out
        assert f"gunicorn.workers  gauge  2  app:demo-{process.pid}, state:idle\n" in out


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
        # Nobody is left to wait for the server: it ends by itself.
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

    # Python itself dies of the signal when it comes after the demo's last instruction; a shell says 130 of both.
    assert process.returncode in {130, -signal.SIGINT}
    assert err == ""
    assert servers_of(process.pid) == []


def test_the_demo_cleans_up_after_a_master_that_somebody_killed(tmp_path):
    with start("demo", cwd=tmp_path) as process:
        next(line for line in process.stdout if line.startswith("Running"))
        (master,) = psutil.Process(process.pid).children()
        master.kill()
        _, err = process.communicate(timeout=30)

    assert "Traceback" not in err
    wait_until(lambda: not servers_of(process.pid), "the orphans' end", seconds=2)


@newest
def test_a_reader_that_has_gone(tmp_path):
    with start("demo", cwd=tmp_path) as process:
        process.stdout.close()
        err = process.stderr.read()

    assert (process.returncode, err) == (0, "")
    assert servers_of(process.pid) == []


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
    (tmp_path / "app.py").write_text("raise RuntimeError('this app is broken\\x1b')")
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
    (tmp_path / "app.py").write_text("def application(environ, start_response): pass")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)
    monkeypatch.setattr(demo_server, "_START_SECONDS", 1.5)

    assert main(["demo"]) == 1

    assert capsys.readouterr().err.startswith("Gunicorn was not ready after 1.5 seconds\n")
    assert servers_of(os.getpid()) == []


@newest
def test_an_interrupt_during_the_start(monkeypatch, tmp_path):
    (tmp_path / "gunicorn_conf.py").write_text("")
    (tmp_path / "app.py").write_text("def application(environ, start_response): pass")
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
    (tmp_path / "app.py").write_text("import os\ndef application(environ, start_response): os._exit(1)")
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
    (tmp_path / "app.py").write_text("def application(environ, start_response): pass")
    monkeypatch.setattr(demo_server, "EXAMPLE", tmp_path)
    monkeypatch.setattr(demo_server, "_STOP_SECONDS", 0.5)

    with demo_server.start_server(f"demo-{os.getpid()}", "127.0.0.1:9") as server:
        server.await_workers(lambda: None)
        assert len(servers_of(os.getpid())) == 5

    assert servers_of(os.getpid()) == []


def test_the_port_is_free_again_afterwards():
    with demo_server.start_server(f"demo-{os.getpid()}", "127.0.0.1:9") as server:
        server.await_workers(lambda: None)
        assert server.get("/") == 200
        port = server._port

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
