import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.servers.arguments import _parser, parse_arguments


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-n", "web1", "app:app"], "web1"),
        (["-nweb1", "app:app"], "web1"),
        (["--name", "web1", "app:app"], "web1"),
        (["--name=web1", "app:app"], "web1"),
        (["--na=web1", "app:app"], "web1"),
        (["--name", " web 1 ", "app:app"], "web 1"),
        (["-w", "2", "-n", "web1", "-n", "web2", "app:app"], "web2"),
        (["-Dn", "web1", "app:app"], "web1"),
        (["app:app"], "app:app"),
        (["-w", "2", "app:app"], "app:app"),
        (["--preload", "app:app", "-w", "2"], "app:app"),
        (["-c", "conf.py", "gunicorn-test:app"], "gunicorn-test:app"),
        (["--config", "conf.py"], "gunicorn"),
        ([], "gunicorn"),
        (["-w2", "--", "app:app"], "app:app"),
        (["--name", "", "app:app"], "app:app"),
        (["--proxy-protocol", "app:app"], "app:app"),
        (["--proxy-protocol", "v2", "app:app"], "app:app"),
        (["app:app", "--from-a-later-release", "x"], "app:app"),
        (["--paste", "a.ini", "-b", ":80", "app:main('-n web1')"], "a.ini"),
        (["--paster=a.ini#main"], "a.ini"),
        (["--paste", "a.ini", "-n", "web1"], "web1"),
        (["--con", "conf.py", "app:app"], "app:app"),
        (["--forward=*", "app:app"], "app:app"),
        (["--con", "conf.py", "--forwarder-headers", "SCRIPT_NAME", "app:app"], "app:app"),
        (["--con", "conf.py", "--dirty-app", "tasks:Tasks", "app:app"], "app:app"),
        (["--log-conf", "log.ini", "app:app"], "app:app"),
        (["--dirty-app", "tasks:Tasks", "app:app"], "app:app"),
    ],
    ids=str,
)
def test_the_name_in_the_arguments(arguments, name):
    assert parse_arguments(tuple(arguments)).name == name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-n", "web", "app:app"), ("web", True, None, (), False)),
        (("app:app",), ("app:app", False, None, (), False)),
        (("--paste", "a.ini"), ("a.ini", False, "a.ini", (), False)),
        (("--paste", "a.ini#api"), ("a.ini", False, "a.ini", (), False)),
        (("--paste", "a.ini", "--chd", "/srv"), ("a.ini", False, None, (), False)),
        (("--paste", "/etc/a.ini", "--chdir=/srv"), ("/etc/a.ini", False, "/etc/a.ini", (), False)),
        (("--paste", "a.ini", "--name", "web"), ("web", True, None, (), False)),
        (("-b", ":80", "--bind=unix:/a b", "-D", "app:app"), ("app:app", False, None, (":80", "unix:/a b"), True)),
        (("--dae", "app:app"), ("app:app", False, None, (), True)),
        (("--dirty-app", "tasks:Tasks", "--proxy-p", "v1", "app:app"), ("app:app", False, None, (), False)),
        # An abbreviation that later releases find ambiguous.
        (("--con", "conf.py", "--proxy-p", "app:app"), ("app:app", False, None, (), False)),
        (("--work", "2"), None),
        (("app:app", "-n"), None),
    ],
    ids=str,
)
def test_what_arguments_say(arguments, expected):
    assert parse_arguments(arguments) == expected


@given(st.lists(st.text() | st.sampled_from(["-m", "-n", "--name", "gunicorn", "--", "--proxy-protocol"])))
def test_any_arguments_are_parsed_without_an_error(arguments):
    parsed = parse_arguments(tuple(arguments))
    assert parsed is None or parsed.name


@pytest.mark.every_gunicorn
def test_the_options_of_the_gunicorn_that_is_installed():
    """Each is in our parser, and takes as many values there."""
    installed, ours = list_options(Config().parser()), list_options(_parser())
    # A flag that takes an optional value in later releases.
    assert installed.pop("--proxy-protocol") in (0, "?")
    assert {option: ours.get(option, "missing") for option in installed} == installed


@pytest.mark.every_gunicorn
def test_the_abbreviations_of_the_gunicorn_that_is_installed():
    """Each that it finds unambiguous stands for the same option in our parser, which knows more options."""
    installed = Config().parser()
    options = [option for option in list_options(installed) if option.startswith("--")]
    prefixes = {option[:end] for option in options for end in range(3, len(option))} - {*options}
    unambiguous = {prefix: found for prefix in prefixes if len(found := expand(installed, prefix)) == 1}
    assert {prefix: expand(_parser(), prefix) for prefix in unambiguous} == unambiguous
    assert unambiguous["--na"] == ["--name"]


def list_options(parser):
    """Options with the number of values that each takes: 0, None for one, "?" for an optional one."""
    return {option: action.nargs for action in parser._actions for option in action.option_strings}


def expand(parser, abbreviation):
    """The options that an abbreviation may stand for."""
    return [option for _, option, *_ in parser._get_option_tuples(abbreviation)]
