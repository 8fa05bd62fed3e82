"""The table of metrics, compared with runs, metadata.csv and README."""

import itertools
import re
from pathlib import Path

import pytest
from datadog_checks.dev.utils import get_metadata_metrics, get_service_checks

from datadog_checks.gunicorn.metrics import METRICS, SERVICE_CHECK, Sample, format_samples
from datadog_checks.gunicorn.pool.churn import Churn
from datadog_checks.gunicorn.pool.results import Health, Pool
from datadog_checks.gunicorn.pool.states import States
from datadog_checks.gunicorn.pool.usage import Usage
from datadog_checks.gunicorn.servers.titles import Role
from datadog_checks.gunicorn.sockets.addresses import Counts, parse_bind

from .test_metadata import gunicorns_own

README = (Path(__file__).parents[1] / "README.md").read_text()
LISTENER = parse_bind(":8000")
USAGE = [Usage(cpu_seconds=1, rss=1000, threads=1), Usage(cpu_seconds=2, rss=3000, threads=4)]
FULL = Pool(
    Health.WELL,
    states=States(idle=3, working=0),
    dirty_workers=0,
    uptime=60.0,
    churn=Churn(started=2, exited=0),
    ages=[60.0, 10.0],
    heartbeats=[0.5, 2.0],
    usage={Role.MASTER: USAGE[:1], Role.WORKER: USAGE},
    cpu={Role.MASTER: 0.0, Role.WORKER: 150.0},
    connections={LISTENER: Counts(accepted=3, queued=4)},
)


def samples(**known):
    return list(format_samples(Pool(Health.WELL, **known)))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param({}, [], id="what is unknown is not submitted"),
        pytest.param(
            {"states": States(idle=3, working=0)},
            [Sample("gunicorn.workers", 3, ("state:idle",)), Sample("gunicorn.workers", 0, ("state:working",))],
            id="both states, zeros as well",
        ),
        pytest.param({"dirty_workers": 0}, [Sample("gunicorn.dirty_workers", 0)], id="no dirty worker"),
        pytest.param({"uptime": 60.0}, [Sample("gunicorn.uptime", 60.0)], id="uptime"),
        pytest.param(
            {"ages": [10.0, 60.0, 20.0]},
            [Sample("gunicorn.worker.age.min", 10.0), Sample("gunicorn.worker.age.max", 60.0)],
            id="the youngest and the oldest worker",
        ),
        pytest.param(
            {"heartbeats": [0.5, 16.0, 2.0]},
            [Sample("gunicorn.worker.heartbeat.age.max", 16.0)],
            id="the longest silence",
        ),
        pytest.param({"heartbeats": []}, [], id="no heartbeat without workers"),
        pytest.param(
            {"churn": Churn(started=2, exited=0)},
            [
                Sample("gunicorn.workers.started", 2, type="count"),
                Sample("gunicorn.workers.exited", 0, type="count"),
            ],
            id="churn is a count",
        ),
        pytest.param(
            {"usage": {Role.MASTER: USAGE[:1], Role.WORKER: USAGE}},
            [
                Sample("gunicorn.memory.rss", 1000, ("process_role:master",)),
                Sample("gunicorn.memory.rss", 4000, ("process_role:worker",)),
                Sample("gunicorn.memory.rss.max", 3000, ("process_role:worker",)),
                Sample("gunicorn.threads", 1, ("process_role:master",)),
                Sample("gunicorn.threads", 5, ("process_role:worker",)),
            ],
            id="usage by role",
        ),
        pytest.param({"usage": {Role.MASTER: [], Role.WORKER: []}}, [], id="a role without processes"),
        pytest.param(
            {"cpu": {Role.MASTER: 0.0, Role.WORKER: None}},
            [Sample("gunicorn.cpu.percent", 0.0, ("process_role:master",))],
            id="CPU of the role in which it is known",
        ),
        pytest.param(
            {"connections": {LISTENER: Counts(accepted=3, queued=4)}},
            [
                Sample("gunicorn.connections", 3, ("listener:0.0.0.0:8000", "state:accepted")),
                Sample("gunicorn.connections", 4, ("listener:0.0.0.0:8000", "state:queued")),
            ],
            id="connections by listener and state",
        ),
    ],
)
def test_what_is_submitted(known, expected):
    assert samples(**known) == expected


def test_each_metric_has_one_row():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    groups = [group for group, _ in itertools.groupby(METRICS, lambda metric: metric.group)]
    assert len(set(groups)) == len(groups)


def test_samples_match_their_rows():
    rows = {metric.name: metric for metric in METRICS}
    found = list(format_samples(FULL))
    submitted = {name: set() for name in rows}
    assert {sample.name for sample in found} == rows.keys()
    for sample in found:
        row = rows[sample.name]
        assert sample.type == row.type
        assert tuple(tag.partition(":")[0] for tag in sample.tags) == tuple(row.tags)
        submitted[sample.name] |= {tag for tag in sample.tags if not tag.startswith("listener:")}
    assert submitted == {metric.name: set(tags_of(metric, any_value=False)) for metric in METRICS}


def tags_of(metric, *, any_value):
    """List the tags that a metric may have; with `any_value`, also those whose values are unknown."""
    for key, values in metric.tags.items():
        yield from (f"{key}:{value}" for value in values)
        if any_value and not values:
            yield f"{key}:<any>"


def test_metadata_declares_the_same_metrics():
    own = {metric.name for metric in METRICS}
    declared = get_metadata_metrics()
    assert own | gunicorns_own().keys() == declared.keys()
    for metric in METRICS:
        row = declared[metric.name]
        assert (row["metric_type"], row["unit_name"], row["per_unit_name"]) == (metric.type, metric.unit, "")
        assert sorted(row["sample_tags"].split(",")) == sorted(["app", *metric.tags])
    assert [check["check"] for check in get_service_checks()] == [SERVICE_CHECK]


def test_readme_lists_the_same_metrics():
    (table,) = re.findall(r"(?m)^\| Metric \| Further tags \|.*\n((?:\|.*\n)+)", README)
    rows = [row.split("|")[1:3] for row in table.splitlines()[1:]]
    listed = {
        name: set(re.findall(r"`([^`]+)`", re.sub("<.*?>", "<any>", tags)))
        for names, tags in rows
        for name in re.findall(r"`([\w.]+)`", names)
    }
    assert listed == {metric.name: set(tags_of(metric, any_value=True)) for metric in METRICS}
