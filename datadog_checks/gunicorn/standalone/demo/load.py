"""What the demo's Gunicorn has to do, and what the check's numbers say of it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from datadog_checks.gunicorn.standalone.runs import SubmittedMetric

from .client import Client
from .server import WORKERS

# Some of each outcome that Gunicorn counts.
REQUESTS = ["/"] * 20 + ["/missing"] * 3 + ["/error"]
BURNING = 1
WAITING = WORKERS - BURNING
QUEUED = 2

ANNOUNCEMENT = (
    f"Sending {len(REQUESTS)} requests, and {WORKERS + QUEUED} that last: {BURNING} burns CPU, "
    f"{WAITING} wait as for a database, {QUEUED} find no worker free\n"
)


@contextlib.contextmanager
def load(client: Client, check_interrupts: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Send what is answered at once, then fill the pool until the end; yields a function that does both again."""
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
    # All are answered in the end, the queue last: no worker is free before.
    with contextlib.ExitStack() as queued, contextlib.ExitStack() as held:
        for path in ["/burn"] * BURNING + ["/wait"] * WAITING:
            held.enter_context(client.hold(path))
            check_interrupts()
        for _ in range(QUEUED):
            queued.enter_context(client.queue("/"))
        yield


def format_lesson(metrics: Sequence[SubmittedMetric]) -> str:
    """Say in the run's own numbers why idle workers need not be free; nothing where they were not submitted."""
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
    return lesson + "\n"
