"""The results of a run, for one server and for several of them together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """The result of the two looks of a run."""

    # It has workers.
    WELL = auto()
    # Its masters have no workers.
    WITHOUT_WORKERS = auto()
    # Its workers vanished during the run, or could not be read.
    UNCLEAR = auto()
    # It has no master any more.
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Pool:
    """The results of one run; None for unknown values.

    `ages` and `uptime` are in seconds, `cpu` in percent of one core. `connections` is empty if no listener is known.
    """

    health: Health
    states: States | None = None
    dirty_workers: int | None = None
    uptime: float | None = None
    churn: Churn | None = None
    ages: Sequence[float] | None = None
    usage: Mapping[Role, Sequence[Usage]] | None = None
    cpu: Mapping[Role, float | None] | None = None
    connections: Mapping[Address, Counts] | None = None


def merge_health(parts: Iterable[Health]) -> Health:
    """Judge several servers together: they are without workers if none of them has any."""
    found = set(parts)
    order = (Health.WELL, Health.UNCLEAR, Health.WITHOUT_WORKERS)
    return next((health for health in order if health in found), Health.GONE)


def merge_pools(pools: Sequence[Pool]) -> Pool:
    """Add up the results of several servers; what is unknown for one of them is unknown for all.

    Of servers that are gone, only the workers that exited count.
    """
    if len(pools) == 1:
        return pools[0]
    alive = [pool for pool in pools if pool.health is not Health.GONE]
    health = merge_health(pool.health for pool in pools)
    churn = _merge_churn(pool.churn for pool in pools)
    if not alive:
        return Pool(health, churn=churn)
    return Pool(
        health,
        states=_merge_states(pool.states for pool in alive),
        dirty_workers=_sum_given(pool.dirty_workers for pool in alive),
        uptime=max((pool.uptime for pool in alive if pool.uptime is not None), default=None),
        churn=churn,
        ages=_chain(pool.ages for pool in alive),
        usage=_merge_usage(pool.usage for pool in alive),
        cpu=_merge_cpu(pool.cpu for pool in alive),
        connections=_merge_connections(pool.connections for pool in alive),
    )


def _all_known(values: Iterable[T | None]) -> list[T] | None:
    """List the values; None if one of them is None."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return known if len(known) == len(listed) else None


def _sum_given(values: Iterable[int | None]) -> int | None:
    given = [value for value in values if value is not None]
    return sum(given) if given else None


def _merge_states(states: Iterable[States | None]) -> States | None:
    known = _all_known(states)
    if known is None:
        return None
    return States(sum(each.idle for each in known), sum(each.working for each in known))


def _merge_churn(churn: Iterable[Churn | None]) -> Churn | None:
    known = _all_known(churn)
    if known is None:
        return None
    return Churn(sum(each.started for each in known), sum(each.exited for each in known))


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


def _merge_connections(connections: Iterable[Mapping[Address, Counts] | None]) -> Mapping[Address, Counts]:
    total: dict[Address, Counts] = {}
    for each in connections:
        if not each:
            # It may listen on an address that is another's as well.
            return {}
        for address, counts in each.items():
            total[address] = total.get(address, Counts()).plus(counts)
    return total
