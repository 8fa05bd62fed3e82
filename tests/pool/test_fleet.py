"""The servers of an instance from run to run, on a simulated host."""

import time
from unittest.mock import Mock

import psutil
import pytest

from datadog_checks.gunicorn.diagnoses.run_warnings import explain_limits
from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.pool import container_option
from datadog_checks.gunicorn.pool.churn import Churn
from datadog_checks.gunicorn.pool.container_option import ContainerError
from datadog_checks.gunicorn.pool.departures import DEPARTED_SECONDS
from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.pool.results import Health
from datadog_checks.gunicorn.pool.states import States
from datadog_checks.gunicorn.pool.watched import Key
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.servers.containers import parse_container
from datadog_checks.gunicorn.servers.selection import Discovery, Selection
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from tests.host.test_cgroups import FARGATE, OUTER, OWN, POD, STATIC, TASK, UID
from tests.simulated_servers import SimulatedServers

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="replaces reads of procfs")

# As long as between two runs of the Agent.
INTERVAL = 15.0
OTHER = "f" * 64


@pytest.fixture
def servers(monkeypatch):
    return SimulatedServers(monkeypatch)


def discover(*include, exclude=(), limit=100):
    return Fleet(Selection(discovery=Discovery(include, exclude, limit)), Host())


def watch_container(value, proc_name=None, **options):
    return Fleet(Selection(proc_name, parse_container(value)), Host(), **options)


def run(fleet, interval=INTERVAL):
    """Run once, a while after the last run; return the results by application."""
    time.sleep(interval)
    fleet.find()
    looks = fleet.look()
    time.sleep(0.1)
    applications = fleet.sample(looks)
    return None if applications is None else {application.name: application for application in applications}


def missing(found):
    return [name for name, application in found.items() if application.missing]


def churn(application):
    return [pool.churn for _, pool in application.pools]


class TestDiscovery:
    def test_every_server_of_the_host(self, servers):
        servers.start("web", workers=3)
        servers.start("api", OWN, workers=1)

        found = run(discover())

        assert list(found) == ["api", "web"]
        ((container, pool),) = found["api"].pools
        assert (container, pool.health, pool.states) == (OWN, Health.WELL, States(idle=1, working=0))
        ((container, pool),) = found["web"].pools
        assert (container, pool.states) == (None, States(idle=3, working=0))

    def test_include_and_exclude(self, servers):
        for name in ("web", "web-admin", "api"):
            servers.start(name)

        assert list(run(discover("web", exclude=("admin",)))) == ["web"]

    def test_a_host_without_servers_is_well(self, servers):
        fleet = discover()
        assert run(fleet) == {}
        servers.start("web")
        assert list(run(fleet)) == ["web"]

    def test_servers_of_one_name_in_several_containers_are_told_apart(self, servers):
        first = servers.start("web", OWN)
        servers.start("web", OTHER, workers=3)
        servers.start("web", workers=4)
        fleet = discover()
        run(fleet)
        servers.replace_workers(first)

        (web,) = run(fleet).values()

        assert {container: (sum(pool.states), pool.churn) for container, pool in web.pools} == {
            OWN: (2, Churn(started=2, exited=2)),
            OTHER: (3, Churn(started=0, exited=0)),
            None: (4, Churn(started=0, exited=0)),
        }

    def test_workers_of_a_new_server_have_started_since_the_last_run(self, servers):
        fleet = discover()
        run(fleet)
        servers.wait(INTERVAL)
        servers.start("new", age=1.0)
        # Renamed by a HUP.
        servers.start("old", age=1000.0)

        found = run(fleet)

        assert churn(found["new"]) == [Churn(started=2, exited=0)]
        assert churn(found["old"]) == [Churn(started=0, exited=0)]


class TestLimit:
    def test_the_first_by_name_stay(self, servers):
        for name in "hdgbecfa":
            servers.start(name)
        fleet = discover(limit=4)

        assert list(run(fleet)) == ["a", "b", "c", "d"]
        assert fleet.left_out == 4
        (warning,) = explain_limits(fleet)
        assert warning == (
            "Applications left out by `discovery`: 4, beyond its limit of 4. "
            "Raise its `limit`, or select fewer with `include` and `exclude`."
        )

    def test_as_many_applications_as_the_limit_are_all_watched(self, servers):
        for name in ("a", "b"):
            servers.start(name)
        fleet = discover(limit=2)

        assert list(run(fleet)) == ["a", "b"]
        assert (fleet.left_out, list(explain_limits(fleet))) == (0, [])

    def test_those_that_were_watched_stay_watched(self, servers):
        for name in ("b", "c"):
            servers.start(name)
        fleet = discover(limit=2)
        run(fleet)
        servers.start("a")

        for _ in range(3):
            found = run(fleet)
            assert (list(found), missing(found), fleet.left_out) == (["b", "c"], [], 1)

    def test_one_that_restarts_stays_watched(self, servers):
        servers.start("b")
        restarted = servers.start("c")
        fleet = discover(limit=2)
        run(fleet)
        servers.start("a")
        run(fleet)
        servers.stop(restarted)
        servers.start("c", age=1.0)

        found = run(fleet)

        assert (list(found), missing(found), fleet.left_out) == (["b", "c"], [], 1)
        assert churn(found["c"]) == [Churn(started=2, exited=2)]

    def test_one_that_moves_to_a_new_container_stays_watched(self, servers):
        servers.start("b")
        moved = servers.start("c", OWN)
        fleet = discover(limit=2)
        run(fleet)
        servers.start("a")
        run(fleet)
        servers.stop(moved)
        servers.start("c", OTHER, age=1.0)

        assert list(run(fleet)) == ["b", "c"]
        assert [key.container for key in fleet.alive if key.name == "c"] == [OTHER]

    def test_the_next_one_takes_the_place_of_one_that_is_gone(self, servers):
        servers.start("b")
        gone = servers.start("c", OWN)
        fleet = discover(limit=2)
        run(fleet)
        for name in ("a", "d"):
            servers.start(name)
        run(fleet)
        servers.stop(gone)

        assert list(run(fleet)) == ["a", "b", "c"]
        assert list(run(fleet)) == ["a", "b"]
        assert fleet.left_out == 1

    def test_servers_of_one_name_count_once(self, servers):
        for container in (OWN, OTHER, OUTER):
            servers.start("web", container)
        servers.start("zoo")
        fleet = discover(limit=2)

        assert list(run(fleet)) == ["web", "zoo"]
        assert len(fleet.alive) == 4
        assert fleet.left_out == 0

    def test_excluded_applications_are_not_left_out(self, servers):
        for name in ("a", "b", "c"):
            servers.start(name)
        fleet = discover("a|b", limit=1)

        assert list(run(fleet)) == ["a"]
        assert fleet.left_out == 1


class TestDeparted:
    def test_an_application_without_a_master_is_missing_for_an_hour(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        servers.stop(master)

        found = run(fleet)
        assert missing(found) == ["web"]
        ((container, pool),) = found["web"].pools
        assert (container, pool.health, pool.churn) == (None, Health.GONE, Churn(started=0, exited=2))

        later = run(fleet, DEPARTED_SECONDS - INTERVAL)
        assert (missing(later), later["web"].pools) == (["web"], ())
        assert run(fleet, 2 * INTERVAL) == {}

    def test_an_application_of_a_container_that_ended_is_not_missing(self, servers):
        master = servers.start("web", OWN)
        fleet = discover()
        run(fleet)
        servers.stop(master)

        found = run(fleet)
        assert (list(found), missing(found), churn(found["web"])) == (["web"], [], [Churn(started=0, exited=2)])
        assert run(fleet) == {}

    @pytest.mark.parametrize(("last", "is_missing"), [(None, True), (OWN, False)])
    def test_the_place_of_the_last_server_decides(self, servers, last, is_missing):
        masters = {container: servers.start("web", *filter(None, [container])) for container in (OWN, None)}
        fleet = discover()
        run(fleet)
        (first,) = masters.keys() - {last}

        servers.stop(masters[first])
        assert missing(run(fleet)) == []
        servers.stop(masters[last])
        assert missing(run(fleet)) == (["web"] if is_missing else [])

    def test_one_that_is_back_is_no_longer_missing(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        servers.stop(master)
        assert missing(run(fleet)) == ["web"]
        servers.start("web", OWN, age=1.0)

        found = run(fleet)
        assert (missing(found), found["web"].pools[0][1].health) == ([], Health.WELL)
        assert missing(run(fleet, DEPARTED_SECONDS)) == []

    def test_one_that_is_back_when_others_have_taken_its_place(self, servers):
        master = servers.start("web")
        fleet = discover(limit=1)
        run(fleet)
        servers.start("api")
        servers.stop(master)
        run(fleet)
        found = run(fleet)
        assert (list(found), missing(found)) == (["api", "web"], ["web"])
        servers.start("web", age=1.0)

        # It runs, and the limit leaves it out.
        found = run(fleet)
        assert (list(found), missing(found), fleet.left_out) == (["api"], [], 1)

    def test_only_as_many_as_the_limit_are_remembered(self, servers):
        fleet = discover(limit=2)
        for name in ("a", "b", "c"):
            master = servers.start(name, age=1.0)
            run(fleet)
            servers.stop(master)
            run(fleet)

        assert missing(run(fleet)) == ["b", "c"]

    def test_one_that_is_missing_causes_no_look_at_the_host(self, servers):
        masters = [servers.start(name) for name in ("api", "web")]
        fleet = discover()
        run(fleet)
        servers.stop(masters[0])
        scan = fleet.host.scan = Mock(wraps=fleet.host.scan)
        run(fleet)
        # A new master may have taken its place; it would be among the new processes.
        scan.assert_called_once_with(full=False)
        scan.reset_mock()

        for _ in range(9):
            assert missing(run(fleet, 1.0)) == ["api"]
        assert scan.call_count == 0
        run(fleet, 2.0)
        scan.assert_called_once_with(full=False)

    def test_a_host_whose_servers_are_all_gone_is_looked_at_as_often_as_before(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        servers.stop(master)
        run(fleet)
        scan = fleet.host.scan = Mock(wraps=fleet.host.scan)

        for _ in range(8):
            assert missing(run(fleet, 1.0)) == ["web"]
        assert scan.call_count == 0

    def test_an_application_of_a_configured_name_is_an_error_instead(self, servers):
        master = servers.start("web")
        fleet = Fleet(Selection("web"), Host())
        run(fleet)
        servers.stop(master)

        assert run(fleet) is None
        servers.start("web", age=1.0)
        # What exited while it was away counts when it is back.
        assert churn(run(fleet)["web"]) == [Churn(started=2, exited=2)]


class TestContainer:
    @pytest.mark.parametrize(
        ("value", "names"),
        [
            (OWN, ["a", "b"]),
            (OWN[:12], ["a", "b"]),
            # Nested containers belong to the outer one.
            (OUTER, ["outer", "b"]),
            (UID, ["pod"]),
            (STATIC, ["static"]),
            (TASK, ["task", "task2"]),
            (FARGATE, ["task"]),
            (OTHER, None),
        ],
    )
    def test_only_servers_in_it(self, servers, value, names):
        servers.start("host")
        servers.start("a", OWN)
        servers.start("b", OUTER, OWN)
        servers.start("outer", OUTER)
        servers.start("pod", "1" * 64, pods=[POD])
        servers.start("static", "2" * 64, pods=[STATIC])
        servers.start("task", FARGATE)
        servers.start("task2", f"{TASK}-7")

        found = run(watch_container(value))

        assert found is None if names is None else sorted(found) == sorted(names)

    def test_with_a_name(self, servers):
        for name, containers in [("web", [OWN]), ("api", [OWN]), ("web", [OTHER]), ("web", [])]:
            servers.start(name, *containers)

        fleet = watch_container(OWN, "web")
        assert list(run(fleet)) == ["web"]
        assert list(fleet.alive) == [Key("web", OWN)]
        assert run(watch_container(OWN, "shop")) is None

    def test_an_ambiguous_beginning_is_an_error(self, servers):
        other = OWN[:40] + 24 * "e"
        for container in (OWN, other):
            servers.start("web", container)

        with pytest.raises(ContainerError, match=f"^container '{OWN[:12]}' may be any of {OWN}, {other}$"):
            run(watch_container(OWN[:12]))
        assert list(run(watch_container(OWN[:41]))) == ["web"]

    def test_nothing_is_found_after_the_end_of_a_container(self, servers):
        master = servers.start("web", OWN)
        fleet = watch_container(OWN[:12])
        run(fleet)
        servers.stop(master)

        assert run(fleet) is None
        assert run(fleet) is None
        assert fleet.selection.absence == f"Found no master process in container {OWN[:12]}"

    def test_several_applications_of_which_one_ends(self, servers):
        masters = {name: servers.start(name, OWN) for name in ("api", "web")}
        fleet = watch_container(OWN)
        run(fleet)
        servers.stop(masters["api"])

        found = run(fleet)
        assert (sorted(found), missing(found)) == (["api", "web"], [])
        assert churn(found["api"]) == [Churn(started=0, exited=2)]
        assert list(run(fleet)) == ["web"]

    def test_bind_has_no_effect_for_several_applications(self, servers, monkeypatch):
        monkeypatch.setattr(
            "datadog_checks.gunicorn.pool.fleet.Connections",
            lambda bind: Mock(bind=bind, look=lambda *_: {}, configured=set(), expected=frozenset()),
        )
        bind = (parse_bind("127.0.0.1:80"),)
        servers.start("api", OWN)
        fleet = watch_container(OWN, bind=bind)
        run(fleet)
        assert [server.connections.bind for server in fleet.alive.values()] == [bind]
        assert list(explain_limits(fleet)) == []

        servers.start("web", OWN)
        run(fleet)
        assert [server.connections.bind for server in fleet.alive.values()] == [(), ()]
        (warning,) = explain_limits(fleet)
        assert warning.startswith("`bind` has no effect because the container has several applications.")


class TestPid:
    """The option `container` as the pid of a process in the container."""

    def test_is_resolved_once(self, servers, monkeypatch):
        master = servers.start("web", OWN)
        servers.start("api", OWN)
        servers.start("web", OTHER)
        fleet = watch_container(servers.workers(master)[0])

        assert list(run(fleet)) == ["api", "web"]
        assert fleet.selection.container.beginning == OWN
        monkeypatch.setattr(container_option, "read_groups", lambda _: pytest.fail("read again"))
        # Its process may end.
        servers.replace_workers(master)
        assert list(run(fleet)) == ["api", "web"]

    def test_of_the_innermost_container(self, servers):
        pid = servers.start("inner", OUTER, OWN)
        servers.start("outer", OUTER)

        assert list(run(watch_container(pid))) == ["inner"]

    def test_in_no_container(self, servers):
        pid = servers.start("web")
        fleet = watch_container(pid)

        for _ in range(2):
            with pytest.raises(ContainerError, match=f"^pid {pid} is in no container$"):
                run(fleet)

    def test_of_no_process(self, servers):
        servers.start("web", OWN)
        fleet = watch_container("4711")

        assert run(fleet) is None
        assert fleet.selection.absence == "Found no master process in container 4711"
        # A later process with this pid is not the one that was configured.
        servers.add(4711, "sh")
        servers.groups[4711] = servers.groups[next(iter(servers.parents))]
        assert run(fleet) is None

    def test_of_a_process_that_cannot_be_read_yet(self, servers, monkeypatch):
        pid = servers.start("web", OWN)
        fleet = watch_container(pid)
        with monkeypatch.context() as patch:
            patch.setattr(container_option, "read_groups", Mock(side_effect=PermissionError))
            assert run(fleet) is None

        assert list(run(fleet)) == ["web"]

    def test_that_is_reused_before_its_container_was_known(self, servers):
        pid = servers.start("web")
        fleet = watch_container(pid)
        with pytest.raises(ContainerError):
            run(fleet)
        servers.stop(pid)
        servers.add(pid, "sh", age=-servers.passed)
        servers.groups[pid] = servers.groups[servers.start("api", OWN)]

        assert run(fleet) is None


class TestMoved:
    """Workers that live on under another name, or in another container, have neither exited nor started."""

    def rename(self, servers, master, name):
        for pid in [master, *servers.workers(master)]:
            role = "master" if pid == master else "worker"
            servers.cmdlines[pid] = (f"gunicorn: {role} [{name}]",)

    def test_a_server_that_is_renamed(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        servers.replace_workers(master)
        self.rename(servers, master, "shop")

        found = run(fleet)

        assert churn(found["web"]) == [Churn(started=0, exited=2)]
        assert churn(found["shop"]) == [Churn(started=2, exited=0)]

    def test_a_server_that_is_renamed_with_its_workers(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        self.rename(servers, master, "shop")

        found = run(fleet)

        assert churn(found["web"]) == [Churn(0, 0)]
        assert churn(found["shop"]) == [Churn(0, 0)]
        servers.stop(master)
        assert churn(run(fleet)["shop"]) == [Churn(started=0, exited=2)]

    def test_workers_that_are_younger_than_the_last_look_at_the_host(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        servers.replace_workers(master)
        assert churn(run(fleet, interval=1.0)["web"]) == [Churn(2, 2)]
        self.rename(servers, master, "shop")

        assert churn(run(fleet)["shop"]) == [Churn(0, 0)]

    def test_a_server_that_appears_in_a_container(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)
        for pid in [master, *servers.workers(master)]:
            servers.groups[pid] = Groups((OWN,))

        assert churn(run(fleet)["web"]) == [Churn(0, 0), Churn(0, 0)]


def test_a_restart_during_the_look_of_another_instance_is_found(servers):
    servers.start("api")
    master = servers.start("web")
    fleet = discover()
    run(fleet)
    servers.stop(master)
    servers.start("web", age=0.0)
    # Another instance has begun to look.
    fleet.host._looking.append(time.monotonic() + INTERVAL)

    assert missing(run(fleet)) == []


def test_a_second_server_of_a_name_is_in_the_next_run(servers):
    servers.start("web")
    fleet = Fleet(Selection("web"), Host())
    run(fleet)
    servers.wait(INTERVAL)
    servers.start("web", workers=3, age=1.0)

    ((_, pool),) = run(fleet, 0.0)["web"].pools

    assert sum(pool.states) == 5


@pytest.mark.parametrize(("age", "looks"), [(9.5, 1), (10.5, 2)])
def test_instances_share_a_look_at_the_host_that_is_at_most_ten_seconds_old(servers, age, looks):
    host = Host()
    servers.start("web")
    first, second = (Fleet(Selection("web"), host) for _ in range(2))
    for fleet in (first, second):
        run(fleet)
    scan = host.scan = Mock(wraps=host.scan)

    run(first)
    began = host._last_look.now
    run(second, began + age - time.monotonic())

    assert scan.call_count == looks


class TestOldest:
    """The master whose version a run asks for."""

    def test_of_a_name(self, servers):
        servers.start("web", age=10.0)
        oldest = servers.start("web", age=1000.0)
        contained = servers.start("web", OWN, age=2000.0)
        fleet = Fleet(Selection("web"), Host())
        run(fleet)

        assert fleet.find_oldest(in_containers=False)[1].pid == oldest
        assert fleet.find_oldest(in_containers=True)[1].pid == contained

    def test_only_in_containers(self, servers):
        servers.start("web", OWN)
        fleet = Fleet(Selection("web"), Host())
        run(fleet)

        assert fleet.find_oldest(in_containers=False) == (None, None)

    def test_of_any_application(self, servers):
        servers.start("web")
        fleet = discover()
        run(fleet)

        assert fleet.find_oldest(in_containers=True) == (None, None)


class TestBetweenTheTwoLooks:
    def look_twice(self, fleet, act):
        fleet.find()
        looks = fleet.look()
        act()
        time.sleep(0.1)
        return {application.name: application for application in fleet.sample(looks)}

    def test_a_server_without_workers_ends(self, servers):
        master = servers.start("web", workers=0)
        servers.start("api")

        found = self.look_twice(discover(), lambda: servers.stop(master))

        assert missing(found) == ["web"]
        assert [pool.health for _, pool in found["web"].pools] == [Health.GONE]

    def test_a_server_ends(self, servers):
        master = servers.start("web")
        fleet = discover()
        run(fleet)

        found = self.look_twice(fleet, lambda: servers.stop(master))

        assert (missing(found), [pool.health for _, pool in found["web"].pools]) == ([], [Health.VANISHED])
        assert missing(run(fleet)) == ["web"]

    def test_a_server_has_no_workers(self, servers):
        servers.start("web", workers=0)
        began = servers.passed

        found = self.look_twice(discover(), lambda: None)

        assert [pool.health for _, pool in found["web"].pools] == [Health.WITHOUT_WORKERS]
        # It looked again for a while.
        assert servers.passed - began == pytest.approx(0.2, abs=0.01)

    def test_one_wait_for_any_number_of_servers_without_workers(self, servers):
        for name in "abcdef":
            servers.start(name, workers=0)
        began = servers.passed

        self.look_twice(discover(), lambda: None)

        assert servers.passed - began == pytest.approx(0.2, abs=0.01)
