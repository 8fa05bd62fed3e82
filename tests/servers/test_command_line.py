import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.servers.command_line import (
    Command,
    _parser,
    find_command,
    find_mention,
    find_script,
    is_python,
    parse_arguments,
)
from tests.gunicorn_server import GUNICORN_VERSION

PYTHON, GUNICORN = "/venv/bin/python3.13", "/venv/bin/gunicorn"


def parse_argv(cmdline):
    command = find_command(cmdline)
    parsed = command and parse_arguments(command.arguments)
    return parsed and parsed.name


@pytest.mark.parametrize(
    ("arguments", "name"),
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
        ([GUNICORN, "--paster=a.ini#main"], "a.ini"),
        ([GUNICORN, "--paste", "a.ini", "-n", "web1"], "web1"),
        ([GUNICORN, "--con", "conf.py", "app:app"], "app:app"),
        ([GUNICORN, "--forward=*", "app:app"], "app:app"),
        ([GUNICORN, "--dirty-app", "tasks:Tasks", "app:app"], "app:app"),
        (["-m", "gunicorn", "-n", "web1", "app:app"], "web1"),
        (["-mgunicorn", "app:app"], "app:app"),
        (["-m", "gunicorn.app.wsgiapp", "app:app"], "app:app"),
        (["-u", "-X", "dev", GUNICORN, "app:app"], "app:app"),
        (["-uXdev", "-Wignore", "-W", "error", GUNICORN, "app:app"], "app:app"),
        (["-uBm", "gunicorn", "app:app"], "app:app"),
        (["--check-hash-based-pycs", "never", GUNICORN, "app:app"], "app:app"),
        (["gunicorn", "app:app"], "app:app"),
        (["/usr/bin/gunicorn3", "app:app"], "app:app"),
        (["/usr/bin/gunicorn-3", "app:app"], "app:app"),
        (["/usr/local/bin/gunicorn-3.13", "app:app"], "app:app"),
        (["/nix/store/x-gunicorn/bin/.gunicorn-wrapped", "app:app"], "app:app"),
        (["/srv/gunicorn.pex", "app:app"], "app:app"),
        (["/srv/web.pex", "-n", "web1", "app:app"], "web1"),
        (["-I", "/srv/web.pyz", "-n", "web1", "app:app"], "web1"),
        (["-m", "cProfile", "-m", "gunicorn", "app:app"], "app:app"),
        (["-mcProfile", "-o", "/dev/null", GUNICORN, "app:app"], "app:app"),
        (["-m", "coverage", "run", "--source", "app", "-m", "gunicorn.app.wsgiapp", "-m", "7", "app:app"], "app:app"),
        (["-m", "debugpy", "--listen", "5678", "-m", "gunicorn", "app:app"], "app:app"),
        (["-m", "trace", "--count", "--module", "gunicorn", "app:app"], "app:app"),
        (["/venv/lib/python3.13/site-packages/gunicorn/__main__.py", "app:app"], "app:app"),
        (["/venv/lib/python3.13/site-packages/gunicorn/app/wsgiapp.py", "app:app"], "app:app"),
    ],
    ids=" ".join,
)
def test_the_name_in_the_arguments(arguments, name):
    assert parse_argv((PYTHON, *arguments)) == name


@pytest.mark.parametrize(
    "program", ["python", "/usr/bin/python3", "/opt/Python.app/Contents/MacOS/Python", "pypy", "/usr/bin/pypy3.11"]
)
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
        [PYTHON, GUNICORN, "--work", "2"],
        [PYTHON, GUNICORN, "app:app", "-n"],
    ],
    ids=" ".join,
)
def test_other_programs_are_not_gunicorn(cmdline):
    assert parse_argv(tuple(cmdline)) is None


@given(st.lists(st.text() | st.sampled_from(["-m", "-n", "--name", "gunicorn", "--", "-X", "--proxy-protocol"])))
def test_any_command_line_is_parsed_without_an_error(cmdline):
    assert parse_argv(("python", *cmdline)) != ""
    assert parse_argv(("python", "gunicorn", *cmdline)) != ""
    parse_arguments(tuple(cmdline))
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
        (["-m", "cProfile", "-m", "gunicorn", "-m", "7", "app:app"], Command(("-m", "7", "app:app"), certain=True)),
    ],
    ids=str,
)
def test_whether_the_script_is_certainly_gunicorn(arguments, command):
    assert find_command((PYTHON, *arguments)) == command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-n", "web", "app:app"), ("web", True, None, (), False)),
        (("app:app",), ("app:app", False, None, (), False)),
        (("--paste", "a.ini"), ("a.ini", False, "a.ini", (), False)),
        (("--paste", "a.ini#api"), ("a.ini", False, "a.ini", (), False)),
        (("--paste", "a.ini", "--name", "web"), ("web", True, None, (), False)),
        (("-b", ":80", "--bind=unix:/a b", "-D", "app:app"), ("app:app", False, None, (":80", "unix:/a b"), True)),
        (("--dae", "app:app"), ("app:app", False, None, (), True)),
        # An option of later releases, and an abbreviation that they find ambiguous.
        (("--dirty-app", "tasks:Tasks", "--proxy-p", "v1", "app:app"), ("app:app", False, None, (), False)),
        (("--con", "conf.py", "--proxy-p", "app:app"), ("app:app", False, None, (), False)),
        (("--work", "2", "app:app"), None),
        (("app:app", "-n"), None),
    ],
    ids=str,
)
def test_what_arguments_say(arguments, expected):
    assert parse_arguments(arguments) == expected


@pytest.mark.parametrize(
    ("cmdline", "script"),
    [
        ([PYTHON, "/srv/serve.py", "--port", "80"], "/srv/serve.py"),
        ([PYTHON, "-u", "-X", "dev", "serve.py"], "serve.py"),
        ([PYTHON, "-m", "serve", "x.py"], "serve"),
        ([PYTHON, "-Im", "serve"], "serve"),
        (["pypy3", "serve.py"], "serve.py"),
        ([PYTHON], None),
        ([PYTHON, "-m"], ""),
        ([PYTHON, "-c", "serve()", "serve.py"], None),
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


@pytest.mark.every_gunicorn
def test_the_options_of_the_gunicorn_that_is_installed():
    """Each is in our parser, and takes as many values there."""
    installed, ours = list_options(Config().parser()), list_options(_parser(later=True))
    # A flag that takes an optional value in later releases.
    assert installed.pop("--proxy-protocol") in (0, "?")
    assert {option: ours.get(option, "missing") for option in installed} == installed


@pytest.mark.every_gunicorn
@pytest.mark.skipif(GUNICORN_VERSION != "20.1.0", reason="for Gunicorn 20.1.0")
def test_the_options_of_the_oldest_gunicorn():
    """An abbreviation is unique among these only if there are no others."""
    installed, ours = list_options(Config().parser()), list_options(_parser(later=False))
    # An option of earlier releases.
    assert ours.keys() - installed.keys() <= {"--log-config-dict"}
    assert {option: ours.get(option, "missing") for option in installed} == installed


def list_options(parser):
    """Options with the number of values that each takes: 0, None for one, "?" for an optional one."""
    return {option: action.nargs for action in parser._actions for option in action.option_strings}
