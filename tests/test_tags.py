"""What a run submits for applications and containers, and with which tags, on a simulated host."""

import json

import psutil
import pytest
from datadog_checks.base.stubs import tagger

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn import check as check_module
from datadog_checks.gunicorn.pool.departures import DEPARTED_SECONDS
from datadog_checks.gunicorn.scanning.registry import Host
from tests.assertions import CRITICAL, OK
from tests.host.test_cgroups import OUTER, OWN
from tests.simulated_servers import SimulatedServers

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="replaces reads of procfs")

OTHER = "f" * 64
SHOP, TEST = ["kube_namespace:shop"], ["kube_namespace:test"]


@pytest.fixture
def servers(monkeypatch, datadog_agent):
    # Reading a version starts a process.
    datadog_agent._config["enable_metadata_collection"] = False
    monkeypatch.setattr(check_module, "HOST", Host())
    tagger.reset()
    yield SimulatedServers(monkeypatch)
    tagger.reset()


def set_tags(**tags):
    """Set what the tagger answers for each container."""
    containers = {"own": OWN, "other": OTHER, "outer": OUTER}
    tagger.set_tags({f"container_id://{containers[name]}": given for name, given in tags.items()})


class Runs:
    """A check, and what its last run submitted: every context with its value, and service checks by their tags."""

    def __init__(self, servers, aggregator, **instance):
        self.servers, self.aggregator = servers, aggregator
        self.check = GunicornCheck("gunicorn", {}, [{"collect_connections": False, **instance}])

    def run(self, interval=15.0):
        self.servers.wait(interval)
        self.aggregator.reset()
        error = self.check.run()
        self.error = json.loads(error)[0]["message"] if error else ""
        self.contexts = {}
        for name in self.aggregator.metric_names:
            for metric in self.aggregator.metrics(name):
                # The Agent ignores the order of tags, and repeated ones.
                context = name, frozenset(metric.tags)
                assert len(metric.tags) == len(context[1]), f"a repeated tag: {metric}"
                assert context not in self.contexts, f"submitted twice: {metric}"
                self.contexts[context] = metric.value
        self.service_checks = {
            tuple(found.tags): (found.status, found.message or "")
            for found in self.aggregator.service_checks("gunicorn.is_running")
        }
        assert len(self.service_checks) == len(self.aggregator.service_checks("gunicorn.is_running"))
        return self

    def values(self, name, *without):
        """Map the tags of a metric, sorted and joined, to its values; leave out the tags with the keys in `without`."""
        return {
            " ".join(sorted(tag for tag in tags if tag.partition(":")[0] not in without)): value
            for (found, tags), value in self.contexts.items()
            if found == name and "state:working" not in tags
        }

    @property
    def idle(self):
        return self.values("gunicorn.workers", "state")

    @property
    def churn(self):
        return self.values("gunicorn.workers.started"), self.values("gunicorn.workers.exited")


@pytest.fixture
def check(servers, aggregator):
    return lambda **instance: Runs(servers, aggregator, **instance)


class TestContainers:
    def test_servers_with_equal_tags_are_one_sum_others_are_not(self, servers, check):
        set_tags(own=SHOP, other=TEST, outer=SHOP)
        for number, container in enumerate([OWN, OTHER, OUTER], 1):
            servers.start("web", container, workers=number)
        servers.start("web", workers=4)

        run = check(proc_name="web", tags=["team:a"]).run()

        assert run.idle == {
            "app:web team:a": 4,
            "app:web kube_namespace:shop team:a": 4,
            "app:web kube_namespace:test team:a": 2,
        }
        assert run.values("gunicorn.memory.rss.max", "process_role").keys() == run.idle.keys()
        assert run.values("gunicorn.threads") == {
            f"{tags.replace('team', f'process_role:{role} team')}": threads
            for tags, masters, workers in [
                ("app:web team:a", 1, 4),
                ("app:web kube_namespace:shop team:a", 2, 4),
                ("app:web kube_namespace:test team:a", 1, 2),
            ]
            for role, threads in [("master", masters), ("worker", workers)]
        }

    @pytest.mark.parametrize("workers", [(2, 0), (0, 2), (2, 2)])
    def test_the_service_check_is_one_for_each_application(self, servers, check, workers):
        set_tags(own=SHOP, other=TEST)
        for container, number in zip((OWN, OTHER), workers, strict=True):
            servers.start("web", container, workers=number)

        run = check(proc_name="web", tags=["team:a"]).run()

        assert run.service_checks == {("app:web", "team:a"): (OK, "")}

    def test_no_server_of_an_application_has_workers(self, servers, check):
        set_tags(own=SHOP)
        servers.start("web", OWN, workers=0)
        servers.start("web", workers=0)

        run = check(proc_name="web").run()

        assert run.service_checks == {("app:web",): (CRITICAL, "0 working and 0 idle workers for web")}
        assert run.idle == {"app:web": 0, "app:web kube_namespace:shop": 0}

    def test_a_tag_that_the_instance_has_is_not_repeated(self, servers, check):
        set_tags(own=[*SHOP, "app:web", "image_name:a"], other=["image_name:a"])
        servers.start("web", OWN)
        servers.start("web", OTHER, workers=1)

        run = check(proc_name="web", tags=SHOP).run()

        assert run.idle == {"app:web image_name:a kube_namespace:shop": 3}

    def test_tags_that_arrive_late_cause_neither_churn_nor_gaps(self, servers, check):
        master = servers.start("web", OWN)
        run = check(proc_name="web").run()
        assert run.idle == {"app:web": 2}
        servers.replace_workers(master)
        assert run.run().churn == ({"app:web": 2}, {"app:web": 2})

        set_tags(own=SHOP)

        tags = "app:web kube_namespace:shop"
        assert run.run().churn == ({tags: 0}, {tags: 0})
        assert run.idle == {tags: 2}
        assert run.values("gunicorn.cpu.percent", "process_role") == {tags: 0}
        servers.replace_workers(master)
        assert run.run().churn == ({tags: 2}, {tags: 2})

    def test_exits_count_under_the_last_tags_known(self, servers, check):
        set_tags(own=SHOP, other=TEST)
        master = servers.start("web", OWN)
        servers.start("web", OTHER)
        run = check(proc_name="web").run()
        servers.stop(master)
        # The tagger forgets containers that have ended.
        tagger.reset()

        run.run()

        shop, test = "app:web kube_namespace:shop", "app:web kube_namespace:test"
        assert run.churn == ({shop: 0, test: 0}, {shop: 2, test: 0})
        assert run.idle == {test: 2}
        assert run.run().churn == ({test: 0}, {test: 0})
        assert run.check._container_tags._known.keys() == {OTHER}

    def test_exits_of_a_server_that_others_outlive_count_in_their_sum(self, servers, check):
        set_tags(own=SHOP, other=SHOP)
        master = servers.start("web", OWN, workers=3)
        servers.start("web", OTHER)
        run = check(proc_name="web").run()
        servers.stop(master)

        tags = "app:web kube_namespace:shop"
        assert run.run().churn == ({tags: 0}, {tags: 3})
        assert run.idle == {tags: 2}

    def test_the_tagger_is_asked_once_for_each_container(self, servers, check):
        set_tags(own=SHOP)
        servers.start("web", OWN)
        servers.start("api", OWN)
        run = check(discovery={})

        for _ in range(3):
            run.run()

        assert tagger._calls == [(f"container_id://{OWN}", tagger.LOW)]

    def test_the_agents_cardinality(self, servers, check, datadog_agent):
        datadog_agent._config["checks_tag_cardinality"] = "high"
        servers.start("web", OWN)

        check(proc_name="web").run()

        tagger.assert_called(f"container_id://{OWN}", tagger.HIGH)

    def test_every_application_of_a_container(self, servers, check):
        set_tags(own=SHOP)
        for name in ("api", "web"):
            servers.start(name, OWN)
        servers.start("elsewhere", OTHER)

        run = check(container=OWN[:12]).run()

        assert run.idle == {"app:api kube_namespace:shop": 2, "app:web kube_namespace:shop": 2}
        assert run.service_checks == {("app:api",): (OK, ""), ("app:web",): (OK, "")}

    @pytest.mark.parametrize(
        ("instance", "tags", "message"),
        [
            ({"container": OWN}, ("team:a",), f"Found no master process in container {OWN}"),
            ({"container": "4711"}, ("team:a",), "Found no master process in container 4711"),
            (
                {"container": OWN, "proc_name": "api"},
                ("app:api", "team:a"),
                "Found no master process with name: gunicorn: master [api]",
            ),
        ],
    )
    def test_nothing_is_found(self, servers, check, instance, tags, message):
        servers.start("web", OTHER)

        run = check(tags=["team:a"], **instance).run()

        assert (run.contexts, run.service_checks, run.error) == ({}, {tags: (CRITICAL, message)}, message)

    def test_a_pid_in_no_container(self, servers, check):
        pid = servers.start("web")

        run = check(container=pid).run()

        message = f"pid {pid} is in no container"
        assert (run.contexts, run.service_checks, run.error) == ({}, {(): (CRITICAL, message)}, message)

    def test_an_ambiguous_container(self, servers, check):
        other = OWN[:-1] + "1"
        for container in (OWN, other):
            servers.start("web", container)

        run = check(container=OWN[:12]).run()

        message = f"container '{OWN[:12]}' may be any of {OWN}, {other}"
        assert (run.contexts, run.service_checks, run.error) == ({}, {(): (CRITICAL, message)}, message)


class TestDiscovery:
    def test_each_application_is_submitted_as_by_an_instance_of_its_own(self, servers, check):
        set_tags(own=SHOP)
        servers.start("web", workers=3)
        servers.start("api", OWN)
        servers.start("empty", workers=0)

        together = check(discovery={}, tags=["team:a"]).run()

        contexts, service_checks = {}, {}
        for name in ("web", "api", "empty"):
            alone = check(proc_name=name, tags=["team:a"]).run(0.0)
            contexts |= {context: value for context, value in alone.contexts.items() if "uptime" not in context[0]}
            service_checks |= alone.service_checks
        assert together.service_checks == service_checks
        assert {context for context in together.contexts if "uptime" not in context[0]} == contexts.keys()
        assert together.idle == {
            "app:web team:a": 3,
            "app:api kube_namespace:shop team:a": 2,
            "app:empty team:a": 0,
        }

    def test_a_host_without_servers(self, check):
        run = check(discovery={}).run()

        assert (run.contexts, run.service_checks, run.error, run.check.get_warnings()) == ({}, {}, "", [])

    def test_an_application_that_is_gone(self, servers, check):
        master = servers.start("web")
        servers.start("api")
        run = check(discovery={}, tags=["team:a"]).run()
        servers.stop(master)

        message = "Found no master process with name: gunicorn: master [web]"
        for exited in ({"app:api team:a": 0, "app:web team:a": 2}, {"app:api team:a": 0}):
            run.run()
            assert run.service_checks == {("app:web", "team:a"): (CRITICAL, message), ("app:api", "team:a"): (OK, "")}
            assert (run.error, run.idle) == ("", {"app:api team:a": 2})
            assert run.values("gunicorn.workers.exited") == exited
        assert run.run(DEPARTED_SECONDS).service_checks == {("app:api", "team:a"): (OK, "")}

    def test_a_container_that_is_gone(self, servers, check):
        set_tags(own=SHOP)
        master = servers.start("web", OWN)
        run = check(discovery={}).run()
        servers.stop(master)

        run.run()
        assert (run.service_checks, run.error) == ({}, "")
        assert run.values("gunicorn.workers.exited") == {"app:web kube_namespace:shop": 2}
        assert run.run().contexts == {}

    def test_the_limit_is_a_warning(self, servers, check):
        for name in ("a", "b", "c"):
            servers.start(name)
        run = check(discovery={"limit": 1}).run()

        assert run.idle == {"app:a": 2}
        (warning,) = run.check.get_warnings()
        assert warning.startswith("Applications left out by `discovery`: 2, beyond its limit of 1.")

    def test_names_that_become_equal_are_summed(self, servers, check):
        set_tags(own=SHOP)
        long = "x" * 300
        servers.start(f"{long}1", workers=1)
        servers.start(f"{long}2", workers=2)
        servers.start(f"{long}3", OWN, workers=3)
        # The second name is the first one, escaped.
        servers.start("a,b", workers=1)
        servers.start(r"a\x2cb", workers=4)
        tag = f"app:{'x' * 196}"

        run = check(discovery={}).run()

        assert run.idle == {tag: 3, f"{tag} kube_namespace:shop": 3, r"app:a\x2cb": 5}
        assert run.service_checks == {(tag,): (OK, ""), (r"app:a\x2cb",): (OK, "")}
        assert run.run().churn[0] == dict.fromkeys([tag, f"{tag} kube_namespace:shop", r"app:a\x2cb"], 0)

    def test_of_names_that_become_equal_one_is_gone(self, servers, check):
        tag = f"app:{'x' * 196}"
        masters = [servers.start("x" * length) for length in (300, 301)]
        run = check(discovery={}).run()

        servers.stop(masters[0])
        run.run()
        assert (run.service_checks, run.churn) == ({(tag,): (OK, "")}, ({tag: 0}, {tag: 2}))
        servers.stop(masters[1])
        run.run()
        message = f"Found no master process with name: gunicorn: master [{'x' * 196}]"
        assert run.service_checks == {(tag,): (CRITICAL, message)}

    def test_names_from_other_processes_are_escaped(self, servers, check):
        servers.start("a,b|\x1b[2J\udce9", workers=0)

        run = check(discovery={}).run()

        escaped = r"a\x2cb\x7c\x1b[2J\udce9"
        assert run.idle == {f"app:{escaped}": 0}
        assert run.service_checks == {(f"app:{escaped}",): (CRITICAL, f"0 working and 0 idle workers for {escaped}")}

    def test_one_look_at_the_host_and_one_wait(self, servers, check, monkeypatch):
        for name in "abcdef":
            servers.start(name)
        run = check(discovery={})
        run.run()
        waits, looks = [], []
        scan = check_module.HOST.scan
        monkeypatch.setattr(check_module.time, "sleep", waits.append)
        monkeypatch.setattr(check_module.HOST, "scan", lambda **options: (looks.append(options), scan(**options))[1])

        run.run()

        assert (waits, looks) == ([0.1], [{"full": False}])
