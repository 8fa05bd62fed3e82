"""Servers without process titles, started in many ways: some are found, and warnings explain the others."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipapp
from pathlib import Path

import psutil
import pytest

from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.servers.roles import catches_all_of_master
from tests.assertions import assert_not_found, assert_total, make_check, run
from tests.gunicorn_server import (
    APPS,
    GUNICORN,
    GUNICORN_VERSION,
    run_gunicorn,
    temporary_folder,
    unique,
    wait_until,
)

pytestmark = pytest.mark.every_gunicorn

COVERAGE = str(Path(sys.executable).with_name("coverage"))
DEBUGPY = str(Path(sys.executable).with_name("debugpy"))
EMBEDDED = "from gunicorn.app.wsgiapp import run; run()"

oldest = pytest.mark.skipif(GUNICORN_VERSION != "20.1.0", reason="later releases find the abbreviation ambiguous")


@pytest.fixture
def folder():
    with temporary_folder() as path:
        yield path


@pytest.fixture
def interpreter(folder, monkeypatch):
    """Give the interpreter of the tests another name; it finds Gunicorn although the new path is in no venv."""
    monkeypatch.setattr("tests.gunicorn_server.PYTHONPATH", [APPS, sysconfig.get_path("purelib")])

    def link(name):
        (folder / name).symlink_to(sys.executable)
        return str(folder / name)

    return link


@pytest.fixture
def archive(folder, monkeypatch):
    """Build an application in one file with zipapp, as shiv does: it runs in place, unlike most files of pex."""
    monkeypatch.setattr("tests.gunicorn_server.PYTHONPATH", [APPS, sysconfig.get_path("purelib")])

    def build(name, main="gunicorn.app.wsgiapp:run"):
        source = folder / "source"
        source.mkdir()
        # The first line of a script cannot name a path that has a blank in it.
        (folder / "python").symlink_to(sys.executable)
        zipapp.create_archive(source, folder / name, str(folder / "python"), main)
        return str(folder / name)

    return build


def assert_found(*arguments, **options):
    with run_gunicorn(*arguments, **options, titled=False) as server:
        assert_total(run(make_check(server.name)), 2)


@pytest.mark.parametrize("name", ["gunicorn3", "gunicorn-3", "gunicorn-3.13", ".gunicorn-wrapped"])
def test_scripts_of_distributions(name, folder):
    (folder / name).symlink_to(GUNICORN)
    assert_found(command=[str(folder / name)])


@pytest.mark.parametrize("name", ["gunicorn.pex", "web.pyz"])
def test_archives(name, archive):
    assert_found(command=[archive(name)])


@pytest.mark.parametrize(
    ("script", "start"),
    [
        ("unzipped_pexes/4/facdfa2a/__main__.py", "unzipped_pexes/4/facdfa2a"),
        ("venvs/4/7c6591eb/b73db0ce/pex", "venvs/4/7c6591eb/b73db0ce/pex"),
    ],
    ids=["folder", "script"],
)
def test_what_a_pex_runs(script, start, folder):
    """What pex 2.105 leaves in its cache: a folder with a `__main__.py`, or an environment with a script `pex`."""
    (folder / script).parent.mkdir(parents=True)
    (folder / script).write_text(EMBEDDED)
    assert_found(command=[sys.executable, str(folder / start)])


def test_an_archive_run_by_an_interpreter_with_options(archive):
    assert_found(command=[sys.executable, "-u", "-X", "dev", archive("web.pyz")])


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "cProfile", "-o", "/dev/null", "-m", "gunicorn"],
        ["-m", "cProfile", "-o", "/dev/null", GUNICORN],
        ["-m", "coverage", "run", "--data-file=/dev/null", "--include=app.py", "-m", "gunicorn"],
        [COVERAGE, "run", "--data-file=/dev/null", "--include=app.py", "-m", "gunicorn"],
        ["-X", "dev", "-m", "gunicorn"],
        ["-Xdev", GUNICORN],
    ],
    ids=["cProfile module", "cProfile script", "coverage", "script of coverage", "-X dev module", "-Xdev script"],
)
def test_gunicorn_behind_options_and_other_programs(command):
    assert_found(command=[sys.executable, *command])


@pytest.mark.parametrize(
    "command",
    [
        ["env", "-S", f"'{sys.executable}' -u '{GUNICORN}'"],
        [sys.executable, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", GUNICORN],
        ["sh", "-c", '"$@"; exit', "sh", GUNICORN],
    ],
    ids=["env -S", "exec", "fork"],
)
def test_wrappers(command):
    """Programs that exec Gunicorn, as ddtrace-run and opentelemetry-instrument do, or start it, as `uv run` does."""
    assert_found(command=command)


@pytest.mark.parametrize("gunicorn", [["-m", "gunicorn"], [GUNICORN]], ids=["module", "script"])
@pytest.mark.parametrize("start", [["-m", "debugpy"], [DEBUGPY]], ids=["-m", "console script"])
def test_debugpy(start, gunicorn):
    pytest.importorskip("debugpy", reason="needs debugpy")
    assert_found(command=[sys.executable, "-Xfrozen_modules=off", *start, "--listen", "127.0.0.1:0", *gunicorn])


def test_pypy(interpreter):
    assert_found(command=[interpreter("pypy3"), GUNICORN])


@oldest
@pytest.mark.parametrize("abbreviated", [("--con", "{}"), ("--con={}",), ("--forward=*",)], ids=" ".join)
def test_abbreviations(abbreviated, folder):
    (config := folder / "conf.py").touch()
    assert_found(*(argument.format(config) for argument in abbreviated))


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
def test_paste(is_absolute, folder):
    pytest.importorskip("paste.deploy", reason="needs PasteDeploy")
    config = folder / "web.ini"
    config.write_text("[app:main]\npaste.app_factory = pasted:make_app\n")
    given = config if is_absolute else os.path.relpath(config, APPS)
    assert_found(name=str(config), app=f"--paste={given}#main")


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
def test_paste_and_another_directory(is_absolute, folder):
    """Gunicorn resolves the path before it changes directory, so from outside a relative one stays as it was given."""
    pytest.importorskip("paste.deploy", reason="needs PasteDeploy")
    config = folder / "web.ini"
    config.write_text("[app:main]\npaste.app_factory = pasted:make_app\n")
    given = str(config if is_absolute else os.path.relpath(config, APPS))
    assert_found(f"--chdir={folder}", name=given, app=f"--paste={given}")


def test_upgrade_of_an_archive(archive):
    with run_gunicorn(command=[archive("web.pyz")], titled=False) as server:
        check = make_check(server.name)
        assert_total(run(check), 2)
        server.signal(signal.SIGUSR2)
        server.await_workers(4)
        for watched in (check, make_check(server.name)):
            assert_total(run(watched), 4)
        server.signal(signal.SIGTERM)
        wait_until(lambda: len(server.workers()) == 2, "the end of the old workers", server.explain)
        wait_until(lambda: server.process.poll() is not None, "the old master's end", server.explain)
        assert_total(run(check), 2)


@pytest.mark.usefixtures("all_names_are_shown")
class TestServersThatAreNotFound:
    def warn_about(self, proc_name):
        """The warnings of a check that finds no server of this name."""
        check = make_check(proc_name)
        assert_not_found(run(check), proc_name)
        return check.get_warnings()

    def test_an_embedded_server(self, folder):
        script = folder / "serve.py"
        shutil.copy(APPS / "embedded.py", script)
        with run_gunicorn(command=[sys.executable, str(script)], titled=False) as server:
            (warning,) = [text for text in self.warn_about(server.name) if f"`{script}`" in text]
            assert warning.startswith("Python programs run Gunicorn without a process title")
            assert "Install setproctitle" in warning

    def test_an_embedded_server_without_a_script(self, folder):
        (script := folder / "serve.py").write_text(EMBEDDED)
        from_stdin = ["sh", "-c", f'exec "$0" -u - "$@" < {script}', sys.executable]
        for option, command in (("-c", [sys.executable, "-c", EMBEDDED]), ("-", from_stdin)):
            with run_gunicorn(command=command, titled=False) as server:
                (warning,) = [text for text in self.warn_about(server.name) if "Python programs" in text]
                assert f"`{os.path.basename(sys.executable)} {option}`" in warning
                assert EMBEDDED not in warning

    def test_a_server_of_an_unknown_interpreter(self, interpreter):
        launcher = interpreter("launcher")
        with run_gunicorn(command=[launcher, GUNICORN], titled=False) as server:
            (warning,) = [text for text in self.warn_about(server.name) if launcher in text]
            assert warning.startswith("Processes mention gunicorn but were not recognized as servers")
            assert "install setproctitle" in warning

    def test_a_shell_that_runs_a_script_called_gunicorn(self, folder):
        launcher, script = folder / "launcher", folder / "gunicorn"
        launcher.symlink_to("/bin/sh")
        script.write_text("sleep 60\nexit\n")
        name = unique("web")
        with started([str(launcher), str(script), "-n", name, "app:app"]):
            (warning,) = [text for text in self.warn_about(name) if str(launcher) in text]
            assert warning.startswith("Processes mention gunicorn but were not recognized as servers")

    def test_a_wrapper_of_a_server_is_not_mentioned(self, folder):
        command = ["sh", "-c", f': {folder}; "$@"; exit', "sh", GUNICORN]
        with run_gunicorn(command=command, titled=False) as server:
            assert psutil.Process(server.master).ppid() == server.process.pid
            warnings = self.warn_about(unique("missing"))
            assert any(f"`{server.name}`" in text for text in warnings)
            assert not any(str(folder) in text for text in warnings)

    @pytest.mark.parametrize("name", ["prefork", "gunicorn_exporter", "gunicorn-monitor.py"])
    def test_another_server_that_catches_the_same_signals(self, name, folder):
        (script := folder / name).write_text(
            "import signal\n"
            "for name in 'HUP USR2 CHLD QUIT INT TERM TTIN TTOU USR1 WINCH'.split():\n"
            "    signal.signal(signal.Signals[f'SIG{name}'], lambda *_: None)\n"
            "while True:\n"
            "    signal.pause()\n"
        )
        proc_name = unique("web")
        with started([sys.executable, str(script), "-n", proc_name, "app:app"]) as pid:
            wait_until(lambda: catches_all_of_master(procfs.read_caught(pid)), "its signal handlers")
            assert any(f"`{script}`" in text for text in self.warn_about(proc_name))

    def test_a_script_called_gunicorn_of_another_project(self, folder):
        (script := folder / "gunicorn.py").write_text("import signal\nsignal.pause()\n")
        name = unique("web")
        with started([sys.executable, str(script), "-n", name, "app:app"]):
            self.warn_about(name)

    def test_an_archive_of_another_application(self, archive):
        name = unique("web")
        with started([archive("other.pyz", main="code:interact"), "-n", name, "app:app"], stdin=subprocess.PIPE):
            assert not any("other.pyz" in text for text in self.warn_about(name))


@contextlib.contextmanager
def started(command, stdin=subprocess.DEVNULL):
    """Run something that is not Gunicorn, yield its pid, and kill it with its children."""
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: command[0] in psutil.Process(process.pid).cmdline(), "its command line")
            yield process.pid
        finally:
            for member in [*psutil.Process(process.pid).children(), process]:
                member.kill()
