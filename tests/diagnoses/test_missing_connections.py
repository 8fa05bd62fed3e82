import pytest

from datadog_checks.gunicorn.diagnoses.findings import Finding
from datadog_checks.gunicorn.diagnoses.missing_connections import explain_missing_connections
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from datadog_checks.gunicorn.sockets.obstacles import Obstacle, Reason, name_shared

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
