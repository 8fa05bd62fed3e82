"""The check on real containers. What it should count is known from Docker and the servers' logs."""

import contextlib
import json
import subprocess
from typing import NamedTuple

import pytest
from datadog_checks.base.stubs import datadog_agent, tagger

from tests.assertions import CRITICAL, OK
from tests.gunicorn_server import Server, as_nobody, is_alive, run_gunicorn, unique, wait_until
from tests.standalone import command_process

from .docker import ADDRESS, Docker, DockerContainer, list_exited, run_container
from .observations import NO_TAGS, ServiceCheck, Watcher, make_instance, submit, tally

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SHOP = ["image_name:shop", "short_image:shop"]

# The values by which an instance may name a container.
container_values = pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda container: str(container.master), id="pid"),
        pytest.param(lambda container: container.master, id="pid without quotes"),
        pytest.param(lambda container: str(container.workers()[-1]), id="pid of a worker"),
        pytest.param(lambda container: container.id, id="id"),
        pytest.param(lambda container: container.id[:12], id="short id"),
    ],
)
with_and_without_name = pytest.mark.parametrize("named", [False, True], ids=["any name", "with proc_name"])
users = pytest.mark.parametrize(
    "as_user", [pytest.param(lambda act: act(), id="root"), pytest.param(as_nobody, id="nobody")]
)


class Crowd(NamedTuple):
    """A server on the host and two in containers, all of one name, and one of another name in a third container."""

    host: Server
    one: DockerContainer
    another: DockerContainer
    other: DockerContainer

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def containers(self) -> tuple[DockerContainer, ...]:
        return self.one, self.another, self.other


@pytest.fixture(scope="module")
def crowd(docker: Docker):
    """Servers whose numbers of workers differ, so that no two of them can be mistaken for each other."""
    name = unique("shop")
    with (
        run_gunicorn("--name", name, name=name, workers=4) as host,
        run_container(docker, name=name, workers=2) as one,
        run_container(docker, name=name, workers=3) as another,
        run_container(docker, workers=1) as other,
    ):
        yield Crowd(host, one, another, other)


def options(container, value, *, named):
    return {"container": value} | ({"proc_name": container.name} if named else {})


def set_tags(tags, *containers):
    """Set the tags that the Agent's tagger knows for these containers, and keep those of others."""
    tagger.set_tags({**tagger._store, **{container.entity: list(tags) for container in containers}})


def app(server):
    return f"app:{server.name}"


def look_again():
    """Update what all instances know about the host, as every run does at the default interval.

    They share what they know for some seconds, but an instance whose server is missing looks at once.
    """
    submit(make_instance(proc_name=unique("missing")))


def assert_ok(found, name):
    """Assert that there is no error, and one service check, which is OK."""
    assert found.error == ""
    assert found.service_check == ServiceCheck(OK, "", frozenset({f"app:{name}"}))


@container_values
def test_an_instance_counts_only_the_workers_of_its_container(crowd, value):
    instances = {
        (container, named): make_instance(**options(container, value(container), named=named))
        for container in crowd.containers
        for named in (False, True)
    }
    for (container, _), check in instances.items():
        found = submit(check)
        assert_ok(found, container.name)
        assert found.tally() == (len(container.workers()), None, None)

    before = {container: tally(container) for container in crowd.containers}
    for container in crowd.containers:
        container.replace_workers()

    for (container, _), check in instances.items():
        found = submit(check)
        assert_ok(found, container.name)
        assert found.tally() == tally(container).since(before[container])


def test_a_container_with_a_server_of_another_name_is_critical(crowd):
    found = submit(make_instance(**options(crowd.one, crowd.one.id, named=False), proc_name=crowd.other.name))
    message = f"Found no master process with name: gunicorn: master [{crowd.other.name}]"
    assert (found.error, found.metrics) == (message, {})
    assert found.service_check == ServiceCheck(CRITICAL, message, frozenset({app(crowd.other)}))


@users
@with_and_without_name
def test_any_user_counts_the_workers(crowd, as_user, named):
    container = crowd.one
    check = make_instance(**options(container, container.id, named=named))
    former, booted, exited = container.workers(), len(container.booted()), len(list_exited(container))
    before = tally(container)

    def is_replaced():
        return (
            len(container.booted()) == booted + len(former)
            and len(list_exited(container)) == exited + len(former)
            and not any(map(is_alive, former))
        )

    # The user who runs the check may not signal the server.
    signal_on_input = ["sh", "-c", 'read -r _ && kill -HUP "$1"', "sh", str(container.master)]
    signaller = subprocess.Popen(signal_on_input, stdin=subprocess.PIPE, bufsize=0)

    def run_twice():
        first = submit(check)
        signaller.stdin.write(b"\n")
        wait_until(is_replaced, "the new workers", lambda: container.log)
        return first, submit(check)

    with signaller:
        first, second = as_user(run_twice)
    assert_ok(first, container.name)
    assert first.tally() == (len(former), None, None)
    assert_ok(second, container.name)
    assert second.tally() == tally(container).since(before)


@pytest.fixture
def connected(crowd):
    """Hold connections open that send nothing: a sync worker that accepts one waits for its request.

    Returns how many are accepted and queued, by container: those that exceed the number of workers are queued.
    """
    numbers = {crowd.one: 1, crowd.another: 2, crowd.other: 3}
    with contextlib.ExitStack() as stack:
        for container, number in numbers.items():
            for _ in range(number):
                stack.enter_context(container.connect())
        yield {crowd.one: (1, 0), crowd.another: (2, 0), crowd.other: (1, 2)}


def await_connections(check, expected, *tags, run=submit):
    """Wait until the workers have accepted what they can."""
    wait_until(lambda: run(check).connections(*tags, f"listener:{ADDRESS}") == expected, f"{expected} connections")


@users
@with_and_without_name
def test_an_instance_counts_only_the_connections_of_its_container(connected, as_user, named):
    for container, expected in connected.items():
        # Without `bind`, only root would see which sockets are the server's.
        check = make_instance(**options(container, container.id, named=named), bind=[ADDRESS])
        await_connections(check, expected, app(container), run=lambda check: as_user(lambda: submit(check)))


def test_root_counts_connections_without_bind(connected):
    for container, expected in connected.items():
        await_connections(make_instance(container=container.id), expected, app(container))


def test_connections_to_one_address_in_several_containers_are_added_up(crowd, connected):
    set_tags(SHOP, crowd.one, crowd.another)
    await_connections(make_instance(proc_name=crowd.name), (3, 0), *SHOP)


@pytest.mark.parametrize("cardinality", ["low", "orchestrator", "high"])
@with_and_without_name
def test_the_tags_of_the_container_are_on_every_metric(crowd, cardinality, named):
    datadog_agent._config["checks_tag_cardinality"] = cardinality
    set_tags(SHOP, crowd.one)
    set_tags(["image_name:another"], crowd.another)
    check = make_instance(**options(crowd.one, crowd.one.id, named=named), tags=["team:web"])
    submit(check)
    found = submit(check)
    assert len({name for name, _ in found.metrics}) >= 10
    for _, tags in found.metrics:
        assert tags >= {app(crowd.one), "team:web", *SHOP}
        assert "image_name:another" not in tags
    assert found.service_check == ServiceCheck(OK, "", frozenset({app(crowd.one), "team:web"}))
    asked = getattr(tagger, cardinality.upper())
    tagger.assert_called(crowd.one.entity, asked)
    assert {used for _, used in tagger._calls} == {asked}


def test_the_cardinality_is_low_by_default(crowd):
    submit(make_instance(container=crowd.one.id))
    assert set(tagger._calls) == {(crowd.one.entity, tagger.LOW)}


def test_a_tag_that_the_instance_has_already_is_not_repeated(crowd):
    set_tags(SHOP, crowd.one)
    found = submit(make_instance(container=crowd.one.id, tags=SHOP[:1]))
    assert found.groups(crowd.name) == {frozenset(SHOP): (2, None, None)}


def test_one_group_for_each_set_of_tags_however_late_they_arrive(crowd):
    check = make_instance(proc_name=crowd.name)
    found = submit(check)
    assert_ok(found, crowd.name)
    assert found.groups(crowd.name) == {NO_TAGS: (9, None, None)}

    set_tags(SHOP, crowd.one, crowd.another)
    found = submit(check)
    assert_ok(found, crowd.name)
    assert found.groups(crowd.name) == {NO_TAGS: (4, 0, 0), frozenset(SHOP): (5, 0, 0)}


def test_the_workers_of_a_server_without_a_title_are_counted(docker):
    with run_container(docker, workers=2, titled=False) as container:
        check = make_instance(container=container.id)
        # A fresh worker without a title has its master's signal handlers for some milliseconds.
        wait_until(lambda: submit(check).tally(app(container)).workers == 2, "both workers")


@container_values
@with_and_without_name
def test_a_container_is_counted_again_after_it_is_stopped_and_restarted(docker, value, named):
    with run_container(docker, workers=2) as container:
        given = value(container)
        watcher = Watcher(**options(container, given, named=named))
        assert_ok(watcher.last, container.name)
        before = tally(container)

        container.stop()
        found = watcher.run()
        message = f"Found no master process in container {given}"
        if named:
            message = f"Found no master process with name: gunicorn: master [{container.name}]"
        assert found.error == message
        tags = frozenset({app(container)} if named else ())
        assert found.service_check == ServiceCheck(CRITICAL, message, tags)
        assert found.tally().workers is None

        container.restart()
        assert_ok(watcher.run(), container.name)
        assert watcher.tally() == tally(container).since(before)

        before = tally(container)
        watcher.counts.clear()
        container.restart()
        assert_ok(watcher.run(), container.name)
        assert watcher.tally() == tally(container).since(before) == (2, 2, 2)


def test_a_container_that_has_never_run_a_server_is_critical(docker):
    container = docker("create", docker.label, "true")
    found = submit(make_instance(container=container[:12], tags=["team:web"]))
    message = f"Found no master process in container {container[:12]}"
    assert (found.error, found.metrics) == (message, {})
    assert found.service_check == ServiceCheck(CRITICAL, message, frozenset({"team:web"}))


def test_a_pid_in_no_container_is_critical(crowd):
    pid = crowd.host.master
    found = submit(make_instance(container=str(pid)))
    message = f"pid {pid} is in no container"
    assert (found.error, found.metrics) == (message, {})
    assert found.service_check == ServiceCheck(CRITICAL, message, NO_TAGS)


@pytest.mark.parametrize("discovers", [False, True], ids=["proc_name", "discovery"])
def test_no_worker_is_lost_while_containers_of_one_name_are_scaled(docker, discovers):
    name = unique("scaled")
    with contextlib.ExitStack() as stack:

        def scale_up():
            container = stack.enter_context(run_container(docker, name=name, workers=2))
            set_tags(SHOP, container)
            return container

        containers = [scale_up()]
        before = tally(*containers)
        look_again()
        watcher = Watcher(**({"discovery": {"include": [f"^{name}$"]}} if discovers else {"proc_name": name}))
        assert watcher.tally(*SHOP).workers == 2

        containers += [scale_up(), scale_up()]
        look_again()
        assert_ok(watcher.run(), name)
        assert set(watcher.last.groups(name)) == {frozenset(SHOP)}
        assert watcher.tally(*SHOP) == tally(*containers).since(before) == (6, 4, 0)

        for container in containers:
            container.replace_workers()
        watcher.run()
        assert watcher.tally(*SHOP) == tally(*containers).since(before) == (6, 10, 6)

        containers[0].stop()
        watcher.run()
        assert_ok(watcher.last, name)
        assert watcher.tally(*SHOP) == (4, 10, 8)
        assert sum(len(list_exited(container)) for container in containers) == 8


def test_each_replica_can_have_an_instance_of_its_own(docker):
    name = unique("replica")
    with run_container(docker, name=name, workers=2) as one, run_container(docker, name=name, workers=2) as another:
        replicas = (one, another)
        set_tags(SHOP, *replicas)
        watchers = [Watcher(container=str(replica.master)) for replica in replicas]
        before = [tally(replica) for replica in replicas]
        one.replace_workers()
        another.add_worker()
        for watcher, replica, since in zip(watchers, replicas, before, strict=True):
            assert_ok(watcher.run(), name)
            assert set(watcher.last.groups(name)) == {frozenset(SHOP)}
            assert watcher.tally() == tally(replica).since(since)
        assert [watcher.tally() for watcher in watchers] == [(2, 2, 2), (3, 1, 0)]


def test_exits_count_under_the_last_known_tags(docker):
    name = unique("shop")
    with run_gunicorn("--name", name, name=name, workers=1), run_container(docker, name=name, workers=2) as container:
        set_tags(SHOP, container)
        check = make_instance(proc_name=name)
        submit(check)
        container.stop()
        # The tagger forgets containers that have ended.
        tagger.reset()
        found = submit(check)
        assert_ok(found, name)
        assert found.sum("gunicorn.workers.exited", SHOP) == 2
        assert found.sum("gunicorn.workers", SHOP) is None
        assert found.groups(name)[NO_TAGS] == (1, 0, 0)


def test_discovery_finds_servers_of_the_host_and_of_containers(crowd):
    set_tags(SHOP, crowd.one, crowd.another)
    look_again()
    found = Watcher(discovery={}).run()
    assert found.error == ""
    assert found.groups(crowd.name) == {NO_TAGS: (4, 0, 0), frozenset(SHOP): (5, 0, 0)}
    assert found.groups(crowd.other.name) == {NO_TAGS: (1, 0, 0)}
    for name in (crowd.name, crowd.other.name):
        assert found.service_check_of(name) == ServiceCheck(OK, "", frozenset({f"app:{name}"}))


def test_discovery_reports_no_failure_for_a_stopped_container(docker):
    with run_container(docker, workers=2) as container:
        set_tags(SHOP, container)
        look_again()
        watcher = Watcher(discovery={})
        assert watcher.last.service_check_of(container.name).status == OK
        container.stop()
        tagger.reset()
        for _ in range(3):
            found = watcher.run()
            assert found.error == ""
            assert found.service_check_of(container.name) is None
            assert found.sum("gunicorn.workers", [app(container)]) is None
        assert watcher.tally(app(container), *SHOP).exited == 2


def test_discovery_reports_a_stopped_server_of_the_host_as_critical():
    with run_gunicorn(workers=2) as server:
        look_again()
        watcher = Watcher(discovery={})
        assert watcher.last.service_check_of(server.name).status == OK
    message = f"Found no master process with name: gunicorn: master [{server.name}]"
    for _ in range(3):
        found = watcher.run()
        assert found.error == ""
        assert found.service_check_of(server.name) == ServiceCheck(CRITICAL, message, frozenset({app(server)}))


def test_the_command_lists_the_containers(crowd, tmp_path):
    table = command_process.run("servers", cwd=tmp_path).stdout
    listed = json.loads(command_process.run("servers", "--json", cwd=tmp_path).stdout)["servers"]
    for name, containers in ((crowd.name, [crowd.one, crowd.another]), (crowd.other.name, [crowd.other])):
        rows = "\n".join(row for row in table.splitlines() if row.startswith(name))
        entries = json.dumps([entry for entry in listed if entry["proc_name"] == name])
        for container in containers:
            assert container.id[:12] in rows
            assert container.id not in rows
            assert container.id in entries
