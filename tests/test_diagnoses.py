import pytest

from datadog_checks.gunicorn.diagnoses import Finding, explain_absence
from datadog_checks.gunicorn.servers.applications import Assignment, Scan
from datadog_checks.gunicorn.servers.selection import Selection
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
def test_findings(what, scan, seen, findings):
    assert list(explain_absence(Selection("web"), scan, seen)) == findings


def test_hidden_processes():
    (finding,) = explain_absence(Selection("web"), Scan(hides_others=True), [])
    assert "hidepid=2" in finding.remedy


def test_a_container():
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
