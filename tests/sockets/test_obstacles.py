"""The conditions under which a control group shows the listener of a server, on literal values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.sockets.addresses import Listener, parse_bind
from datadog_checks.gunicorn.sockets.obstacles import (
    Member,
    Obstacle,
    Reason,
    judge_listeners,
    judge_members,
    judge_place,
)


@pytest.mark.parametrize(
    ("path", "own_procfs", "own_network", "reasons"),
    [
        ("/system.slice/web.service", True, True, []),
        ("/a..b", True, True, []),
        ("/", True, True, [Reason.ROOT_GROUP]),
        (None, True, True, [Reason.CGROUP_V1]),
        ("/../web.service", True, True, [Reason.CONTAINER]),
        ("/..", True, True, [Reason.CONTAINER]),
        ("/web", False, True, [Reason.CONTAINER]),
        ("/web", True, False, [Reason.NETWORK]),
        ("/", False, False, [Reason.CONTAINER, Reason.NETWORK, Reason.ROOT_GROUP]),
    ],
)
def test_obstacles_in_the_place_of_a_server(path, own_procfs, own_network, reasons):
    found = judge_place(path, own_procfs=own_procfs, own_network=own_network)
    assert [obstacle.reason for obstacle in found] == reasons


# Of pid 1, a shell 5, the masters 10 and 20 of two generations, and a worker 11.
PARENTS = {1: 0, 5: 1, 10: 5, 11: 10, 20: 10}


@pytest.mark.parametrize(
    ("members", "parents", "obstacles"),
    [
        pytest.param({}, {}, [], id="nothing but masters and workers"),
        pytest.param({5: Member(1)}, {}, [], id="what started the server"),
        pytest.param({1: Member(0)}, {}, [], id="an init of a container"),
        pytest.param({12: Member(11)}, {12: 11}, [], id="a child of a worker"),
        pytest.param(
            {13: Member(12)}, {12: 11, 13: 12}, [], id="a grandchild of a worker, whose parent is in another group"
        ),
        pytest.param({30: Member(1)}, {30: 1}, [Obstacle(Reason.STRANGER, ("30",))], id="an orphan"),
        pytest.param({30: Member(5)}, {30: 5}, [Obstacle(Reason.STRANGER, ("30",))], id="a sibling"),
        pytest.param({30: None}, {30: 10}, [Obstacle(Reason.STRANGER, ("30",))], id="an unreadable process"),
        pytest.param(
            {40: Member(1), 30: Member(1)},
            {},
            [Obstacle(Reason.STRANGER, ("30", "40"))],
            id="processes whose ancestors are unknown",
        ),
        pytest.param(
            {30: Member(1, is_master=True)}, {30: 1}, [Obstacle(Reason.OTHER_SERVER, ("30",))], id="another server"
        ),
        pytest.param(
            {12: Member(11, forked=False, is_master=True)},
            {12: 11},
            [Obstacle(Reason.OTHER_SERVER, ("12",))],
            id="another server that a worker started",
        ),
        pytest.param(
            {5: Member(1, is_master=True)},
            {},
            [Obstacle(Reason.OTHER_SERVER, ("5",))],
            id="another server that started it",
        ),
        pytest.param({12: Member(10, forked=True, is_master=True)}, {12: 10}, [], id="a worker that is being born"),
        pytest.param(
            {12: Member(10, forked=None, is_master=True)},
            {12: 10},
            [Obstacle(Reason.OTHER_SERVER, ("12",))],
            id="a worker or another server: forks cannot be recognized",
        ),
    ],
)
def test_obstacles_among_the_members_of_a_group(members, parents, obstacles):
    assert list(judge_members(members, {10, 20}, PARENTS | parents)) == obstacles


@given(
    st.dictionaries(st.integers(1, 9), st.builds(Member, st.integers(0, 9), st.booleans(), st.booleans())),
    st.dictionaries(st.integers(1, 9), st.integers(0, 9)),
)
def test_any_tree_of_processes_is_judged(members, parents):
    """Parents are read one after the other: pids that were reused may form a circle."""
    named = {pid for obstacle in judge_members(members, {1}, parents) for pid in obstacle.details}
    assert named <= set(map(str, members))


GROUP, OTHER, USER = 7, 8, 1000


def tcp(text, group=GROUP, limit=2048):
    return Listener(0, parse_bind(text), limit, group)


def unix(name, uid=USER):
    return Listener(0, parse_bind(f"unix:{name}"), 128, uid=uid)


def of(reason, *details):
    return [Obstacle(reason, details)]


@pytest.mark.parametrize(
    ("listeners", "obstacles"),
    [
        pytest.param([tcp(":80")], [], id="one listener"),
        pytest.param([tcp(":80"), tcp(":80")], [], id="one for each worker"),
        pytest.param([tcp(":80"), tcp(":81", OTHER), tcp("[::]:80", OTHER)], [], id="beside listeners of others"),
        pytest.param([tcp(":80"), unix("/run/a", 0), unix("@b", USER + 1)], [], id="beside UNIX sockets of others"),
        pytest.param([tcp(":80"), unix("/home/web/gunicorn.ctl")], [], id="beside its control socket"),
        pytest.param(
            [tcp(":80"), unix("/tmp/gunicorn-dirty-x1_/arbiter.sock"), unix("/tmp/gunicorn-dirty-x1_/worker-3.sock")],
            [],
            id="beside the sockets of dirty workers",
        ),
        pytest.param([], of(Reason.NO_LISTENER), id="no listener"),
        pytest.param([tcp(":80", OTHER)], of(Reason.NO_LISTENER), id="no listener in the group"),
        pytest.param(
            [tcp(":80"), tcp("127.0.0.1:80"), tcp(":81", OTHER)],
            of(Reason.SEVERAL_LISTENERS, "0.0.0.0:80", "127.0.0.1:80"),
            id="several listeners",
        ),
        pytest.param(
            [tcp(":80"), tcp("[::]:80")],
            of(Reason.SEVERAL_LISTENERS, "0.0.0.0:80", "[::]:80"),
            id="listeners of both families",
        ),
        pytest.param([tcp(":80"), tcp(":80", OTHER)], of(Reason.SHARED_ADDRESS, "0.0.0.0:80"), id="another's address"),
        pytest.param([tcp(":80", limit=5)], of(Reason.LIMIT, "0.0.0.0:80"), id="the limit of http.server"),
        pytest.param([tcp(":80"), tcp(":80", limit=5)], of(Reason.LIMIT, "0.0.0.0:80"), id="two limits"),
        pytest.param([tcp(":80", limit=None)], of(Reason.LIMIT, "0.0.0.0:80"), id="unknown limit"),
        pytest.param(
            [tcp(":80"), unix("/run/app.sock"), unix("@b")],
            of(Reason.UNIX_SOCKET, "unix:/run/app.sock", "unix:@b"),
            id="UNIX sockets of its user",
        ),
        pytest.param(
            [tcp(":80"), unix("@gunicorn.ctl")], of(Reason.UNIX_SOCKET, "unix:@gunicorn.ctl"), id="an abstract name"
        ),
        pytest.param(
            [tcp(":80", limit=5), unix("/run/app.sock")],
            of(Reason.LIMIT, "0.0.0.0:80") + of(Reason.UNIX_SOCKET, "unix:/run/app.sock"),
            id="an exporter beside a UNIX socket",
        ),
        pytest.param([tcp(":80"), tcp(":81", None)], of(Reason.KERNEL), id="before Linux 5.9"),
        pytest.param([tcp(":80"), unix("/run/a", None)], of(Reason.KERNEL), id="before Linux 5.3"),
    ],
)
def test_obstacles_among_the_listeners_of_a_group(listeners, obstacles):
    assert list(judge_listeners(GROUP, listeners, {USER}, 2048)) == obstacles
    assert list(judge_listeners(GROUP, listeners[::-1], {USER}, 2048)) == obstacles


def test_a_limit_that_other_programs_have_too_is_an_obstacle():
    assert list(judge_listeners(GROUP, [tcp(":80", limit=128)], {USER}, None)) == of(Reason.LIMIT, "0.0.0.0:80")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_sentence(reason):
    text = reason.format("`it`")
    assert text[0].isupper()
    assert text.endswith(".")
    assert "{" not in text
