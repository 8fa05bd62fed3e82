import pytest
from datadog_checks.base import ConfigurationError

from datadog_checks.gunicorn.settings import explain_unknown_options, parse_invalid
from tests.assertions import make_check

KNOWN = ["gunicorn", "metric_patterns", "min_collection_interval", "proc_name", "service", "tags"]


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("proc_nme", "proc_name"),
        ("procname", "proc_name"),
        ("Tags", "tags"),
        ("gunicorn_command", "gunicorn"),
        ("min_collection_intervall", "min_collection_interval"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest_known_one(option, nearest):
    assert list(explain_unknown_options("instances", [option, "tags"], KNOWN)) == [
        f"Option `{option}` in `instances` is unknown and has no effect. Did you mean `{nearest}`?"
    ]


@pytest.mark.parametrize(
    "option",
    [
        *("empty_default_hostname", "min_collection_interval", "name", "namespace", "no_index", "service", "tags"),
        *("loader", "process_isolation", "metric_patterns", "__memory_profiling_tags"),
    ],
)
@pytest.mark.parametrize("section", ["instances", "init_config"])
def test_options_that_the_agent_reads_are_known(option, section):
    assert not list(explain_unknown_options(section, [option], ["proc_name", "gunicorn"]))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (
            (
                "Detected 2 errors while loading configuration model `InstanceConfig`:\n"
                "a\n  Bad\nb -> 1\n  Value error, no\n"
            ),
            "Invalid configuration in `instances`: a: Bad; b -> 1: no",
        ),
        (
            "Detected 1 error while loading configuration model `SharedConfig`:\ngunicorn\n  Bad",
            "Invalid configuration in `init_config`: gunicorn: Bad",
        ),
        ("something else", "Invalid configuration in `instances`: something else"),
    ],
)
def test_an_invalid_configuration_is_one_line(message, error):
    assert str(parse_invalid(message)) == error


def test_an_option_that_is_not_a_string():
    assert "Option `5`" in next(explain_unknown_options("instances", [5], KNOWN))


@pytest.mark.parametrize(
    ("init_config", "instance", "command"),
    [
        ({}, {}, ("gunicorn",)),
        ({"gunicorn": "/venv/bin/gunicorn"}, {}, ("/venv/bin/gunicorn",)),
        (
            {"gunicorn": "/venv/bin/gunicorn"},
            {"gunicorn": "docker  exec web gunicorn"},
            ("docker", "exec", "web", "gunicorn"),
        ),
        ({"gunicorn": None}, {"gunicorn": None}, ("gunicorn",)),
    ],
)
def test_the_command(init_config, instance, command):
    settings = make_check("web", init_config, **instance)._settings
    assert settings.command == command
    assert settings.command_given == (command != ("gunicorn",))


def test_tags():
    assert make_check("web", tags=["team:a"])._settings.tags == ("team:a",)


@pytest.mark.parametrize(
    ("given", "bind"),
    [
        ({}, []),
        ({"bind": None}, []),
        ({"bind": []}, []),
        ({"bind": [":8000", "unix:/run/app.sock"]}, ["0.0.0.0:8000", "unix:/run/app.sock"]),
    ],
)
def test_bind(given, bind):
    assert [str(address) for address in make_check("web", **given)._settings.bind] == bind


@pytest.mark.parametrize(
    ("bind", "what_to_do"),
    [
        ("127.0.0.1:8000", "must be a list of addresses, such as `['127.0.0.1:8000']`"),
        (8000, "must be a list of addresses, such as `['127.0.0.1:8000']`"),
        ([8000], "must be a list of addresses, each in quotes; not 8000"),
        (["127.0.0.1:8000", "fd://3"], "'fd://3' is not an address"),
        (["web:8000"], "use the IP address instead of the name"),
        ([""], "is not an address"),
        (["nonsense"], "'nonsense' is not an address such as '127.0.0.1:8000'"),
    ],
)
def test_a_bad_bind_is_rejected_with_advice(bind, what_to_do):
    with pytest.raises(ConfigurationError, match=r"^Invalid configuration in `instances`: bind: ") as error:
        _ = make_check("web", bind=bind)._settings
    assert what_to_do in str(error.value)


@pytest.mark.parametrize(
    ("given", "collect"),
    [({}, True), ({"collect_connections": None}, True), ({"collect_connections": False}, False)],
)
def test_collect_connections(given, collect):
    assert make_check("web", **given)._settings.collect_connections is collect
