import pytest

from datadog_checks.gunicorn import GunicornCheck
from datadog_checks.gunicorn.diagnoses.steps import diagnose
from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.host.processes import Absence
from datadog_checks.gunicorn.pool.fleet import Fleet
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.servers.applications import Scan
from tests.host.test_cgroups import OWN
from tests.servers.test_applications import titled

from .test_missing_servers import HERE, masters, within


class HostOfMasters(Host):
    """A host whose looks always return the same scan, and whose masters are the given ones."""

    def __init__(self, *seen, scan=None):
        super().__init__()
        self.found = masters(*seen)
        self._last = scan or Scan()

    def find_masters(self, *_, **__):
        return self.found

    def applications(self):
        return self.found


@pytest.fixture
def is_alive(monkeypatch):
    """Make the given candidates living processes, and return them."""
    known = {}

    def read_candidate(pid):
        return known.get(pid, Absence.GONE)

    monkeypatch.setattr("datadog_checks.gunicorn.pool.watched.read_candidate", read_candidate)
    return lambda *seen: known.update({process.identity.pid: process for process in seen}) or seen


@pytest.fixture
def asked(monkeypatch):
    """The programs that were asked for a version."""
    programs = []
    monkeypatch.setattr(
        "datadog_checks.gunicorn.diagnoses.steps.read_version", lambda command: (programs.append(command), "27.0.1")[1]
    )
    return programs


def diagnose_instance(instance, *seen, init_config=None, **options):
    check = GunicornCheck("gunicorn", init_config or {}, [{"collect_connections": False, **instance}])
    fleet = Fleet(check._settings.selection, HostOfMasters(*seen, **options))
    return [(found.name, found.result, found.seen) for found in diagnose(fleet, check._settings, with_version=True)]


@pytest.mark.usefixtures("asked")
class TestDiagnose:
    """What `agent diagnose` says of an instance with `container` or `discovery`."""

    def test_masters_by_container(self, is_alive):
        seen = is_alive(*within(HERE, titled(1, "web"), titled(2, "web")), titled(3, "api"))

        found = diagnose_instance({"discovery": {}}, *seen)

        assert found[:2] == [
            ("master", "success", "Found the master process of `web` in container 4f1c9a2b7d3e: 1, 2."),
            ("master", "success", "Found the master process of `api`: 3."),
        ]
        assert [name for name, _, _ in found] == ["master", "master", "cpu"]

    def test_a_host_without_servers_is_well(self):
        assert diagnose_instance({"discovery": {}}) == [
            ("master", "success", "No Gunicorn server that `discovery` selects is running.")
        ]
        (master, hidden) = diagnose_instance({"discovery": {}}, scan=Scan(hides_others=True))
        assert (master[1], hidden[0]) == ("success", "hidden processes")

    def test_a_container_without_servers(self, is_alive):
        seen = is_alive(titled(3, "api"))

        assert diagnose_instance({"container": OWN}, *seen) == [
            ("master", "fail", f"Found no master process in container {OWN}")
        ]

    def test_an_ambiguous_container(self, is_alive):
        other = OWN[:-1] + "1"
        seen = is_alive(*within(HERE, titled(1, "web")), *within(Groups((other,)), titled(2, "web")))

        ((name, result, text),) = diagnose_instance({"container": OWN[:12]}, *seen)

        assert (name, result) == ("container", "fail")
        assert text == f"container '{OWN[:12]}' may be any of {OWN}, {other}."

    def test_limits(self, is_alive):
        seen = is_alive(titled(1, "web"), titled(2, "api"), titled(3, "shop"))

        (warning,) = [found for found in diagnose_instance({"discovery": {"limit": 1}}, *seen) if found[0] == "limits"]

        assert warning[1] == "warning"
        assert warning[2].startswith(
            "Applications left out by `discovery`: 2, beyond its limit of 1. Raise its `limit`"
        )

    @pytest.mark.parametrize(
        ("instance", "is_running", "is_asked"),
        [
            ({"proc_name": "web", "gunicorn": "/g"}, True, True),
            ({"container": OWN, "gunicorn": "/g"}, True, True),
            ({"container": OWN, "gunicorn": "/g"}, False, True),
            # The host's own program may have another version than a server in a container.
            ({"proc_name": "web"}, True, False),
            ({"container": OWN}, True, False),
            ({"container": OWN}, False, False),
            ({"proc_name": "web"}, False, True),
            # There may be any number of versions.
            ({"discovery": {}, "gunicorn": "/g"}, True, False),
            ({"discovery": {}, "gunicorn": "/g"}, False, False),
            ({"discovery": {}}, False, False),
        ],
    )
    def test_the_version_is_asked_for_as_in_a_run(self, instance, is_running, is_asked, is_alive, asked):
        diagnose_instance(instance, *(is_alive(*within(HERE, titled(1, "web"))) if is_running else ()))

        assert bool(asked) is is_asked
