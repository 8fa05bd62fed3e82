"""The load on the demo's Gunicorn, and how to read the check's numbers."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from datadog_checks.gunicorn.standalone.runs import SubmittedMetric

from .client import Client
from .server import WORKERS

# Some requests of each status that Gunicorn counts.
REQUESTS = ["/"] * 20 + ["/missing"] * 3 + ["/error"]
BURNING = 1
WAITING = WORKERS - BURNING
QUEUED = 2

ANNOUNCEMENT = (
    f"Sending {len(REQUESTS)} short requests, and {WORKERS + QUEUED} long ones: {BURNING} burns CPU, "
    f"{WAITING} wait as if for a database, {QUEUED} queue for a worker\n"
)


@contextlib.contextmanager
def load(client: Client, check_interrupts: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Send the short requests, then keep all workers busy; yields a function that does both again."""
    with contextlib.ExitStack() as pool:

        def renew() -> None:
            pool.close()
            for path in REQUESTS:
                client.get(path)
                check_interrupts()
            pool.enter_context(_full_pool(client, check_interrupts))

        renew()
        yield renew


@contextlib.contextmanager
def _full_pool(client: Client, check_interrupts: Callable[[], None]) -> Iterator[None]:
    # At the end all are answered, the queued requests last, because no worker is free before.
    with contextlib.ExitStack() as queued, contextlib.ExitStack() as held:
        for path in ["/burn"] * BURNING + ["/wait"] * WAITING:
            held.enter_context(client.hold(path))
            check_interrupts()
        for _ in range(QUEUED):
            queued.enter_context(client.queue("/"))
        yield


def format_lesson(metrics: Sequence[SubmittedMetric]) -> str:
    """Explain, with the run's own numbers, why idle workers need not be free; empty if they were not submitted."""
    numbers = {(metric.name, tag): f"{metric.value:g}" for metric in metrics for tag in metric.tags}
    idle = numbers.get(("gunicorn.workers", "state:idle"))
    accepted = numbers.get(("gunicorn.connections", "state:accepted"))
    queued = numbers.get(("gunicorn.connections", "state:queued"))
    if not idle:
        return ""
    lesson = f"How to read it: the {idle} idle workers use no CPU, but they are not free."
    if accepted and queued:
        lesson += (
            f" {accepted} connections are accepted,\n"
            f"one by each of the {WORKERS} workers, and {queued} are queued until a worker is free."
        )
    silence = next((metric.value for metric in metrics if metric.name == "gunicorn.worker.heartbeat.age.max"), None)
    if silence is not None:
        lesson += (
            f"\nThe worker that is stuck for longest has sent no heartbeat for {silence:.1f} seconds: with the default "
            "`timeout`,\nGunicorn kills it after 30."
        )
    return lesson + "\n"
