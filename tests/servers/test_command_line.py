import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.servers.command_line import (
    Command,
    find_command,
    find_mention,
    find_script,
    is_python,
)

PYTHON, GUNICORN = "/venv/bin/python3.13", "/venv/bin/gunicorn"


@pytest.mark.parametrize(
    "start",
    [
        [GUNICORN],
        ["-m", "gunicorn"],
        ["-mgunicorn"],
        ["-m", "gunicorn.app.wsgiapp"],
        ["-u", "-X", "dev", GUNICORN],
        ["-uXdev", "-Wignore", "-W", "error", GUNICORN],
        ["-uBm", "gunicorn"],
        ["--check-hash-based-pycs", "never", GUNICORN],
        ["gunicorn"],
        ["/usr/bin/gunicorn3"],
        ["/usr/bin/gunicorn-3"],
        ["/usr/local/bin/gunicorn-3.13"],
        ["/nix/store/x-gunicorn/bin/.gunicorn-wrapped"],
        ["/srv/gunicorn.pex"],
        ["/srv/web.pex"],
        ["-I", "/srv/web.pyz"],
        ["-m", "cProfile", "-m", "gunicorn"],
        ["-mcProfile", "-o", "/dev/null", GUNICORN],
        ["-m", "coverage", "run", "--source", "app", "-m", "gunicorn.app.wsgiapp"],
        ["-m", "debugpy", "--listen", "5678", "-m", "gunicorn"],
        ["-m", "trace", "--count", "--module", "gunicorn"],
        ["/venv/bin/coverage", "run", "--data-file=/dev/null", "-m", "gunicorn"],
        ["/usr/bin/coverage-3.13", "run", GUNICORN],
        ["/venv/bin/debugpy", "--listen", "0", "-m", "gunicorn"],
        ["/ext/debugpy/launcher/../../debugpy", "--connect", "127.0.0.1:5678", "-m", "gunicorn"],
        ["/venv/bin/memray", "run", "-f", "-o", "/tmp/memory", "-m", "gunicorn"],
        ["/venv/bin/pyinstrument", "-m", "gunicorn"],
        ["/venv/bin/viztracer", "-o", "/tmp/trace.json", "--", "gunicorn"],
        # What the files of pex 2.105.2 run: first with their default layout, then with --venv.
        ["-I", "/root/.cache/pex/unzipped_pexes/4/facdfa2aca9b3a979d2bcedda6d5a06b7f548c33"],
        ["-I", "-I", "/root/.cache/pex/venvs/4/7c6591eb33f5acddfa3ad76326ffd0d637df923b/b73db0ce39c70e32/pex"],
        ["/venv/lib/python3.13/site-packages/gunicorn/__main__.py"],
        ["/venv/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py"],
    ],
    ids=" ".join,
)
def test_the_arguments_of_gunicorn(start):
    arguments = ("-m", "7", "-n", "web1", "app:app")
    assert find_command((PYTHON, *start, *arguments)).arguments == arguments


@pytest.mark.parametrize(
    "program", ["python", "/usr/bin/python3", "/opt/Python.app/Contents/MacOS/Python", "pypy", "/usr/bin/pypy3.11"]
)
def test_any_python(program):
    assert find_command((program, GUNICORN, "app:app")) == Command(("app:app",), certain=True)


@pytest.mark.parametrize(
    "cmdline",
    [
        [],
        [""],
        [PYTHON],
        [PYTHON, "-m"],
        [PYTHON, "-c", "import gunicorn", GUNICORN],
        [PYTHON, "-", GUNICORN],
        [PYTHON, "-u", "-", "-m", "gunicorn"],
        [PYTHON, "/srv/trace", "gunicorn"],
        [PYTHON, "/venv/bin/coverage", "html", "-d", "report"],
        [PYTHON, "/venv/bin/coverage_run", "gunicorn"],
        [PYTHON, "/usr/bin/gunicorn_exporter"],
        [PYTHON, "/srv/apex"],
        [PYTHON, "-m", "pytest", "gunicorn"],
        [PYTHON, "manage.py", "gunicorn"],
        [PYTHON, "serve.py", "web.pyz"],
        [PYTHON, "-m", "cProfile", "manage.py", "runserver"],
        [PYTHON, "-m", "cProfile", "-m", "manage", "-n", "-m"],
        [PYTHON, "-m", "cProfile", "gunicorn.app.wsgiapp", "-m"],
        [PYTHON, "-m", "coverage", "run", "-m", "pytest", "tests/gunicorn"],
        [PYTHON, "/usr/bin/gunicorn-wsgi"],
        [PYTHON, "/srv/pregunicorn3"],
        ["/srv/web.pyz", "app:app"],
        ["bpython", GUNICORN],
        [PYTHON, "/usr/bin/gunicorn-monitor"],
        [PYTHON, "/srv/gunicorn/run.py"],
        [PYTHON, "/srv/mygunicorn/__main__.py"],
        ["sh", "-c", "gunicorn app:app"],
        ["/bin/sh", GUNICORN, "app:app"],
        ["uv", "run", "gunicorn", "app:app"],
        ["vim", GUNICORN],
        [GUNICORN, "app:app"],
        ["gunicorn: master [web]"],
    ],
    ids=" ".join,
)
def test_other_programs_are_not_gunicorn(cmdline):
    assert find_command(tuple(cmdline)) is None


@given(st.lists(st.text() | st.sampled_from(["-m", "-n", "--name", "gunicorn", "--", "-X", "--proxy-protocol"])))
def test_any_command_line_is_parsed_without_an_error(cmdline):
    find_command(("python", *cmdline))
    find_script(("python", *cmdline))
    assert find_command(("python", "gunicorn", *cmdline)) == Command(tuple(cmdline), certain=True)
    is_python(tuple(cmdline))
    find_mention(tuple(cmdline))
    assert find_command(tuple(cmdline)) is None or cmdline[0].lower().rpartition("/")[2].startswith(("python", "pypy"))


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([GUNICORN, "app:app"], Command(("app:app",), certain=True)),
        (["/srv/gunicorn.pyz", "app:app"], Command(("app:app",), certain=True)),
        (["/srv/web.pyz", "app:app"], Command(("app:app",), certain=False)),
        (["/srv/web.pex"], Command((), certain=False)),
        (["/cache/unzipped_pexes/4/facdfa2a", "app:app"], Command(("app:app",), certain=False)),
        (["/cache/venvs/4/7c6591eb/b73db0ce/pex", "app:app"], Command(("app:app",), certain=False)),
        (["-m", "cProfile", "-m", "gunicorn", "-m", "7", "app:app"], Command(("-m", "7", "app:app"), certain=True)),
    ],
    ids=str,
)
def test_whether_the_script_is_certainly_gunicorn(arguments, command):
    assert find_command((PYTHON, *arguments)) == command


@pytest.mark.parametrize(
    ("cmdline", "script"),
    [
        ([PYTHON, "/srv/serve.py", "--port", "80"], "/srv/serve.py"),
        ([PYTHON, "-u", "-X", "dev", "serve.py"], "serve.py"),
        ([PYTHON, "-m", "serve", "x.py"], "serve"),
        ([PYTHON, "-Im", "serve"], "serve"),
        (["pypy3", "serve.py"], "serve.py"),
        ([PYTHON], "python3.13 -"),
        ([PYTHON, "-"], "python3.13 -"),
        (["python", "-u", "-", "--name", "serve.py"], "python -"),
        (["python", "-c", "serve('SECRET')", "serve.py"], "python -c"),
        (["python", "-uBc", "serve('SECRET')"], "python -c"),
        (["python", "-cserve('SECRET')"], "python -c"),
        ([PYTHON, "-m"], "python3.13 -m"),
        (["sh", "serve.py"], None),
        ([], None),
    ],
    ids=str,
)
def test_the_script_that_runs(cmdline, script):
    assert find_script(tuple(cmdline)) == script


@pytest.mark.parametrize(
    ("cmdline", "mention"),
    [
        (["sh", "-c", "SECRET=x exec /venv/bin/gunicorn app:app"], "sh ... /venv/bin/gunicorn"),
        (["launcher", GUNICORN, "-e", "SECRET=x", "app:app"], f"launcher ... {GUNICORN}"),
        (["poetry", "run", "gunicorn"], "poetry ... gunicorn"),
        (["env", "/nix/bin/.gunicorn-wrapped"], "env ... /nix/bin/.gunicorn-wrapped"),
        (["sudo", "-u", "dd-agent", "datadog-agent", "check", "gunicorn"], None),
        (["journalctl", "-fu", "gunicorn"], None),
        (["tail", "-f", "/var/log/gunicorn.log"], None),
        (["vim", "/etc/gunicorn/conf.py"], None),
        (["systemctl", "restart", "gunicorn.service"], None),
        (["sh", *["-x"] * 20, GUNICORN], None),
        ([], None),
    ],
    ids=str,
)
def test_mentions_of_gunicorn(cmdline, mention):
    assert find_mention(tuple(cmdline)) == mention
