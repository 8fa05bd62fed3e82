"""Real servers in containers whose tags come from the base package's stub of the Agent's tagger."""

import contextlib
from collections import Counter

import pytest
from datadog_checks.base.stubs import datadog_agent, tagger

from datadog_checks.gunicorn.pool import fleet
from tests.assertions import OK, assert_not_found, assert_total, make_check, run
from tests.control_groups import ADDRESS, NETWORK, make_id, needs, needs_control_groups, run_container
from tests.gunicorn_server import Record, kill_and_wait, root, run_gunicorn, unique, wait_until

pytestmark = [root, needs_control_groups]

BLUE, GREEN = "image_tag:blue", "image_tag:green"


@pytest.fixture(autouse=True)
def _fresh_tagger():
    """Reset what the Agent's tagger knows, and what it was asked."""
    tagger.reset()
    yield
    tagger.reset()


@pytest.fixture(autouse=True)
def _always_look(monkeypatch):
    """Let every run look at the host, as it would 10 s later."""
    monkeypatch.setattr(fleet, "FRESH_SECONDS", 0)


def set_tags(known):
    """Set what the tagger answers for each container."""
    tagger.set_tags({container.entity: tags for container, tags in known.items()})


@pytest.fixture
def containers():
    """Make containers on demand."""
    with contextlib.ExitStack() as stack:
        yield lambda count: [stack.enter_context(run_container()) for _ in range(count)]


@pytest.mark.every_gunicorn
@pytest.mark.parametrize(("setting", "cardinality"), [(None, tagger.LOW), ("orchestrator", tagger.ORCHESTRATOR)])
def test_every_metric_has_the_tags_of_its_container(setting, cardinality):
    """The service check has none of them, which `run` asserts."""
    datadog_agent._config["checks_tag_cardinality"] = setting
    with run_container(f"docker/{make_id()}/docker/{{id}}") as container, container.run(name=unique("web")) as server:
        check = make_check(server.name)
        run(check)
        untagged = run(check)
        set_tags({container: [GREEN, BLUE, "image_name:web"]})
        found = run(check)
        assert untagged.containers == {()}
        assert found.containers == {("image_name:web", BLUE, GREEN)}
        assert_total(found.under("image_name:web", BLUE, GREEN), 2)
        assert found.under("image_name:web", BLUE, GREEN).samples.keys() == untagged.samples.keys()
    tagger.assert_called(container.entity, cardinality)


def test_containers_with_equal_tags_are_one_sum(containers):
    name = unique("web")
    blue, blue_too, green, untagged = containers(4)
    set_tags({blue: [BLUE, "a:b"], blue_too: ["a:b", BLUE], green: [GREEN]})
    with (
        blue.run(name=name, workers=1),
        blue_too.run(name=name, workers=2),
        green.run(name=name, workers=3),
        untagged.run(name=name, workers=1),
        run_gunicorn("--name", name, name=name, workers=1),
    ):
        check = make_check(name)
        for _ in range(2):
            found = run(check)
            assert found.containers == {("a:b", BLUE), (GREEN,), ()}
            assert_total(found.under("a:b", BLUE), 3)
            assert_total(found.under(GREEN), 3)
            assert_total(found.under(), 2)
        assert_total(run(make_check(name, container=blue_too.id)).under("a:b", BLUE), 2)


@needs(*NETWORK)
def test_connections_of_one_address_are_summed_for_equal_tags(containers):
    name = unique("web")
    blue, blue_too, green = containers(3)
    set_tags({blue: [BLUE], blue_too: [BLUE], green: [GREEN]})
    with (
        blue.run_with_clients(2, name=name),
        blue_too.run_with_clients(3, name=name),
        green.run_with_clients(4, name=name),
    ):
        check = make_check(name)

        def is_settled():
            found = run(check)
            return [found.under(color).connections for color in (BLUE, GREEN)] == [
                {ADDRESS: (2, 3)},
                {ADDRESS: (1, 3)},
            ]

        wait_until(is_settled, "the connections")


def test_tags_that_the_instance_already_has_are_not_repeated(containers):
    """Autodiscovery adds the tags of the container to the instance's."""
    name = unique("web")
    (container,) = containers(1)
    set_tags({container: [BLUE, "pod_phase:running"]})
    with container.run(name=name):
        check = make_check(name, container=container.id, tags=[BLUE, "team:web"])
        found = run(check)
        assert found.containers == {("pod_phase:running",)}
        assert_total(found.under("pod_phase:running"), 2)


def replace_one(server):
    count = len(server.workers())
    kill_and_wait(server.workers()[0])
    server.await_workers(count)


def names_of(found):
    return {name for name, _ in found.samples}


def test_tags_that_arrive_late_cause_neither_churn_nor_gaps(containers):
    name = unique("web")
    blue, green = containers(2)
    with blue.run(name=name, workers=2) as server, green.run(name=name, workers=3) as other:
        check = make_check(name)
        assert_total(run(check), 5)
        records = [Record(server), Record(other)]
        replace_one(server)
        untagged = run(check)
        assert untagged.churn == (1, 1)

        # A worker is replaced while the tags of its container arrive.
        replace_one(server)
        set_tags({blue: [BLUE]})
        found = run(check)
        assert found.containers == {(BLUE,), ()}
        assert_total(found.under(BLUE), 2)
        assert_total(found.under(), 3)
        assert (found.under(BLUE).churn, found.under().churn) == ((1, 1), (0, 0))
        assert names_of(found.under(BLUE)) == names_of(found.under()) == names_of(untagged)

        replace_one(other)
        set_tags({blue: [BLUE], green: [BLUE]})
        found = run(check)
        assert found.containers == {(BLUE,)}
        assert_total(found.under(BLUE), 5)
        assert found.under(BLUE).churn == (1, 1)
        assert names_of(found) == names_of(untagged)
        assert [record.count() for record in records] == [(2, 2), (1, 1)]


def test_the_last_exits_of_a_group_are_submitted_with_its_tags(containers):
    name = unique("web")
    blue, green = containers(2)
    set_tags({blue: [BLUE], green: [GREEN]})
    with blue.run(name=name, workers=2):
        check = make_check(name)
        with green.run(name=name, workers=3):
            found = run(check)
            assert found.containers == {(BLUE,), (GREEN,)}
        # The tagger forgets a container that has ended.
        set_tags({blue: [BLUE]})
        found = run(check)
        assert (found.status, found.error) == (OK, "")
        assert found.under(GREEN).metrics == {"gunicorn.workers.started": 0, "gunicorn.workers.exited": 3}
        assert_total(found.under(BLUE), 2)
        assert found.under(BLUE).churn == (0, 0)
        assert run(check).containers == {(BLUE,)}


def test_exits_while_nothing_runs_are_submitted_later(containers):
    """The next run that finds a server, here in another container, submits them."""
    name = unique("web")
    blue, green = containers(2)
    set_tags({blue: [BLUE], green: [GREEN]})
    check = make_check(name)
    with blue.run(name=name, workers=2):
        run(check)
    for _ in range(2):
        assert_not_found(run(check), name)
    with green.run(name=name, workers=3):
        found = run(check)
        assert_total(found.under(GREEN), 3)
        assert found.under(GREEN).churn == (3, 0)
        assert found.under(BLUE).metrics == {"gunicorn.workers.started": 0, "gunicorn.workers.exited": 2}
        found = run(check)
        assert found.containers == {(GREEN,)}
        assert found.under(GREEN).churn == (0, 0)


def test_scaling_from_one_to_three_and_back(containers):
    name = unique("web")
    groups = containers(3)
    set_tags({groups[0]: [BLUE], groups[1]: [BLUE], groups[2]: [GREEN]})
    check, churn = make_check(name), Counter()

    def look():
        found = run(check)
        assert (found.status, found.error) == (OK, "")
        for (metric, tags), value in found.samples.items():
            if metric.startswith("gunicorn.workers."):
                churn[metric.rpartition(".")[2], *tags] += value
        return sum(found.under(*tags).total for tags in found.containers)

    with contextlib.ExitStack() as stack:
        first = stack.enter_context(groups[0].run(name=name, workers=1))
        assert look() == 1
        record = Record(first)
        with contextlib.ExitStack() as further:
            second = further.enter_context(groups[1].run(name=name, workers=2))
            third = further.enter_context(groups[2].run(name=name, workers=3))
            assert look() == 6
            replace_one(second)
            third.replace_workers()
            assert look() == 6
            booted = len(second.booted()), len(third.booted())
        for _ in range(2):
            assert look() == 1
        assert record.count() == (0, 0)
    assert churn == {
        ("started", BLUE): booted[0],
        ("exited", BLUE): booted[0],
        ("started", GREEN): booted[1],
        ("exited", GREEN): booted[1],
    }
