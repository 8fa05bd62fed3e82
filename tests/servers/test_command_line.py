import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.servers.command_line import find_command, is_python, parse_arguments, runs_gunicorn

PYTHON, GUNICORN = "/venv/bin/python3.13", "/venv/bin/gunicorn"


def parse_argv(cmdline):
    command = find_command(cmdline)
    told = command and parse_arguments(command.arguments)
    return told and told.name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([GUNICORN, "-n", "web1", "app:app"], "web1"),
        ([GUNICORN, "-nweb1", "app:app"], "web1"),
        ([GUNICORN, "--name", "web1", "app:app"], "web1"),
        ([GUNICORN, "--name=web1", "app:app"], "web1"),
        ([GUNICORN, "--na=web1", "app:app"], "web1"),
        ([GUNICORN, "--name", " web 1 ", "app:app"], "web 1"),
        ([GUNICORN, "-w", "2", "-n", "web1", "-n", "web2", "app:app"], "web2"),
        ([GUNICORN, "-Dn", "web1", "app:app"], "web1"),
        ([GUNICORN, "app:app"], "app:app"),
        ([GUNICORN, "-w", "2", "app:app"], "app:app"),
        ([GUNICORN, "--preload", "app:app", "-w", "2"], "app:app"),
        ([GUNICORN, "-c", "conf.py", "gunicorn-test:app"], "gunicorn-test:app"),
        ([GUNICORN, "--config", "conf.py"], "gunicorn"),
        ([GUNICORN], "gunicorn"),
        ([GUNICORN, "-w2", "--", "app:app"], "app:app"),
        ([GUNICORN, "--name", "", "app:app"], "app:app"),
        ([GUNICORN, "--proxy-protocol", "app:app"], "app:app"),
        ([GUNICORN, "--proxy-protocol", "v2", "app:app"], "app:app"),
        ([GUNICORN, "app:app", "--from-a-later-release", "x"], "app:app"),
        ([GUNICORN, "--paste", "a.ini", "-b", ":80", "app:main('-n web1')"], "a.ini"),
        (["-m", "gunicorn", "-n", "web1", "app:app"], "web1"),
        (["-mgunicorn", "app:app"], "app:app"),
        (["-m", "gunicorn.app.wsgiapp", "app:app"], "app:app"),
        (["-u", "-X", "dev", GUNICORN, "app:app"], "app:app"),
        (["-uXdev", "-Wignore", "-W", "error", GUNICORN, "app:app"], "app:app"),
        (["-uBm", "gunicorn", "app:app"], "app:app"),
        (["--check-hash-based-pycs", "never", GUNICORN, "app:app"], "app:app"),
        (["gunicorn", "app:app"], "app:app"),
        (["/venv/lib/python3.13/site-packages/gunicorn/__main__.py", "app:app"], "app:app"),
        (["/venv/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py", "app:app"], "app:app"),
    ],
    ids=" ".join,
)
def test_the_name_in_the_arguments(words, name):
    assert parse_argv((PYTHON, *words)) == name


@pytest.mark.parametrize("program", ["python", "/usr/bin/python3", "/opt/Python.app/Contents/MacOS/Python"])
def test_any_python(program):
    assert parse_argv((program, GUNICORN, "app:app")) == "app:app"


@pytest.mark.parametrize(
    "cmdline",
    [
        [],
        [""],
        [PYTHON],
        [PYTHON, "-m"],
        [PYTHON, "-c", "import gunicorn", GUNICORN],
        [PYTHON, "-m", "pytest", "gunicorn"],
        [PYTHON, "manage.py", "gunicorn"],
        [PYTHON, "/usr/bin/gunicorn-monitor"],
        [PYTHON, "/srv/gunicorn/run.py"],
        [PYTHON, "/srv/mygunicorn/__main__.py"],
        ["sh", "-c", "gunicorn app:app"],
        ["/bin/sh", GUNICORN, "app:app"],
        ["uv", "run", "gunicorn", "app:app"],
        ["vim", GUNICORN],
        [GUNICORN, "app:app"],
        ["gunicorn: master [web]"],
        [PYTHON, GUNICORN, "--work", "2"],
        [PYTHON, GUNICORN, "app:app", "-n"],
    ],
    ids=" ".join,
)
def test_other_programs(cmdline):
    assert parse_argv(tuple(cmdline)) is None


@given(st.lists(st.text() | st.sampled_from(["-m", "-n", "--name", "gunicorn", "--", "-X", "--proxy-protocol"])))
def test_no_command_line_is_an_error(words):
    assert parse_argv(("python", *words)) != ""
    assert parse_argv(("python", "gunicorn", *words)) != ""
    parse_arguments(tuple(words))
    is_python(tuple(words))
    runs_gunicorn(tuple(words))
    assert find_command(tuple(words)) is None or words[0].lower().rpartition("/")[2].startswith(("python", "pypy"))
