"""The results of several servers together."""

import functools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.pool.churn import Churn
from datadog_checks.gunicorn.pool.results import Health, Pool, drop_unclear_connections, merge_health, merge_pools
from datadog_checks.gunicorn.pool.states import States
from datadog_checks.gunicorn.pool.usage import Usage
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import Counts, parse_bind

HERE, THERE = parse_bind("127.0.0.1:8000"), parse_bind("unix:/run/app.sock")

ONE = Pool(
    Health.WELL,
    states=States(idle=2, working=1),
    dirty_workers=None,
    uptime=60.0,
    churn=Churn(started=3, exited=1),
    ages=[1.0, 2.0, 3.0],
    heartbeats=[0.1, 0.2],
    usage={Role.MASTER: [Usage(1.0, 10, 1)], Role.WORKER: [Usage(2.0, 20, 2), Usage(3.0, 30, 3), Usage(4.0, 40, 4)]},
    cpu={Role.MASTER: 1.0, Role.WORKER: 50.0},
    connections={HERE: Counts(accepted=1, queued=2)},
)
OTHER = Pool(
    Health.WELL,
    states=States(idle=0, working=1),
    dirty_workers=2,
    uptime=600.0,
    churn=Churn(started=0, exited=4),
    ages=[0.5],
    heartbeats=[0.3],
    usage={Role.MASTER: [Usage(5.0, 50, 5)], Role.WORKER: [Usage(6.0, 60, 6)]},
    cpu={Role.MASTER: 0.0, Role.WORKER: 25.0},
    connections={HERE: Counts(accepted=10, queued=20), THERE: Counts(accepted=100, queued=200)},
)
GONE = Pool(Health.GONE, churn=Churn(started=1, exited=5))


def test_the_sums_of_two_servers():
    assert merge_pools([ONE, OTHER]) == Pool(
        Health.WELL,
        states=States(idle=2, working=2),
        dirty_workers=2,
        uptime=600.0,
        churn=Churn(started=3, exited=5),
        ages=[1.0, 2.0, 3.0, 0.5],
        heartbeats=[0.1, 0.2, 0.3],
        usage={
            Role.MASTER: [Usage(1.0, 10, 1), Usage(5.0, 50, 5)],
            Role.WORKER: [Usage(2.0, 20, 2), Usage(3.0, 30, 3), Usage(4.0, 40, 4), Usage(6.0, 60, 6)],
        },
        cpu={Role.MASTER: 1.0, Role.WORKER: 75.0},
        connections={HERE: Counts(accepted=11, queued=22), THERE: Counts(accepted=100, queued=200)},
    )


def test_one_server_is_its_own_sum():
    assert merge_pools([ONE]) is ONE
    assert merge_pools([GONE]) is GONE


@pytest.mark.parametrize(
    ("lacking", "is_lacking"),
    [
        ({"states": None}, lambda pool: pool.states is None),
        ({"ages": None}, lambda pool: pool.ages is None),
        ({"heartbeats": None}, lambda pool: pool.heartbeats is None),
        ({"usage": None}, lambda pool: pool.usage is None),
        ({"cpu": None}, lambda pool: pool.cpu is None),
        (
            {"cpu": {Role.MASTER: 1.0, Role.WORKER: None}},
            lambda pool: pool.cpu[Role.MASTER] and pool.cpu[Role.WORKER] is None,
        ),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_what_is_unknown_for_one_is_unknown_for_all(lacking, is_lacking):
    unknown = replace(OTHER, **lacking)

    for pools in ([ONE, unknown], [unknown, ONE], [ONE, unknown, OTHER]):
        merged = merge_pools(pools)
        assert is_lacking(merged)
        assert [field for field in Pool.__slots__ if field not in lacking and getattr(merged, field) is None] == []


@pytest.mark.parametrize("connections", [{}, None])
def test_a_server_without_a_known_listener_adds_no_connections(connections):
    assert merge_pools([ONE, replace(OTHER, connections=connections)]).connections == ONE.connections


def test_a_server_in_its_first_run_adds_no_churn():
    assert merge_pools([ONE, replace(OTHER, churn=None)]).churn == ONE.churn
    assert merge_pools([replace(ONE, churn=None), replace(OTHER, churn=None)]).churn is None


def test_a_server_that_appeared_during_the_run_does_not_count_yet():
    merged = merge_pools([ONE, Pool(Health.NEW)])
    assert merged == ONE


def test_workers_that_vanished_are_not_counted():
    vanished = replace(OTHER, health=Health.VANISHED, states=None)
    assert merge_pools([ONE, vanished]).states == ONE.states
    assert merge_pools([vanished, vanished]).states is None


class TestAddressesThatAreOnlyConfigured:
    CLAIM = (1, HERE)

    def pool(self, *claims):
        return replace(ONE, connections={HERE: Counts(1, 2)}, configured=frozenset(claims))

    def test_one_group_counts_them_once(self):
        both = [self.pool(self.CLAIM), self.pool(self.CLAIM)]
        (group,) = drop_unclear_connections([both])
        assert merge_pools(group).connections == {HERE: Counts(1, 2)}

    def test_each_network_namespace_counts_its_own(self):
        both = [self.pool(self.CLAIM), self.pool((2, HERE))]
        assert merge_pools(both).connections == {HERE: Counts(2, 4)}

    def test_they_are_left_out_if_several_groups_have_them(self):
        groups = drop_unclear_connections([[self.pool(self.CLAIM)], [self.pool(self.CLAIM), self.pool((2, HERE))]])
        assert [merge_pools(pools).connections for pools in groups] == [{}, {HERE: Counts(1, 2)}]


def test_a_server_without_workers_has_no_cpu_of_workers():
    empty = Pool(
        Health.WITHOUT_WORKERS,
        states=States(0, 0),
        uptime=1.0,
        churn=Churn(0, 0),
        ages=[],
        heartbeats=[],
        usage={Role.MASTER: [Usage(0.0, 1, 1)], Role.WORKER: []},
        cpu={Role.MASTER: 2.0},
        connections={HERE: Counts()},
    )

    merged = merge_pools([empty, ONE])
    assert (merged.health, merged.states, merged.ages) == (Health.WELL, ONE.states, ONE.ages)
    assert merged.cpu == {Role.MASTER: 3.0, Role.WORKER: 50.0}
    assert merged.usage[Role.WORKER] == ONE.usage[Role.WORKER]


def test_servers_that_are_gone_add_only_their_churn():
    merged = merge_pools([GONE, ONE])
    assert merged.churn == Churn(started=4, exited=6)
    for field in {*Pool.__slots__} - {"churn"}:
        assert getattr(merged, field) == getattr(ONE, field)

    assert merge_pools([GONE, GONE]) == Pool(Health.GONE, churn=Churn(started=2, exited=10))


WELL, EMPTY, UNCLEAR = Health.WELL, Health.WITHOUT_WORKERS, Health.UNCLEAR


@pytest.mark.parametrize(
    ("parts", "health"),
    [
        ([], Health.GONE),
        ([Health.GONE], Health.GONE),
        ([Health.GONE, EMPTY], EMPTY),
        ([EMPTY, EMPTY], EMPTY),
        ([EMPTY, UNCLEAR], UNCLEAR),
        ([EMPTY, Health.VANISHED], Health.VANISHED),
        ([EMPTY, Health.NEW], Health.NEW),
        ([EMPTY, UNCLEAR, WELL, Health.GONE], WELL),
    ],
)
def test_the_health_of_several_servers(parts, health):
    assert merge_health(parts) is health
    assert merge_health(reversed(parts)) is health


counts = st.integers(0, 9)
seconds = counts.map(float)
roles = st.sampled_from([Role.MASTER, Role.WORKER])
alive = st.builds(
    Pool,
    health=st.sampled_from([WELL, EMPTY, UNCLEAR]),
    states=st.none() | st.builds(States, counts, counts),
    dirty_workers=st.none() | counts,
    uptime=st.none() | seconds,
    churn=st.none() | st.builds(Churn, counts, counts),
    ages=st.none() | st.lists(seconds, max_size=3),
    usage=st.none() | st.dictionaries(roles, st.lists(st.builds(Usage, seconds, counts, counts), max_size=2)),
    cpu=st.none() | st.dictionaries(roles, st.none() | seconds),
    connections=st.dictionaries(st.sampled_from([HERE, THERE]), st.builds(Counts, counts, counts)),
)
gone = st.builds(Pool, health=st.just(Health.GONE), churn=st.none() | st.builds(Churn, counts, counts))


def normalize(pool):
    """Treat no connections like unknown ones: a server that is gone has None, one without a known listener {}."""
    return replace(pool, connections=pool.connections or None)


@given(st.lists(alive | gone, min_size=1, max_size=5))
def test_adding_servers_one_by_one_or_all_at_once_is_the_same(pools):
    one_by_one = functools.reduce(lambda total, pool: merge_pools([total, pool]), pools)

    assert normalize(one_by_one) == normalize(merge_pools(pools))
    assert normalize(merge_pools([pools[0], merge_pools(pools)])) == normalize(merge_pools([pools[0], *pools]))


@given(st.lists(alive | gone, min_size=2, max_size=5))
def test_nothing_is_lost_or_made_up(pools):
    merged = merge_pools(pools)
    living = [pool for pool in pools if pool.health is not Health.GONE]

    if merged.states:
        assert sum(merged.states) == sum(sum(pool.states) for pool in living)
    if merged.churn:
        assert merged.churn.exited == sum(pool.churn.exited for pool in pools if pool.churn)
    if merged.ages is not None:
        assert sorted(merged.ages) == sorted(age for pool in living for age in pool.ages)
    if living:
        total = sum(sum(counts) for counts in merged.connections.values())
        assert total == sum(sum(counts) for pool in living for counts in pool.connections.values())
