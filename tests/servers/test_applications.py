import pytest

from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.applications import Assignment, Candidate, assign_applications
from datadog_checks.gunicorn.servers.roles import Handlers

INIT = 1


def titled(pid, name, parent=INIT, *, arguments=None, session=10, group=10, forked=False, reparented=None):
    """A process titled as a master; a higher pid is a younger process."""
    reparented = parent == INIT if reparented is None else reparented
    return Candidate(Identity(pid, float(pid)), name, arguments, parent, session, group, forked, reparented)


def untitled(pid, parent=INIT, *, name="web", forked=False, session=10):
    """A process with Gunicorn's arguments."""
    return titled(pid, name, parent, arguments=("-n", name, "app:app"), forked=forked, session=session)


def inside(container, process):
    """The same process in a container."""
    return process._replace(groups=Groups((container,)))


def applications(*looks):
    """Return the assignments of the last of several looks, as {pid: application}."""
    assigned = {}
    for seen in looks:
        assigned = assign_applications(seen, assigned)
    return {identity.pid: known.application for identity, known in assigned.items()}


WEB = titled(100, "web")
NEW = titled(200, "web.2", parent=100)
ORPHAN = titled(200, "web.2")
DAEMON = titled(100, "web", forked=True)._replace(leads=True)


@pytest.mark.parametrize(
    ("what", "looks", "expected"),
    [
        ("one master", [[WEB]], {100: "web"}),
        ("several masters of one name", [[WEB, titled(101, "web")]], {100: "web", 101: "web"}),
        ("USR2", [[WEB, NEW]], {100: "web", 200: "web"}),
        ("no process carries the name", [[WEB, NEW], [ORPHAN]], {200: "web"}),
        ("no process carries the name in two looks", [[WEB, NEW], [ORPHAN], [ORPHAN]], {200: "web"}),
        ("the new master is promoted", [[WEB, NEW], [ORPHAN], [titled(200, "web")]], {200: "web"}),
        ("first seen as an orphan", [[WEB], [ORPHAN]], {200: "web"}),
        ("first seen while its parent was dying", [[WEB], [NEW]], {200: "web"}),
        ("under a reaper that is not init", [[WEB], [titled(200, "web.2", parent=9, reparented=True)]], {200: "web"}),
        ("USR2 again", [[titled(200, "web"), titled(300, "web.2", parent=200)]], {200: "web", 300: "web"}),
        ("USR2 of one called dot two", [[ORPHAN, titled(300, "web.2.2", parent=200)]], {200: "web.2", 300: "web.2"}),
        ("a HUP of the new master", [[WEB, NEW], [WEB, titled(200, "web", parent=100)]], {100: "web", 200: "web"}),
        ("a namesake called dot two", [[WEB, ORPHAN]], {100: "web", 200: "web.2"}),
        ("a namesake called dot two that outlives the other", [[WEB, ORPHAN], [ORPHAN]], {200: "web.2"}),
        ("called dot two, alone from the start", [[ORPHAN]], {200: "web.2"}),
        ("an orphan of another session", [[WEB], [titled(200, "web.2", session=11)]], {200: "web.2"}),
        ("an orphan of another group", [[WEB], [titled(200, "web.2", group=11)]], {200: "web.2"}),
        ("an orphan in its container", [[inside("a", WEB)], [inside("a", ORPHAN)]], {200: "web"}),
        ("an orphan of another container", [[inside("a", WEB)], [inside("b", ORPHAN)]], {200: "web.2"}),
        ("an orphan of a container, while it was in none", [[WEB], [inside("a", ORPHAN)]], {200: "web.2"}),
        ("an older orphan", [[WEB], [titled(50, "web.2")]], {50: "web.2"}),
        ("not an orphan", [[WEB], [titled(200, "web.2", parent=9)]], {200: "web.2"}),
        ("the other vanished long ago", [[WEB], [], [ORPHAN]], {200: "web.2"}),
        ("a fork that kept the title", [[WEB, titled(200, "web", parent=100, forked=True)]], {100: "web", 200: None}),
        (
            "a fork that kept the title and outlives its master",
            [[WEB, titled(200, "web", parent=100, forked=True)], [titled(200, "web", forked=True)]],
            {200: None},
        ),
        (
            "a fork of a master that has been promoted since",
            [[titled(100, "web"), titled(200, "web.2", parent=100, forked=True)]],
            {100: "web", 200: None},
        ),
        (
            "forked, then exec'ed: the same process",
            [[WEB, titled(200, "web", parent=100, forked=True)], [WEB, NEW]],
            {100: "web", 200: "web"},
        ),
        ("another server started by a hook", [[WEB, titled(200, "api", parent=100)]], {100: "web", 200: "api"}),
        (
            "another server forked by a hook",
            [[WEB, titled(200, "api", parent=100, forked=True)]],
            {100: "web", 200: "api"},
        ),
        ("a HUP that renames it", [[WEB], [titled(100, "api")]], {100: "api"}),
        ("a daemon, which forked last", [[DAEMON]], {100: "web"}),
        ("a daemon without workers for a while", [[DAEMON], [DAEMON._replace(leads=False)]], {100: "web"}),
        ("a daemon that had no workers yet", [[DAEMON._replace(leads=False)], [DAEMON]], {100: "web"}),
        ("a fork that outlives a master never seen", [[DAEMON._replace(leads=False)]], {100: None}),
        (
            "a worker that its application titled as a master",
            [[WEB, titled(200, "api", parent=100, forked=True)._replace(handlers=Handlers.WORKER)]],
            {100: "web", 200: None},
        ),
        (
            "forks cannot be recognized: the same name",
            [[WEB, titled(200, "web", parent=100, forked=None)]],
            {100: "web", 200: None},
        ),
        (
            "forks cannot be recognized: the new name",
            [[WEB, titled(200, "web.2", parent=100, forked=None)]],
            {100: "web", 200: "web"},
        ),
        (
            "the pid of a master that vanished",
            [[WEB], [titled(300, "api")._replace(identity=Identity(100, 300.0))]],
            {100: "api"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_application_of_each_master(what, looks, expected):
    assert applications(*looks) == expected
    assert applications(*[reversed(look) for look in looks]) == expected


POOL = [untitled(100), untitled(101, 100, forked=True), untitled(102, 100, forked=True)]
ORPHANS = [untitled(101, forked=True), untitled(102, forked=True)]


@pytest.mark.parametrize(
    ("what", "looks", "expected"),
    [
        ("a master and its workers", [POOL], {100: "web", 101: None, 102: None}),
        ("workers that outlive it", [POOL, ORPHANS], {101: None, 102: None}),
        ("workers first seen as orphans", [ORPHANS], {101: None, 102: None}),
        ("a daemon", [[untitled(100, forked=True), untitled(101, 100, forked=True)]], {100: "web", 101: None}),
        (
            "a daemon that had no workers yet",
            [[untitled(100, forked=True)], [untitled(100, forked=True), untitled(101, 100, forked=True)]],
            {100: "web", 101: None},
        ),
        (
            "a daemon without workers for a while",
            [[untitled(100, forked=True), untitled(101, 100, forked=True)], [untitled(100, forked=True)]],
            {100: "web"},
        ),
        ("USR2", [[*POOL, untitled(200, 100)]], {100: "web", 101: None, 102: None, 200: "web"}),
        (
            "USR2, forked and not exec'ed yet",
            [[*POOL, untitled(200, 100, forked=True)]],
            {100: "web", 101: None, 102: None, 200: None},
        ),
        (
            "USR2, forked and then exec'ed",
            [[*POOL, untitled(200, 100, forked=True)], [*POOL, untitled(200, 100)]],
            {100: "web", 101: None, 102: None, 200: "web"},
        ),
        ("USR2, then the old master is gone", [[*POOL, untitled(200, 100)], [untitled(200)]], {200: "web"}),
        (
            "a worker that forks",
            [[*POOL, untitled(300, 101, forked=True)]],
            {100: "web", 101: None, 102: None, 300: None},
        ),
        (
            "another server started by a worker",
            [[*POOL, untitled(300, 101, name="api")]],
            {100: "web", 101: None, 102: None, 300: "api"},
        ),
        (
            "what a master forked before it had a title",
            [[WEB, untitled(200, 100, forked=True)]],
            {100: "web", 200: None},
        ),
        ("USR2, not titled yet", [[WEB, untitled(200, 100)]], {100: "web", 200: None}),
        (
            "USR2, not titled yet, with helpers",
            [[WEB, untitled(200, 100), untitled(201, 200, forked=True)]],
            {100: "web", 200: None, 201: None},
        ),
        ("USR2, never titled, and the old master is gone", [[WEB, untitled(200, 100)], [untitled(200)]], {200: "web"}),
        (
            "workers that outlive it and have forks",
            [[*POOL, untitled(201, 101, forked=True)], [*ORPHANS, untitled(201, 101, forked=True)]],
            {101: None, 102: None, 201: None},
        ),
        ("a daemon without workers", [[untitled(100, forked=True)]], {100: "web"}),
        ("a title that was set late", [[untitled(100)], [WEB]], {100: "web"}),
        (
            "forks cannot be recognized: no children",
            [[untitled(100, forked=None), untitled(101, 100, forked=None)]],
            {100: "web", 101: None},
        ),
        (
            "forks cannot be recognized: children of its own",
            [[untitled(100, forked=None), untitled(200, 100, forked=None), untitled(201, 200, forked=None)]],
            {100: "web", 200: "web", 201: None},
        ),
        (
            "forks cannot be recognized: USR2 before it has workers, then the old master is gone",
            [
                [untitled(100, forked=None), untitled(101, 100, forked=None), untitled(200, 100, forked=None)],
                [untitled(200, forked=None), untitled(201, 200, forked=None)],
            ],
            {200: "web", 201: None},
        ),
        (
            "forks cannot be recognized: the last worker that outlives it",
            [[untitled(100, forked=None), untitled(101, 100, forked=None)], [untitled(101, forked=None)]],
            {101: None},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_application_of_each_process_without_a_title(what, looks, expected):
    assert applications(*looks) == expected
    assert applications(*[reversed(look) for look in looks]) == expected


def test_the_newest_look_is_kept():
    (assigned,) = assign_applications([ORPHAN], assign_applications([WEB, NEW], {})).values()
    assert assigned == Assignment(ORPHAN, "web", child=True)
