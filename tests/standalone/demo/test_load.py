import contextlib

import pytest

from datadog_checks.gunicorn.standalone.demo.load import REQUESTS, format_lesson, load
from datadog_checks.gunicorn.standalone.demo.server import WORKERS
from datadog_checks.gunicorn.standalone.runs import SubmittedMetric

HELD = ["/burn", "/wait", "/wait", "/wait"]


class RecordingClient:
    """Records requests, and asserts that requests queue only while all workers are busy."""

    def __init__(self):
        self.answered, self.held, self.queued = [], [], 0

    def get(self, path):
        assert not self.held
        self.answered.append(path)

    @contextlib.contextmanager
    def hold(self, path):
        assert self.queued == 0
        self.held.append(path)
        yield
        self.held.remove(path)

    @contextlib.contextmanager
    def queue(self, _):
        assert len(self.held) == WORKERS
        self.queued += 1
        yield
        assert not self.held
        self.queued -= 1


def test_the_pool_is_full_until_the_end_and_after_each_renewal():
    client = RecordingClient()

    with load(client, lambda: None) as renew:
        for rounds in [1, 2, 3]:
            assert (client.answered, client.held, client.queued) == (REQUESTS * rounds, HELD, 2)
            renew()

    assert (client.held, client.queued) == ([], 0)


def test_interrupts_are_checked_after_each_request():
    asked = []

    with load(RecordingClient(), lambda: asked.append(1)):
        pass

    assert len(asked) == len(REQUESTS) + WORKERS


def workers(idle, working):
    return [
        SubmittedMetric("gunicorn.workers", "gauge", float(idle), ("app:web", "state:idle"), ""),
        SubmittedMetric("gunicorn.workers", "gauge", float(working), ("app:web", "state:working"), ""),
    ]


def connections(accepted, queued):
    tags = ("app:web", "listener:127.0.0.1:8000")
    return [
        SubmittedMetric("gunicorn.connections", "gauge", float(accepted), (*tags, "state:accepted"), ""),
        SubmittedMetric("gunicorn.connections", "gauge", float(queued), (*tags, "state:queued"), ""),
    ]


def heartbeat(age):
    return [SubmittedMetric("gunicorn.worker.heartbeat.age.max", "gauge", age, ("app:web",), "")]


@pytest.mark.parametrize(
    ("metrics", "lesson"),
    [
        pytest.param(
            [*workers(3, 1), *connections(4, 2)],
            "How to read it: the 3 idle workers use no CPU, but they are not free. 4 connections are accepted,\n"
            "one by each of the 4 workers, and 2 are queued until a worker is free.\n",
            id="Linux, without the rights to read heartbeats",
        ),
        pytest.param(
            [*workers(3, 1), *connections(4, 2), *heartbeat(2.345)],
            "How to read it: the 3 idle workers use no CPU, but they are not free. 4 connections are accepted,\n"
            "one by each of the 4 workers, and 2 are queued until a worker is free.\n"
            "The worker that is stuck for longest has sent no heartbeat for 2.3 seconds: with the default `timeout`,\n"
            "Gunicorn kills it after 30.\n",
            id="Linux",
        ),
        pytest.param(
            workers(3, 1), "How to read it: the 3 idle workers use no CPU, but they are not free.\n", id="elsewhere"
        ),
        pytest.param([], "", id="a run that failed"),
    ],
)
def test_format_lesson(metrics, lesson):
    assert format_lesson(metrics) == lesson
