import itertools
import socket

import pytest
from datadog_checks.base.stubs import aggregator, datadog_agent

from datadog_checks.gunicorn.check import GunicornCheck
from datadog_checks.gunicorn.standalone.instances import Instance, UsageError, build_instances
from datadog_checks.gunicorn.standalone.runner import (
    build_check,
    digest,
    run_check,
    run_instances,
    run_rounds,
)
from datadog_checks.gunicorn.standalone.runs import RunError, RunStatus, ServiceCheckResult, SubmittedMetric
from tests.gunicorn_server import unique

pytestmark = pytest.mark.every_gunicorn


def instance(**options):
    return Instance("file:/c.yaml[0]", "/c.yaml: instance 1 of 1", options, init_config_where="/c.yaml: init_config")


def write_check(monkeypatch, check):
    """Replace the method `check` of the check."""
    monkeypatch.setattr(GunicornCheck, "check", lambda self, _: check(self))


def test_a_run_holds_what_the_check_submitted(monkeypatch):
    def check(self):
        self.gauge("gunicorn.workers", 2, tags=["app:web", "env:prod"])
        self.gauge("gunicorn.workers", 1.5, tags=["app:api"], hostname="other")
        self.service_check("gunicorn.is_running", self.CRITICAL, tags=["app:web"], message="none")
        self.set_metadata("version", "27.0.1")
        self.event({"msg_title": "t"})
        self.warning("careful")

    write_check(monkeypatch, check)

    (report,) = run_instances([instance(proc_name="web")], count=1)

    run = report.last
    host = socket.gethostname()
    assert run.metrics == (
        SubmittedMetric("gunicorn.workers", "gauge", 2.0, ("app:web", "env:prod"), host),
        SubmittedMetric("gunicorn.workers", "gauge", 1.5, ("app:api",), "other"),
    )
    assert run.service_checks == (ServiceCheckResult("gunicorn.is_running", 2, ("app:web",), host, "none"),)
    assert run.service_checks[0].status_name == "CRITICAL"
    assert run.metadata["version.raw"] == "27.0.1"
    assert run.events == 1
    assert run.warnings == ("careful",)
    assert run.error is None
    assert run.status is RunStatus.WARNING


def test_a_run_holds_nothing_of_earlier_runs(monkeypatch):
    build_check(instance(proc_name="web"))
    write_check(monkeypatch, lambda self: self.set_metadata("version", "1.2.3"))
    check = build_check(instance(proc_name="web"))
    aggregator.submit_metric(check, check.check_id, 0, "old", 1, [], "", False)
    assert run_check(check).metadata["version.raw"] == "1.2.3"

    write_check(monkeypatch, lambda self: None)
    run = run_check(check)

    assert (run.metrics, run.metadata, run.warnings, run.status) == ((), {}, (), RunStatus.OK)


def test_metadata_of_other_checks_is_ignored(monkeypatch):
    write_check(monkeypatch, lambda self: datadog_agent.set_check_metadata("other:1", "version.raw", "1"))

    assert run_check(build_check(instance(proc_name="web"))).metadata == {}


def test_a_server_that_is_not_running():
    name = unique("nowhere")

    (report,) = run_instances(build_instances([name]), count=1)

    message = f"Found no master process with name: gunicorn: master [{name}]"
    assert report.last.error == RunError(message, traceback="")
    assert report.last.status is RunStatus.ERROR
    assert [(check.status_name, check.message) for check in report.last.service_checks] == [("CRITICAL", message)]
    assert report.last.metrics == ()


def test_an_unexpected_error_keeps_its_traceback(monkeypatch):
    def check(self):
        raise KeyError("lost")

    write_check(monkeypatch, check)

    (report,) = run_instances([instance(proc_name="web")], count=1)

    assert report.last.error.message == "'lost'"
    assert report.last.error.traceback.startswith("Traceback (most recent call last):\n")
    assert report.last.error.traceback.endswith("KeyError: 'lost'\n")


def test_two_runs_a_second_apart(monkeypatch):
    write_check(monkeypatch, lambda self: order.append(self.instance["proc_name"]))
    order = []

    reports = run_instances(build_instances(["a", "b"]), count=2, pause=order.append)

    assert order == ["a", "b", 1.0, "a", "b"]
    assert [report.totals.runs for report in reports] == [2, 2]


def test_rounds_are_runs_of_the_same_checks(monkeypatch):
    def check(self):
        self.gauge("runs", checks.setdefault(self, 0))
        self.event({"msg_title": "t"})
        checks[self] += 1
        if checks[self] == 3:
            raise KeyError("lost")

    write_check(monkeypatch, check)
    checks, pauses = {}, []

    rounds = list(itertools.islice(run_rounds(build_instances(["a", "b"]), 2.5, pauses.append), 3))

    assert list(checks.values()) == [3, 3]
    assert pauses == [2.5, 2.5]
    for number, reports in enumerate(rounds):
        assert [report.last.metrics[0].value for report in reports] == [number, number]
        assert [report.totals.runs for report in reports] == [number + 1, number + 1]
    (report, _) = rounds[-1]
    assert (report.totals.metrics, report.totals.events, report.totals.service_checks) == (3, 3, 0)
    assert report.totals.seconds == pytest.approx(sum(reports[0].last.seconds for reports in rounds))
    assert report.totals.last_success == rounds[1][0].last.began


def test_nothing_runs_if_one_configuration_is_wrong(monkeypatch):
    ran = []
    write_check(monkeypatch, ran.append)

    with pytest.raises(UsageError):
        run_instances([instance(proc_name="web"), instance()], count=1)

    assert ran == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "proc_name (the servers of one name), container (", id="proc_name missing"),
        pytest.param({"proc_name": ""}, "proc_name: must be", id="proc_name empty"),
        pytest.param({"proc_name": " "}, "proc_name: must be", id="proc_name blank"),
        pytest.param({"proc_name": None}, "proc_name: must be", id="proc_name null"),
        pytest.param({"proc_name": 5}, "proc_name: must be", id="proc_name a number"),
        pytest.param({"proc_name": ["web"]}, "proc_name: must be", id="proc_name a list"),
        pytest.param({"proc_name": "web", "tags": "a:b"}, "tags: ", id="tags a string"),
        pytest.param({"proc_name": "web", "tags": ["a", 1]}, "tags -> 2: ", id="a tag that is a number"),
        pytest.param({"proc_name": "web", "metric_patterns": 5}, "Setting `metric_patterns` must be", id="patterns"),
        pytest.param({"proc_name": "web", "metric_patterns": {"include": ["["]}}, "metric_patterns: unt", id="regex"),
        pytest.param(
            {"proc_name": "web", "debug_metrics": 5}, "TypeError: 'int' object is not iterable", id="base's own"
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError) as raised:
        build_check(instance(**options))

    assert str(raised.value).startswith(f"/c.yaml: instance 1 of 1: {message}")
    assert "\n" not in str(raised.value)


def test_an_option_that_refers_to_itself():
    tags = []
    tags.append(tags)

    with pytest.raises(UsageError, match="RecursionError"):
        build_check(instance(proc_name="web", tags=tags))


def test_a_wrong_option_of_init_config():
    wrong = Instance("", "/c.yaml: instance 1 of 1", {"proc_name": "web"}, {"gunicorn": 5}, "/c.yaml: init_config")

    with pytest.raises(UsageError, match=r"^/c\.yaml: init_config: gunicorn: "):
        build_check(wrong)


def test_a_misspelt_option_is_named_with_the_missing_one():
    with pytest.raises(UsageError, match="is required.*`procname`.*Did you mean `proc_name`"):
        build_check(instance(procname="web"))


def test_instance_ids_differ_by_configuration():
    ids = [
        digest(instance(proc_name="web")),
        digest(instance(proc_name="api")),
        digest(instance(proc_name="web", tags=["a"])),
        digest(Instance("", "", {"proc_name": "web"}, {"gunicorn": "/g"})),
    ]

    assert len(set(ids)) == 4
    assert digest(instance(proc_name="web", tags=["a"])) == digest(instance(tags=["a"], proc_name="web")) == ids[2]
    assert ids[0] == "e10aa66128ad6d99"


def test_an_instance_id_of_a_name_that_is_not_utf_8():
    assert len(digest(instance(proc_name="\udce9"))) == 16
