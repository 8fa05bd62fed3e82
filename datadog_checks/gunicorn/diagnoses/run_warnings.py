"""The warnings of a run, which the status page shows."""

from collections.abc import Iterator
from dataclasses import replace

from datadog_checks.gunicorn.pool.fleet import Fleet

from .missing_servers import explain_absence, explain_hidden


def explain_failed_run(fleet: Fleet) -> Iterator[str]:
    """Say what runs instead of a missing server, and what could not be seen."""
    return map(str, explain_absence(fleet.selection, fleet.host.last_scan(), fleet.host.applications()))


def explain_run(fleet: Fleet) -> Iterator[str]:
    """Say what a run left out, or may have left out."""
    yield from explain_limits(fleet)
    if not fleet.alive:
        # The Agent may be meant to watch only its own container, which may have no servers.
        yield from map(str, explain_hidden(replace(fleet.host.last_scan(), of_container=False)))


def explain_limits(fleet: Fleet) -> Iterator[str]:
    """Warn of applications that `discovery` leaves out, and of a `bind` that has no effect."""
    discovery = fleet.selection.discovery
    if discovery and fleet.left_out:
        yield (
            f"Applications left out by `discovery`: {fleet.left_out}, beyond its limit of {discovery.limit}. "
            "Raise its `limit`, or select fewer with `include` and `exclude`."
        )
    if fleet.has_unclear_bind:
        yield (
            "`bind` has no effect because the container has several applications. Give each an instance of its own, "
            "with `proc_name`."
        )
