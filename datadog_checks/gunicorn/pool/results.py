"""The results of a run, for one server and for several of them together. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import chain
from typing import TypeVar

from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import Address, Counts

from .churn import Churn
from .states import States
from .usage import Usage

T = TypeVar("T")


class Health(Enum):
    """The result of a run's two looks at a server, best first; several servers together have the best one of theirs."""

    # It has workers.
    WELL = auto()
    # Its workers could not be read, or its masters changed during the run.
    UNCLEAR = auto()
    # All of its workers vanished during the run.
    VANISHED = auto()
    # It appeared during the run, which did not look at it.
    NEW = auto()
    # Its masters have no workers.
    WITHOUT_WORKERS = auto()
    # It has no master any more.
    GONE = auto()


# Whether there were any workers is unknown.
WITHOUT_COUNT = frozenset([Health.UNCLEAR, Health.VANISHED, Health.NEW])


@dataclass(frozen=True, slots=True)
class Pool:
    """The results of one run; None for unknown values.

    `ages`, `heartbeats` (the time since each worker's last one) and `uptime` are in seconds, `cpu` is in percent of one
    core. `connections` is empty if no listener is known; `configured` are the addresses in it that are only known from
    arguments or the option `bind`, each with the number of its network namespace.
    """

    health: Health
    states: States | None = None
    dirty_workers: int | None = None
    uptime: float | None = None
    churn: Churn | None = None
    ages: Sequence[float] | None = None
    heartbeats: Sequence[float] | None = None
    usage: Mapping[Role, Sequence[Usage]] | None = None
    cpu: Mapping[Role, float | None] | None = None
    connections: Mapping[Address, Counts] | None = None
    configured: AbstractSet[tuple[int, Address]] = frozenset()


@dataclass(frozen=True, slots=True)
class Application:
    """The results of one application in one run: those of each of its servers, by container.

    It is `missing` if it should be running and has no master.
    """

    name: str
    pools: Sequence[tuple[str | None, Pool]] = ()
    missing: bool = False


def merge_health(parts: Iterable[Health]) -> Health:
    """Judge several servers together: they are without workers if none of them has any."""
    found = set(parts)
    return next((health for health in Health if health in found), Health.GONE)


def merge_pools(pools: Sequence[Pool]) -> Pool:
    """Add up the results of several servers; what is unknown for one of them is unknown for all.

    A server that appeared during the run does not count yet. Of one that is gone, only the exited workers count.
    """
    if len(pools) == 1:
        return pools[0]
    health = merge_health(pool.health for pool in pools)
    churn = _merge_churn(pool.churn for pool in pools)
    counted = [pool for pool in pools if pool.health not in (Health.GONE, Health.NEW)]
    if not counted:
        return Pool(health, churn=churn)
    return Pool(
        health,
        states=_merge_states(counted),
        dirty_workers=_sum_given(pool.dirty_workers for pool in counted),
        uptime=max((pool.uptime for pool in counted if pool.uptime is not None), default=None),
        churn=churn,
        ages=_chain(pool.ages for pool in counted),
        heartbeats=_chain(pool.heartbeats for pool in counted),
        usage=_merge_usage(pool.usage for pool in counted),
        cpu=_merge_cpu(pool.cpu for pool in counted),
        connections=_merge_connections(counted),
        configured=frozenset(chain.from_iterable(pool.configured for pool in counted)),
    )


def drop_unclear_connections(groups: Sequence[Sequence[Pool]]) -> list[list[Pool]]:
    """Drop the connections to addresses that are configured for servers of several groups in one network namespace.

    It is unknown whose connections these are.
    """
    claims = Counter(chain.from_iterable({claim for pool in pools for claim in pool.configured} for pools in groups))
    unclear = {claim for claim, number in claims.items() if number > 1}
    return [
        [_without(pool, {address for _, address in pool.configured & unclear}) for pool in pools] for pools in groups
    ]


def _without(pool: Pool, addresses: AbstractSet[Address]) -> Pool:
    if not pool.connections or not addresses:
        return pool
    left = {address: counts for address, counts in pool.connections.items() if address not in addresses}
    return replace(pool, connections=left)


def _all_known(values: Iterable[T | None]) -> list[T] | None:
    """List the values; None if one of them is None."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return known if len(known) == len(listed) else None


def _sum_given(values: Iterable[int | None]) -> int | None:
    given = [value for value in values if value is not None]
    return sum(given) if given else None


def _merge_states(pools: Iterable[Pool]) -> States | None:
    # A server whose workers vanished adds none to those of the others.
    counted = [pool.states for pool in pools if pool.health is not Health.VANISHED]
    known = _all_known(counted)
    return States(sum(each.idle for each in known), sum(each.working for each in known)) if known else None


def _merge_churn(churn: Iterable[Churn | None]) -> Churn | None:
    # A server without a previous run adds nothing.
    known = [each for each in churn if each is not None]
    return Churn(sum(each.started for each in known), sum(each.exited for each in known)) if known else None


def _chain(parts: Iterable[Sequence[T] | None]) -> list[T] | None:
    known = _all_known(parts)
    return None if known is None else [*chain.from_iterable(known)]


def _merge_usage(usage: Iterable[Mapping[Role, Sequence[Usage]] | None]) -> Mapping[Role, Sequence[Usage]] | None:
    known = _all_known(usage)
    if known is None:
        return None
    return {role: [*chain.from_iterable(each.get(role, ()) for each in known)] for role in _list_roles(known)}


def _merge_cpu(cpu: Iterable[Mapping[Role, float | None] | None]) -> Mapping[Role, float | None] | None:
    known = _all_known(cpu)
    if known is None:
        return None
    percents = {role: _all_known(each[role] for each in known if role in each) for role in _list_roles(known)}
    return {role: None if found is None else sum(found) for role, found in percents.items()}


def _list_roles(parts: Iterable[Mapping[Role, object]]) -> Iterable[Role]:
    return dict.fromkeys(chain.from_iterable(parts))


def _merge_connections(pools: Iterable[Pool]) -> Mapping[Address, Counts]:
    total: dict[Address, Counts] = {}
    claimed: set[tuple[int, Address]] = set()
    for pool in pools:
        counted_before = {address for _, address in pool.configured & claimed}
        claimed |= pool.configured
        for address, counts in (pool.connections or {}).items():
            if address not in counted_before:
                total[address] = total.get(address, Counts()).plus(counts)
    return total
