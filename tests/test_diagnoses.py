import pytest

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn.diagnoses import Finding, diagnose, explain_absence, explain_missing_connections
from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.host.processes import Absence
from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.pool.registry import Host
from datadog_checks.gunicorn.servers.applications import Assignment, Hint, Scan
from datadog_checks.gunicorn.servers.containers import parse_container
from datadog_checks.gunicorn.servers.selection import Selection
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.control_group import Obstacle, Reason, name_shared
from tests.host.test_cgroups import OUTER, OWN, POD, STATIC, UID
from tests.servers.test_applications import titled, untitled


def masters(*seen):
    return [Assignment(process, process.name) for process in seen]


def names(*given):
    return [untitled(100 + number, name=name) for number, name in enumerate(given)]


def nameless(pid, application):
    """A server without a title or a `--name`: a configuration file may set its name."""
    return titled(pid, application, arguments=("--config", "conf.py", application))


@pytest.mark.parametrize(
    ("what", "scan", "seen", "findings"),
    [
        ("nothing at all", Scan(), [], []),
        (
            "other names, the nearest first",
            Scan(),
            masters(titled(1, "api"), titled(2, "Web"), titled(3, "api")),
            [
                Finding(
                    "other names",
                    "Gunicorn runs on this host under `Web`, `api`.",
                    "If `Web` was meant, set `proc_name` to it.",
                )
            ],
        ),
        (
            "no titles",
            Scan(),
            masters(nameless(1, "gunicorn-test:app")),
            [
                Finding(
                    "setproctitle",
                    "Gunicorn runs on this host without a process title, as `gunicorn-test:app`.",
                    "Install setproctitle for it and restart it, or set `proc_name` to `gunicorn-test:app`.",
                )
            ],
        ),
        (
            "no titles, but names that were given on purpose",
            Scan(),
            masters(*names("api")),
            [
                Finding(
                    "other names",
                    "Gunicorn runs on this host under `api`.",
                    "If `api` was meant, set `proc_name` to it.",
                )
            ],
        ),
        (
            "unreadable processes",
            Scan(unreadable=7),
            [],
            [
                Finding(
                    "unreadable processes",
                    "Processes of this host could not be read: 7.",
                    "Mount /proc without hidepid=1, or with gid= set to a group of the Agent's user.",
                )
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_explains_that_no_server_was_found(what, scan, seen, findings):
    assert list(explain_absence(Selection("web"), scan, seen)) == findings


def test_hidden_processes():
    (finding,) = explain_absence(Selection("web"), Scan(hides_others=True), [])
    assert "hidepid=2" in finding.remedy


def test_an_agent_in_a_container():
    (finding,) = explain_absence(Selection("web"), Scan(of_container=True), [])
    assert "procfs_path" in finding.remedy


def test_a_name_in_another_case_is_among_the_nearest():
    (finding,) = explain_absence(
        Selection("WEB"), Scan(), masters(titled(1, "web"), titled(2, "Web"), titled(3, "api"))
    )
    assert "`Web`, `web`, `api`" in finding.seen


def test_a_master_that_has_exited_since_is_not_suggested():
    assert not list(explain_absence(Selection("web"), Scan(), masters(titled(1, "web"))))


def test_a_server_without_an_explicit_name_comes_before_named_ones():
    first, second = explain_absence(
        Selection("web"), Scan(), masters(titled(1, "web2"), nameless(2, "app:app"), *names("web3"))
    )
    assert (first.name, second.name) == ("setproctitle", "other names")
    assert "`app:app`" in first.remedy
    assert "`web2`, `web3`" in second.seen


def test_many_names_are_counted():
    (finding,) = explain_absence(
        Selection("web3"), Scan(), masters(*(titled(number, f"web{number}") for number in range(10, 40)))
    )
    assert finding.seen.startswith("Gunicorn runs on this host under `web")
    assert finding.seen.endswith(" and 25 more.")


def test_names_of_other_processes_are_escaped_and_truncated():
    (finding,) = explain_absence(Selection("web"), Scan(), masters(titled(1, "\x1b[2J\n\u202e" + "x" * 3000)))
    for text in finding[1:]:
        assert text.isprintable()
        assert len(text) < 200
        assert "\\x1b[2J\\n\\u202e" in text


HERE, ELSEWHERE = Groups((OWN,), frozenset([POD])), Groups((OUTER,))
IN_CONTAINER = Selection("web", parse_container(OWN[:12]))


def within(groups, *seen):
    return [process._replace(groups=groups) for process in seen]


class TestInContainers:
    def test_only_servers_of_the_container_are_suggested(self):
        seen = masters(
            *within(HERE, titled(1, "Web"), nameless(2, "app:app")),
            *within(ELSEWHERE, titled(3, "web1"), nameless(4, "other:app")),
            titled(5, "web2"),
        )

        assert list(explain_absence(IN_CONTAINER, Scan(), seen)) == [
            Finding(
                "setproctitle",
                f"Gunicorn runs in container {OWN[:12]} without a process title, as `app:app`.",
                "Install setproctitle for it and restart it, or set `proc_name` to `app:app`.",
            ),
            Finding(
                "other names",
                f"Gunicorn runs in container {OWN[:12]} under `Web`.",
                "If `Web` was meant, set `proc_name` to it.",
            ),
        ]

    def test_only_programs_of_the_container_are_suggested(self):
        scan = Scan(
            embedded=(Hint("/here.py", HERE), Hint("/elsewhere.py", ELSEWHERE), Hint("/host.py")),
            mentions=(Hint("here gunicorn", HERE), Hint("elsewhere gunicorn", ELSEWHERE), Hint("host gunicorn")),
        )

        embedded, mentions = explain_absence(IN_CONTAINER, scan, [])

        assert embedded.seen == "Python programs run Gunicorn without a process title: `/here.py`."
        assert mentions.seen == "Processes mention gunicorn but were not recognized as servers: `here gunicorn`."

    def test_the_whole_host_is_suggested_to_an_instance_without_a_container(self):
        scan = Scan(embedded=(Hint("/here.py", HERE), Hint("/host.py")))
        seen = masters(*within(HERE, titled(1, "api")), titled(2, "shop"))

        names, embedded = explain_absence(Selection("web"), scan, seen)

        assert names.seen == "Gunicorn runs on this host under `api`, `shop`."
        assert embedded.seen.endswith(": `/here.py`, `/host.py`.")

    def test_nothing_is_suggested_from_elsewhere(self):
        seen = masters(*within(ELSEWHERE, titled(3, "api")), titled(5, "api"))

        assert not list(explain_absence(Selection(container=parse_container(OWN)), Scan(), seen))
        # No container is known for the pid.
        assert not list(explain_absence(Selection("web", parse_container("4711")), Scan(), seen))

    @pytest.mark.parametrize(
        ("container", "is_explained"),
        [(UID, True), (STATIC, True), (OWN[:12], False), ("4711", False), (None, False)],
    )
    def test_a_cgroup_namespace_of_the_agents_own_shows_no_pods(self, container, is_explained):
        selection = Selection("web", container and parse_container(container))

        findings = list(explain_absence(selection, Scan(has_own_groups=True), []))

        assert [finding.name for finding in findings] == (["control groups"] if is_explained else [])
        assert all("Set `container` to the id of the container" in finding.remedy for finding in findings)

    def test_a_pod_that_is_visible(self):
        assert not list(explain_absence(Selection("web", parse_container(UID)), Scan(), []))

    def test_hidden_processes_are_reported_for_containers_too(self):
        (finding,) = explain_absence(IN_CONTAINER, Scan(hides_others=True), [])
        assert finding.name == "hidden processes"


MISSING = "No metric `gunicorn.connections`: the server's listeners are unknown."
SEVERAL = "Its control group listens on `:80`, `unix:\\x1b{}`, and some of these may be another program's."
UNCLEAR = (
    "All its workers listen on `1`, `2`, `3`, `4`, `5` and 2 more, and some of these may be the application's own."
)
SET_BIND = "Set `bind` to its addresses."
READ_SOCKETS = "Only root with the capability SYS_PTRACE, or the server's user, can read its sockets."
OWN_GROUP = "Or start the server in a control group of its own, for instance as a service of systemd."


@pytest.mark.parametrize(
    ("obstacles", "seen", "remedy"),
    [
        ([], MISSING, f"{SET_BIND} {READ_SOCKETS}"),
        (
            [Obstacle(Reason.STRANGER, ("17", "18"))],
            f"{MISSING} Processes that do not belong to the server are in its control group: `17`, `18`.",
            f"{SET_BIND} {OWN_GROUP} {READ_SOCKETS}",
        ),
        (
            [Obstacle(Reason.OTHER_SERVER, ("17",)), Obstacle(Reason.SEVERAL_LISTENERS, (":80", "unix:\x1b{}"))],
            f"{MISSING} Another Gunicorn server is in its control group, with the master process `17`. {SEVERAL}",
            f"{SET_BIND} {READ_SOCKETS}",
        ),
        (
            [Obstacle(Reason.UNCLEAR, tuple(map(str, range(1, 8))))],
            f"{MISSING} {UNCLEAR}",
            SET_BIND,
        ),
    ],
    ids=["no server", "a crowded group", "two obstacles", "an application's own"],
)
def test_listeners_that_are_unknown(obstacles, seen, remedy):
    assert explain_missing_connections((), None, obstacles) == Finding("connections", seen, remedy)


def test_connections_of_servers_that_share_a_name():
    shared = [name_shared([parse_bind("unix:/run/web.sock")])]
    finding = explain_missing_connections([parse_bind("unix:/run/web.sock")], None, shared, is_hidden=False)
    assert "Several servers listen on `unix:/run/web.sock`" in finding.seen
    assert "SYS_PTRACE" not in finding.remedy


def test_the_rights_to_read_sockets_are_advised_only_where_they_are_missing():
    assert "SYS_PTRACE" in explain_missing_connections((), None).remedy
    assert "SYS_PTRACE" not in explain_missing_connections((), None, is_hidden=False).remedy


def test_bind_is_for_instances_without_discovery():
    remedy = "Set `bind` to its addresses, in an instance with `proc_name`, and `exclude` its name from `discovery`."
    assert explain_missing_connections((), None, is_hidden=False, is_discovered=True).remedy == remedy
    assert explain_missing_connections((), None, is_hidden=False).remedy == "Set `bind` to its addresses."


def test_a_wrong_bind_is_named_instead_of_obstacles():
    finding = explain_missing_connections([parse_bind(":80")], "web", [Obstacle(Reason.ROOT_GROUP)])
    assert finding.seen == (
        "No metric `gunicorn.connections` for `web`: no server listens on `0.0.0.0:80`, the value of the option `bind`."
    )


class HostOf(Host):
    """A host whose looks always return the same scan, and whose masters are the given ones."""

    def __init__(self, *seen, scan=None):
        super().__init__()
        self.found = masters(*seen)
        self._last = scan or Scan()

    def find_masters(self, *_, **__):
        return self.found

    def applications(self):
        return self.found


@pytest.fixture
def is_alive(monkeypatch):
    """Make the given candidates living processes, and return them."""
    known = {}

    def read_candidate(pid):
        return known.get(pid, Absence.GONE)

    monkeypatch.setattr("datadog_checks.gunicorn.pool.watched.read_candidate", read_candidate)
    return lambda *seen: known.update({process.identity.pid: process for process in seen}) or seen


@pytest.fixture
def asked(monkeypatch):
    """The programs that were asked for a version."""
    programs = []
    monkeypatch.setattr(
        "datadog_checks.gunicorn.diagnoses.read_version", lambda command: (programs.append(command), "27.0.1")[1]
    )
    return programs


def diagnose_instance(instance, *seen, init_config=None, **options):
    check = GunicornCheck("gunicorn", init_config or {}, [{"collect_connections": False, **instance}])
    fleet = Fleet(check._settings.selection, HostOf(*seen, **options))
    return [(found.name, found.result, found.seen) for found in diagnose(fleet, check._settings, with_version=True)]


@pytest.mark.usefixtures("asked")
class TestDiagnose:
    """What `agent diagnose` says of an instance with `container` or `discovery`."""

    def test_masters_by_container(self, is_alive):
        seen = is_alive(*within(HERE, titled(1, "web"), titled(2, "web")), titled(3, "api"))

        found = diagnose_instance({"discovery": {}}, *seen)

        assert found[:2] == [
            ("master", "success", "Found the master process of `web` in container 4f1c9a2b7d3e: 1, 2."),
            ("master", "success", "Found the master process of `api`: 3."),
        ]
        assert [name for name, _, _ in found] == ["master", "master", "cpu"]

    def test_a_host_without_servers_is_well(self):
        assert diagnose_instance({"discovery": {}}) == [
            ("master", "success", "No Gunicorn server that `discovery` selects is running.")
        ]
        (master, hidden) = diagnose_instance({"discovery": {}}, scan=Scan(hides_others=True))
        assert (master[1], hidden[0]) == ("success", "hidden processes")

    def test_a_container_without_servers(self, is_alive):
        seen = is_alive(titled(3, "api"))

        assert diagnose_instance({"container": OWN}, *seen) == [
            ("master", "fail", f"Found no master process in container {OWN}")
        ]

    def test_an_ambiguous_container(self, is_alive):
        other = OWN[:-1] + "1"
        seen = is_alive(*within(HERE, titled(1, "web")), *within(Groups((other,)), titled(2, "web")))

        ((name, result, text),) = diagnose_instance({"container": OWN[:12]}, *seen)

        assert (name, result) == ("container", "fail")
        assert text == f"container '{OWN[:12]}' may be any of {OWN}, {other}."

    def test_limits(self, is_alive):
        seen = is_alive(titled(1, "web"), titled(2, "api"), titled(3, "shop"))

        (warning,) = [found for found in diagnose_instance({"discovery": {"limit": 1}}, *seen) if found[0] == "limits"]

        assert warning[1] == "warning"
        assert warning[2].startswith(
            "Applications left out by `discovery`: 2, beyond its limit of 1. Raise its `limit`"
        )

    @pytest.mark.parametrize(
        ("instance", "is_running", "is_asked"),
        [
            ({"proc_name": "web", "gunicorn": "/g"}, True, True),
            ({"container": OWN, "gunicorn": "/g"}, True, True),
            ({"container": OWN, "gunicorn": "/g"}, False, True),
            # The host's own program may have another version than a server in a container.
            ({"proc_name": "web"}, True, False),
            ({"container": OWN}, True, False),
            ({"container": OWN}, False, False),
            ({"proc_name": "web"}, False, True),
            # There may be any number of versions.
            ({"discovery": {}, "gunicorn": "/g"}, True, False),
            ({"discovery": {}, "gunicorn": "/g"}, False, False),
            ({"discovery": {}}, False, False),
        ],
    )
    def test_the_version_is_asked_for_as_in_a_run(self, instance, is_running, is_asked, is_alive, asked):
        diagnose_instance(instance, *(is_alive(*within(HERE, titled(1, "web"))) if is_running else ()))

        assert bool(asked) is is_asked
