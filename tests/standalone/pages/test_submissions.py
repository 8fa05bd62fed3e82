from dataclasses import replace

import pytest

from datadog_checks.gunicorn.standalone.pages.submissions import find_common_tags, format_submissions, format_value
from datadog_checks.gunicorn.standalone.runs import Run, ServiceCheckResult, SubmittedMetric

APP = "app:web"
NOTHING = Run(began=0, seconds=0, metrics=(), service_checks=(), events=0, metadata={}, warnings=(), error=None)


def metric(name, value, *further, kind="gauge"):
    return SubmittedMetric(name, kind, value, (APP, "env:prod", *further), "host1")


def is_running(message="", status=0):
    return ServiceCheckResult("gunicorn.is_running", status, (APP, "env:prod"), "host1", message)


IS_RUNNING = is_running()


def page(*metrics, service_checks=(IS_RUNNING,)):
    run = replace(NOTHING, metrics=metrics, service_checks=service_checks)
    return "".join(f"{line}\n" for line in format_submissions(run))


def test_metrics_are_grouped_in_any_order():
    listener = "listener:unix:/run/my_web_app/gunicorn.sock"
    metrics = [
        metric("gunicorn.workers", 3, "state:idle"),
        metric("gunicorn.workers", 1, "state:working"),
        metric("gunicorn.dirty_workers", 2),
        metric("gunicorn.uptime", 93783.25),
        metric("gunicorn.worker.age.min", 5.5),
        metric("gunicorn.worker.age.max", 3783.2),
        metric("gunicorn.memory.rss", 25411584, "process_role:master"),
        metric("gunicorn.memory.rss", 2147483648, "process_role:worker"),
        metric("gunicorn.threads", 1, "process_role:master"),
        metric("gunicorn.threads", 4, "process_role:worker"),
        metric("gunicorn.memory.rss.max", 1073741824, "process_role:worker"),
        metric("gunicorn.workers.started", 2, kind="count"),
        metric("gunicorn.workers.exited", 0, kind="count"),
        metric("gunicorn.cpu.percent", 0, "process_role:master"),
        metric("gunicorn.cpu.percent", 191.308597, "process_role:worker"),
        metric("gunicorn.connections", 4, listener, "state:accepted"),
        metric("gunicorn.connections", 2, listener, "state:queued"),
    ]

    text = page(*metrics)

    assert text == (
        """\
Common tags:
  app:web
  env:prod
Workers:
  gunicorn.workers        gauge  3  state:idle
  gunicorn.workers        gauge  1  state:working
  gunicorn.dirty_workers  gauge  2
Connections:
  gunicorn.connections  gauge  4  listener:unix:/run/my_web_app/gunicorn.sock, state:accepted
  gunicorn.connections  gauge  2  listener:unix:/run/my_web_app/gunicorn.sock, state:queued
Churn and age:
  gunicorn.workers.started  count  2
  gunicorn.workers.exited   count  0
  gunicorn.worker.age.min   gauge  5.5       5.5s
  gunicorn.worker.age.max   gauge  3783.2    1h 3m
  gunicorn.uptime           gauge  93783.25  1d 2h
Resources:
  gunicorn.cpu.percent     gauge  0           0.0%      process_role:master
  gunicorn.cpu.percent     gauge  191.308597  191.3%    process_role:worker
  gunicorn.memory.rss      gauge  25411584    24.2 MiB  process_role:master
  gunicorn.memory.rss      gauge  2147483648  2.0 GiB   process_role:worker
  gunicorn.memory.rss.max  gauge  1073741824  1.0 GiB   process_role:worker
  gunicorn.threads         gauge  1                     process_role:master
  gunicorn.threads         gauge  4                     process_role:worker
Service Checks:
  gunicorn.is_running  OK
"""
    )
    # On the page, this is indented by six columns.
    assert max(map(len, text.splitlines())) <= 94
    assert page(*sorted(metrics[2:]), *metrics[:2]).count("\n") == text.count("\n")


def test_unknown_metrics_come_last():
    text = page(metric("gunicorn.new", 1, "kind:a"), metric("gunicorn.workers", 2, "state:idle"))

    assert (
        "Workers:\n  gunicorn.workers  gauge  2  state:idle\n"
        "Other metrics:\n  gunicorn.new  gauge  1  kind:a\n"
        "Service Checks:\n" in text
    )


def test_a_run_without_metrics():
    assert page(service_checks=[is_running("Found none", status=2)]) == (
        "Common tags:\n  app:web\n  env:prod\n"
        "Metrics:\n  none\n"
        "Service Checks:\n  gunicorn.is_running  CRITICAL  Found none\n"
    )


def test_a_run_that_submitted_nothing():
    assert page(service_checks=[]) == "Metrics:\n  none\nService Checks:\n  none\n"


def test_common_tags_are_those_of_every_submission():
    metrics = [metric("a", 1, "x:1"), metric("b", 1, "x:1")]
    assert find_common_tags(metrics) == (APP, "env:prod", "x:1")
    assert find_common_tags([*metrics, IS_RUNNING]) == (APP, "env:prod")
    assert find_common_tags([*metrics, SubmittedMetric("c", "gauge", 1, (), "")]) == ()
    assert find_common_tags([]) == ()


def test_each_application_has_groups_of_its_own():
    def of(application, submission):
        return submission._replace(tags=(f"app:{application}", *submission.tags[1:]))

    api, web = of("api", metric("gunicorn.workers", 1, "state:idle")), metric("gunicorn.workers", 2, "state:idle")

    assert page(web, api, service_checks=[of("api", is_running("Found none", 2)), IS_RUNNING]) == (
        """\
Common tags:
  app:web
  env:prod
Workers:
  gunicorn.workers  gauge  2  state:idle
Service Checks:
  gunicorn.is_running  OK

Common tags:
  app:api
  env:prod
Workers:
  gunicorn.workers  gauge  1  state:idle
Service Checks:
  gunicorn.is_running  CRITICAL  Found none
"""
    )


SHOP, TEST = ("image_name:web", "kube_namespace:shop"), ("image_name:web", "kube_namespace:test")


def of_containers(*groups):
    """Metrics of several groups of containers, by name as the stub has them."""
    metrics = [
        (name, metric(name, value, *tags, *further))
        for number, tags in enumerate(groups, 1)
        for name, value, further in [
            ("gunicorn.workers", number, ["state:idle"]),
            ("gunicorn.workers", 0, ["state:working"]),
            ("gunicorn.uptime", 60 * number, []),
            ("gunicorn.threads", number, ["process_role:master"]),
        ]
    ]
    return [metric for _, metric in sorted(metrics, key=lambda found: found[0])]


def test_each_group_of_containers_has_metrics_of_its_own():
    assert page(*of_containers(SHOP, TEST)) == (
        """\
Common tags:
  app:web
  env:prod
Tags of these containers:
  image_name:web
  kube_namespace:shop
Workers:
  gunicorn.workers  gauge  1  state:idle
  gunicorn.workers  gauge  0  state:working
Churn and age:
  gunicorn.uptime  gauge  60  1m 0s
Resources:
  gunicorn.threads  gauge  1  process_role:master
Tags of these containers:
  image_name:web
  kube_namespace:test
Workers:
  gunicorn.workers  gauge  2  state:idle
  gunicorn.workers  gauge  0  state:working
Churn and age:
  gunicorn.uptime  gauge  120  2m 0s
Resources:
  gunicorn.threads  gauge  2  process_role:master
Service Checks:
  gunicorn.is_running  OK
"""
    )


@pytest.mark.parametrize("groups", [(SHOP, ()), ((), SHOP)])
def test_servers_without_tags_of_containers_do_not_seem_to_belong_to_one(groups):
    text = page(*of_containers(*groups))

    bare, marked = text.split("Tags of these containers:\n")
    assert f"gunicorn.workers  gauge  {groups.index(()) + 1}  state:idle\n" in bare
    assert f"gunicorn.workers  gauge  {groups.index(SHOP) + 1}  state:idle\n" in marked
    assert marked.startswith("  image_name:web\n  kube_namespace:shop\nWorkers:\n")


def test_tags_of_containers_are_escaped():
    text = page(*of_containers(("label:a\x1b[2J",)))

    assert r"  label:a\x1b[2J" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_applications_in_containers_and_one_that_is_gone():
    def of(application, submission):
        return submission._replace(tags=(f"app:{application}", *submission.tags[1:]))

    api = [of("api", metric("gunicorn.workers", 9, *SHOP, "state:idle"))]
    service_checks = [IS_RUNNING, of("api", IS_RUNNING), of("old", is_running("Found none", status=2))]

    first, second, third = page(*of_containers(SHOP), *api, service_checks=service_checks).split("\n\n")

    assert first.count("Tags of these containers:\n") == 1
    assert second == (
        """\
Common tags:
  app:api
  env:prod
Tags of these containers:
  image_name:web
  kube_namespace:shop
Workers:
  gunicorn.workers  gauge  9  state:idle
Service Checks:
  gunicorn.is_running  OK"""
    )
    assert third == (
        """\
Common tags:
  app:old
  env:prod
Metrics:
  none
Service Checks:
  gunicorn.is_running  CRITICAL  Found none
"""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2.0, "2"), (10.0, "10"), (0.25, "0.25"), (123456789012.0, "123456789012"), (1 / 3, "0.333333")],
)
def test_format_value(value, text):
    assert format_value(value) == text
