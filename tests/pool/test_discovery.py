"""The option `discovery`, on real servers beside those of other tests."""

import contextlib
import json
import signal
import threading
import time
from unittest.mock import Mock

import psutil
import pytest
from datadog_checks.base.stubs import tagger

from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.pool import drafts, fleet
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.sockets import namespaces
from tests.assertions import (
    CRITICAL,
    OK,
    assert_total,
    assert_without_workers,
    make_check,
    make_instance,
    metadata,
    run,
    run_each,
)
from tests.control_groups import PIDS, call_python, needs, needs_control_groups, run_container
from tests.gunicorn_server import Record, root, run_gunicorn, unique, wait_until


@pytest.fixture(autouse=True)
def scans(monkeypatch):
    """Count the looks at a host that no other test has looked at; every run looks, as it would 10 s later."""
    host = Host()
    monkeypatch.setattr(host, "scan", scan := Mock(side_effect=host.scan))
    monkeypatch.setattr(check_module, "HOST", host)
    monkeypatch.setattr(fleet, "FRESH_SECONDS", 0)
    return scan


@pytest.fixture
def later(monkeypatch):
    """Advance the clock."""
    passed = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


class Names:
    """Names that begin alike, so that one pattern includes them and no others."""

    def __init__(self):
        self.beginning = unique("found")

    def __getitem__(self, end):
        return f"{self.beginning}-{end}"

    def discover(self, **options):
        """Make a check that discovers servers with these names."""
        return make_instance(discovery={"include": [f"^{self.beginning}-"], **options})

    def run(self, end, *arguments, **options):
        return run_gunicorn("--name", self[end], *arguments, name=self[end], **options)


@pytest.fixture
def names():
    return Names()


def assert_gone(found, name):
    """Assert that an application is reported as gone, without an error of the run."""
    message = f"Found no master process with name: gunicorn: master [{name}]"
    assert (found.status, found.message, found.error) == (CRITICAL, message, "")


@root
@needs(*PIDS)
def test_every_server_of_the_host():
    """In a pid namespace, where nothing else runs."""
    script = """
import json
from datadog_checks.gunicorn.pool import fleet
from tests.assertions import make_instance, run_each
from tests.gunicorn_server import run_gunicorn
fleet.FRESH_SECONDS = 0
check = make_instance(discovery={})
print(json.dumps([run_each(check), check.warnings]))
with run_gunicorn("--name", "web", name="web"), run_gunicorn(workers=3, titled=False, app="app:app", name="app:app"):
    found = run_each(check)
    print(json.dumps({name: (each.status, each.total, each.error) for name, each in found.items()}))
"""
    nothing, servers = call_python(script, within=PIDS).splitlines()
    # A host without servers is well.
    assert json.loads(nothing) == [{}, []]
    assert json.loads(servers) == {"web": [OK, 2, ""], "app:app": [OK, 3, ""]}


def test_each_server_is_submitted_as_by_an_instance_of_its_own(names):
    with names.run("api", workers=3) as api, names.run("web"), run_gunicorn() as other:
        check = names.discover()
        found = run_each(check)
        assert found.keys() == {names["api"], names["web"]}
        assert other.name not in found
        alone = make_check(names["api"])
        run(alone)
        with api.requests(2, "/sleep?2"):
            wait_until(lambda: list(run(alone).connections.values()) == [(2, 0)], "the connections")
            found, expected = run_each(check), run(alone)
        assert found[names["api"]].samples.keys() == expected.samples.keys()
        for metric in ("gunicorn.workers.started", "gunicorn.threads{process_role:worker}"):
            assert found[names["api"]].metrics[metric] == expected.metrics[metric]
        assert found[names["api"]].connections == expected.connections
        assert_total(found[names["api"]], 3)
        assert_total(found[names["web"]], 2)
        assert metadata(check) == {}


@pytest.mark.skipif(not psutil.LINUX, reason="read from Linux's own tables")
def test_the_sockets_of_all_servers_are_read_at_once(names, monkeypatch):
    with names.run("tcp") as tcp, names.run("too") as too, names.run("unix", bind=["unix:{folder}/web.sock"]) as unix:
        check = names.discover()
        servers = {names["tcp"]: (tcp, 3), names["too"]: (too, 1), names["unix"]: (unix, 2)}
        with contextlib.ExitStack() as stack:
            for server, count in servers.values():
                for _ in range(count):
                    stack.enter_context(server.connect())

            def are_counted():
                counts = {name: [*found.connections.items()] for name, found in run_each(check).items()}
                return counts == {
                    name: [(server.addresses()[0], (min(count, 2), max(0, count - 2)))]
                    for name, (server, count) in servers.items()
                }

            wait_until(are_counted, "the connections")
            monkeypatch.setattr(namespaces, "read_at", read := Mock(side_effect=namespaces.read_at))
            assert are_counted()
            assert sorted(call.args[0] for call in read.call_args_list) == ["inet", "unix"]


@pytest.mark.skipif(not psutil.LINUX, reason="read from Linux's own tables")
def test_a_listener_that_changes_beside_another_server(names):
    def configure(host):
        return f"proc_name = {names['b']!r}\nbind = '{host}:0'"

    with names.run("a"), run_gunicorn(name=names["b"], bind=[], config=configure("127.0.0.1")) as server:
        check = names.discover()
        for _ in range(2):
            before = run_each(check)[names["b"]].connections
        assert before == {server.addresses()[0]: (0, 0)}
        server.configure(configure("127.0.0.2"))
        server.replace_workers()
        assert run_each(check)[names["b"]].connections == {server.addresses()[0]: (0, 0)} != before


def test_exclude_wins(names):
    with names.run("api"), names.run("api-canary"), names.run("web"):
        check = make_instance(
            discovery={"include": [f"^{names.beginning}-api", f"{names.beginning}-WEB"], "exclude": ["canary$"]}
        )
        assert run_each(check).keys() == {names["api"]}
        check = make_instance(discovery={"include": [f"(?i){names.beginning}-WEB"], "exclude": None})
        assert run_each(check).keys() == {names["web"]}


def test_nothing_to_discover(names):
    check = names.discover()
    assert (run_each(check), check.get_warnings()) == ({}, [])


def test_servers_without_titles(names):
    with names.run("web", titled=False), names.run("api", workers=3, titled=False):
        found = run_each(names.discover())
        assert {name: each.total for name, each in found.items()} == {names["api"]: 3, names["web"]: 2}


def test_names_that_no_tag_can_have(names):
    """They are escaped, truncated, and summed if they become equal."""
    long = names["x" * 250]
    with (
        run_gunicorn(name=(evil := names["a,b|c"]), config=f"proc_name = {evil!r}"),
        run_gunicorn(name=f"{long}1", config=f"proc_name = {long + '1'!r}"),
        run_gunicorn(name=f"{long}2", config=f"proc_name = {long + '2'!r}"),
    ):
        found = run_each(names.discover())
        assert {name: each.total for name, each in found.items()} == {names["a\\x2cb\\x7cc"]: 2, long[:196]: 4}


def test_a_server_that_starts_between_two_runs(names):
    with names.run("api"):
        check = names.discover()
        assert run_each(check).keys() == {names["api"]}
        with names.run("web") as server:
            found = run_each(check)
            assert_total(found[names["web"]], 2)
            assert found[names["web"]].churn == (len(server.booted()), 0) == (2, 0)
            assert found[names["api"]].churn == (0, 0)
            assert run_each(check)[names["web"]].churn == (0, 0)


def test_a_server_that_starts_after_the_look_that_a_run_uses(names, later, monkeypatch):
    """Instances share looks, which may be ten seconds old."""
    monkeypatch.setattr(fleet, "FRESH_SECONDS", 10)
    with names.run("api"):
        check = names.discover()
        run_each(check)
        with names.run("web"):
            assert run_each(check).keys() == {names["api"]}
            later(15)
            found = run_each(check)
            assert (found[names["web"]].total, found[names["web"]].churn) == (2, (2, 0))
        assert run_each(check)[names["web"]].churn == (0, 2)


def test_a_first_run_while_another_instance_takes_the_first_look(names):
    with names.run("web"):
        check = names.discover()
        looking = check.fleet.host._looking
        looking.append(time.monotonic())
        assert run_each(check) == {}
        looking.clear()
        found = run_each(check)[names["web"]]
        assert_total(found, 2)
        # It is unknown whether they have started since.
        assert "gunicorn.workers.started" not in found.metrics


class TestAnApplicationThatIsGone:
    def test_is_critical_for_an_hour(self, names, later):
        check = names.discover()
        with names.run("api"):
            with names.run("web"):
                run_each(check)
            found = run_each(check)
            assert found[names["web"]].metrics == {"gunicorn.workers.started": 0, "gunicorn.workers.exited": 2}
            for seconds in (0, 1800, 1790):
                later(seconds)
                found = run_each(check)
                assert_gone(found[names["web"]], names["web"])
                assert_total(found[names["api"]], 2)
            assert found[names["web"]].samples == {}
            later(20)
            assert run_each(check).keys() == {names["api"]}

    def test_is_well_when_it_is_back(self, names):
        check = names.discover()
        for _ in range(2):
            with names.run("web"):
                assert_total(run_each(check)[names["web"]], 2)
            assert_gone(run_each(check)[names["web"]], names["web"])

    def test_does_not_cause_looks_at_the_host(self, names, scans, later, monkeypatch):
        monkeypatch.setattr(fleet, "FRESH_SECONDS", 10)
        check = names.discover()
        with names.run("web"):
            run_each(check)
        # It may have a successor.
        assert_gone(run_each(check)[names["web"]], names["web"])
        before = scans.call_count
        assert before == 2
        for _ in range(9):
            later(5)
            assert_gone(run_each(check)[names["web"]], names["web"])
        assert scans.call_count - before <= 9 * 5 / 10
        assert not any(call.kwargs["full"] for call in scans.call_args_list)

    @root
    @needs_control_groups
    def test_is_not_critical_in_a_container(self, names):
        """Containers come and go."""
        check = names.discover()
        with run_container() as container:
            with container.run(name=names["web"]):
                assert_total(run_each(check)[names["web"]], 2)
            found = run_each(check)[names["web"]]
            assert (found.status, found.error, found.churn) == (None, "", (0, 2))
            assert run_each(check) == {}

    @root
    @needs_control_groups
    @pytest.mark.parametrize("last", ["on the host", "in a container"])
    def test_its_last_server_decides(self, last, names):
        check = names.discover()
        with run_container() as container:
            places = [names.run("web"), container.run(name=names["web"])]
            first, second = places if last == "in a container" else reversed(places)
            with second:
                with first:
                    assert_total(run_each(check)[names["web"]], 4)
                assert_total(run_each(check)[names["web"]], 2)
            found = run_each(check)
        if last == "in a container":
            assert found[names["web"]].status is None
        else:
            assert_gone(found[names["web"]], names["web"])


def test_a_server_that_a_hup_renames(names):
    with run_gunicorn(name=names["old"], config=f"proc_name = {names['old']!r}") as server:
        check = names.discover()
        assert_total(run_each(check)[names["old"]], 2)
        record = Record(server)
        server.configure(f"proc_name = {names['new']!r}")
        server.replace_workers()
        found = run_each(check)
        assert_gone(found[names["old"]], names["old"])
        assert_total(found[names["new"]], 2)
        assert record.count() == (2, 2)
        assert found[names["old"]].churn == (0, 2)
        assert found[names["new"]].churn == (2, 0)


@root
@needs_control_groups
def test_a_server_that_is_moved_between_containers(names):
    with run_container() as first, run_container() as second, names.run("web") as server:
        tagger.set_tags({first.entity: ["image_tag:blue"], second.entity: ["image_tag:green"]})
        check = names.discover()
        assert_total(run_each(check)[names["web"]], 2)
        for container, tag in ((first, "image_tag:blue"), (second, "image_tag:green")):
            container.move(server.master, *server.workers())
            found = run_each(check)[names["web"]]
            assert_total(found.under(tag), 2)
            assert sum(found.under(*tags).total for tags in found.containers) == 2
            assert found.under(tag).churn == (0, 0)
            # The workers are alive.
            assert sum(value for (name, _), value in found.samples.items() if name == "gunicorn.workers.exited") == 0
            assert_total(run_each(check)[names["web"]].under(tag), 2)


class TestLimit:
    def test_the_first_by_name_are_watched(self, names):
        with names.run("b", workers=1), names.run("c", workers=1), names.run("a", workers=1):
            check = names.discover(limit=2)
            assert run_each(check).keys() == {names["a"], names["b"]}
            (warning,) = check.get_warnings()
            assert warning.startswith("Applications left out by `discovery`: 1, beyond its limit of 2. ")

    def test_those_that_were_watched_stay_watched(self, names):
        check = names.discover(limit=2)
        with names.run("b", workers=1), names.run("d", workers=1):
            run_each(check)
            assert check.get_warnings() == []
            with names.run("a", workers=1), names.run("c", workers=1):
                assert run_each(check).keys() == {names["b"], names["d"]}
                (warning,) = check.get_warnings()
                assert "`discovery`: 2," in warning

    def test_one_that_is_gone_loses_its_place(self, names):
        """And is no longer missing when it is back, although it is left out."""
        check = names.discover(limit=1)
        with contextlib.ExitStack() as stack:
            with names.run("b", workers=1):
                assert_total(run_each(check)[names["b"]], 1)
            stack.enter_context(names.run("c", workers=1))
            found = run_each(check)
            assert_gone(found[names["b"]], names["b"])
            assert_total(found[names["c"]], 1)
            stack.enter_context(names.run("b", workers=1))
            assert run_each(check).keys() == {names["c"]}
            (warning,) = check.get_warnings()
            assert "`discovery`: 1," in warning


def test_a_run_waits_once_for_all_servers(names, monkeypatch):
    with names.run("a", workers=1), names.run("b", workers=1), names.run("c", workers=1):
        check = names.discover()
        run_each(check)
        waits = []
        monkeypatch.setattr(time, "sleep", lambda seconds: waits.append((threading.current_thread(), seconds)))
        assert len(run_each(check)) == 3
        monkeypatch.undo()
        assert [seconds for thread, seconds in waits if thread is threading.current_thread()] == [0.1]


def test_one_search_covers_all_servers_without_workers(names, monkeypatch):
    monkeypatch.setattr(drafts, "SEARCH_SECONDS", 1.0)
    with names.run("a", workers=0), names.run("b", workers=0), names.run("c", workers=0), names.run("d"):
        check = names.discover()
        began = time.monotonic()
        found = run_each(check)
        assert 1.1 <= time.monotonic() - began < 2.1
        for end in "abc":
            assert_without_workers(found[names[end]], names[end])
        assert_total(found[names["d"]], 2)


def test_a_worker_that_starts_during_the_search(names, monkeypatch):
    with names.run("a", workers=0), names.run("b", workers=0) as server, names.run("c", workers=0):
        check = names.discover()
        real = time.sleep

        def sleep(seconds):
            if seconds < check_module.SAMPLE_SECONDS:
                monkeypatch.setattr(time, "sleep", real)
                server.signal(signal.SIGTTIN)
                server.await_workers(1)
            real(seconds)

        monkeypatch.setattr(time, "sleep", sleep)
        found = run_each(check)
        assert_total(found[names["b"]], 1)
        for end in "ac":
            assert_without_workers(found[names[end]], names[end])
