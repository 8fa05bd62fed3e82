import pytest

from datadog_checks.gunicorn.diagnoses.findings import Finding
from datadog_checks.gunicorn.diagnoses.missing_servers import explain_absence
from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.servers.applications import Assignment, Hint, Scan
from datadog_checks.gunicorn.servers.containers import parse_container
from datadog_checks.gunicorn.servers.selection import Selection
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
