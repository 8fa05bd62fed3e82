import pytest
from datadog_checks.base import ConfigurationError

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn.servers.containers import Container
from datadog_checks.gunicorn.servers.selection import Discovery, Selection
from datadog_checks.gunicorn.settings import explain_unknown, explain_unknown_options, parse_invalid
from tests.assertions import make_check
from tests.host.test_cgroups import OWN, POD, UID

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
    ("option", "nearest"),
    [
        ("includ", "include"),
        ("exlude", "exclude"),
        ("max", "limit"),
        ("Limit", "limit"),
        # The Agent reads these elsewhere.
        ("service", "include"),
        ("tags", "limit"),
        (5, "limit"),
    ],
)
def test_an_unknown_option_of_discovery_is_named_with_the_nearest_known_one(option, nearest):
    (warning,) = explain_unknown({"discovery": {option: ["web"], "exclude": ["api"]}}, {})

    assert warning.startswith(f"Option `{option}` in `discovery` is unknown and has no effect.")
    assert warning.endswith(f"Did you mean `{nearest}`?")


@pytest.mark.parametrize("discovery", [None, [], "include", {}, {"include": ["web"]}])
def test_no_unknown_option_of_discovery(discovery):
    assert not list(explain_unknown({"discovery": discovery}, {}))


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


@pytest.mark.parametrize(
    ("instance", "selection"),
    [
        ({"proc_name": " web "}, Selection("web")),
        ({"container": OWN[:12]}, Selection(container=Container(OWN[:12], beginning=OWN[:12]))),
        ({"container": 4711}, Selection(container=Container("4711", pid=4711))),
        ({"container": f" {UID.upper()}"}, Selection(container=Container(UID.upper(), pod=POD))),
        ({"container": "4711", "proc_name": "web"}, Selection("web", Container("4711", pid=4711))),
        ({"discovery": {}}, Selection(discovery=Discovery(limit=100))),
        ({"discovery": {"include": None, "exclude": None}}, Selection(discovery=Discovery())),
        ({"discovery": {"include": [], "exclude": []}}, Selection(discovery=Discovery())),
        (
            {"discovery": {"include": ["^web", "api"], "exclude": ["(?i)TEST"], "limit": 5}},
            Selection(discovery=Discovery(("^web", "api"), ("(?i)TEST",), 5)),
        ),
    ],
)
def test_the_three_ways_to_select_servers(instance, selection):
    assert GunicornCheck("gunicorn", {}, [instance])._settings.selection == selection


@pytest.mark.parametrize(
    ("discovery", "what_to_do"),
    [
        (None, "must be a mapping, `{}` for every server of the host; not None"),
        ([], "must be a mapping, `{}` for every server of the host; not []"),
        (True, "must be a mapping, `{}` for every server of the host; not True"),
        ("all", "must be a mapping, `{}` for every server of the host; not 'all'"),
        ({"include": "web"}, "include must be a list of regular expressions, such as `['^web']`; not 'web'"),
        ({"include": [5]}, "include must be a list of regular expressions, each in quotes; not 5"),
        ({"exclude": ["("]}, "exclude must be a list of regular expressions; '(' is not one: missing )"),
        ({"limit": 0}, "limit must be a whole number of applications, at least 1; not 0"),
        ({"limit": "5"}, "limit must be a whole number of applications, at least 1; not '5'"),
    ],
)
def test_a_bad_discovery_is_rejected_with_advice(discovery, what_to_do):
    with pytest.raises(ConfigurationError, match=r"^Invalid configuration in `instances`: discovery: ") as error:
        _ = GunicornCheck("gunicorn", {}, [{"discovery": discovery}])._settings
    assert what_to_do in str(error.value)
    assert "\n" not in str(error.value)


WAYS = (
    "proc_name (the servers of one name), container (those of one container or pod) or discovery (every server of the "
    "host)"
)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({}, f"{WAYS} is required"),
        ({"tags": ["team:a"], "bind": ["127.0.0.1:80"]}, f"{WAYS} is required"),
        *(
            (
                {"discovery": {}, option: value},
                f"{option} cannot be combined with discovery; an instance takes either {WAYS}",
            )
            for option, value in [("proc_name", "web"), ("container", "4711"), ("bind", ["127.0.0.1:80"]), ("bind", [])]
        ),
    ],
)
def test_ways_to_select_servers_that_contradict_each_other(instance, message):
    with pytest.raises(ConfigurationError) as error:
        _ = GunicornCheck("gunicorn", {}, [instance])._settings
    assert str(error.value) == f"Invalid configuration in `instances`: {message}"
