"""Why the connections of a server were not counted."""

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet

from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.pool.watched import Key
from datadog_checks.gunicorn.sockets.addresses import Address
from datadog_checks.gunicorn.sockets.connections import Connections
from datadog_checks.gunicorn.sockets.obstacles import Obstacle, Reason
from datadog_checks.gunicorn.text import quote

from .findings import Finding, list_first

# Where a control group of its own would help.
_CROWDED = {Reason.ROOT_GROUP, Reason.OTHER_SERVER, Reason.STRANGER}


def format_gaps(fleet: Fleet) -> str:
    """Name the servers whose connections the last look did not count, for the status page; empty if there are none."""
    names = sorted({key.name for key in find_unknown_connections(fleet)})
    return f"missing for {', '.join(map(quote, names))}: see agent diagnose" if names else ""


def find_unknown_connections(fleet: Fleet) -> dict[Key, Connections]:
    """Find the servers whose connections the last look did not count."""
    # Without workers, a server has no connections either.
    return {
        key: server.connections
        for key, server in fleet.alive.items()
        if server.connections and server.workers and not server.connections.found_by
    }


def explain_unknown_connections(fleet: Fleet, key: Key, connections: Connections) -> Finding:
    """Explain why the last look counted no connections of a server."""
    name = key.name if len(fleet.alive) > 1 else None
    return explain_missing_connections(
        connections.bind,
        name,
        connections.obstacles,
        is_hidden=connections.is_hidden,
        is_discovered=fleet.selection.discovery is not None,
    )


def explain_missing_connections(
    bind: Sequence[Address],
    name: str | None,
    obstacles: Collection[Obstacle] = (),
    *,
    is_hidden: bool = True,
    is_discovered: bool = False,
) -> Finding:
    """Explain why no connections were counted, of one of several applications if a `name` is given.

    `bind` is the option of the instance, `obstacles` are what the look ran into. `is_hidden` if the sockets of a master
    could not be read, `is_discovered` if the instance has the option `discovery`, which excludes `bind`.
    """
    missing = f"No metric `gunicorn.connections`{f' for {quote(name)}' if name else ''}: "
    shared = [obstacle for obstacle in obstacles if obstacle.reason is Reason.SHARED_NAME]
    if shared:
        return Finding(
            "connections",
            f"{missing}{_explain_obstacle(shared[0])}",
            "Give each server an address of its own, or run the Agent with the right to read their sockets.",
        )
    if bind:
        listed = ", ".join(quote(str(address)) for address in bind)
        return Finding(
            "connections",
            f"{missing}no server listens on {listed}, the value of the option `bind`.",
            "Set `bind` to the addresses that the server's log shows as `Listening at`.",
        )
    seen = [f"{missing}the server's listeners are unknown.", *map(_explain_obstacle, obstacles)]
    remedies = _list_remedies(
        {obstacle.reason for obstacle in obstacles}, is_hidden=is_hidden, is_discovered=is_discovered
    )
    return Finding("connections", " ".join(seen), " ".join(remedies))


def _list_remedies(reasons: AbstractSet[Reason], *, is_hidden: bool, is_discovered: bool) -> Iterator[str]:
    elsewhere = ", in an instance with `proc_name`, and `exclude` its name from `discovery`" if is_discovered else ""
    yield f"Set `bind` to its addresses{elsewhere}."
    if reasons and reasons <= _CROWDED:
        yield "Or start the server in a control group of its own, for instance as a service of systemd."
    if is_hidden and reasons != {Reason.UNCLEAR}:
        yield "Only root with the capability SYS_PTRACE, or the server's user, can read its sockets."


def _explain_obstacle(obstacle: Obstacle) -> str:
    return obstacle.reason.format(list_first(obstacle.details))
