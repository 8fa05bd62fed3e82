"""The check on real servers: what a run submits, and its errors."""

import importlib.metadata
import json
import logging
import shlex
import signal
import threading
import time
from unittest.mock import Mock

import psutil
import pytest
from datadog_checks.base import ConfigurationError
from datadog_checks.base.errors import CheckException
from datadog_checks.dev.utils import get_metadata_metrics

from datadog_checks.gunicorn import GunicornCheck, __version__
from datadog_checks.gunicorn.host import procfs
from datadog_checks.gunicorn.sockets.addresses import parse_bind
from tests.assertions import (
    OK,
    assert_not_found,
    assert_total,
    assert_without_workers,
    assert_workers,
    is_idle,
    make_check,
    metadata,
    run,
    run_until,
)
from tests.gunicorn_server import (
    GUNICORN,
    GUNICORN_VERSION,
    as_nobody,
    kill_and_wait,
    newest,
    root,
    run_gunicorn,
    unique,
)
from tests.host.test_cgroups import OWN

pytestmark = pytest.mark.every_gunicorn


def test_idle_and_busy_workers(aggregator):
    with run_gunicorn(workers=4) as server:
        check = make_check(server.name, tags=["team:web", "tier:front"])
        assert_workers(run_until(check, is_idle), idle=4, working=0)
        with server.burning(2):
            assert_workers(run(check), idle=2, working=2)
        aggregator.assert_metrics_using_metadata(get_metadata_metrics(), check_submission_type=True)
        aggregator.assert_no_duplicate_all()


@newest
@pytest.mark.parametrize(
    ("worker_class", "app"), [("sync", "app"), ("gthread", "app"), ("gevent", "app"), ("asgi", "asgi_app")]
)
def test_worker_classes(worker_class, app):
    with run_gunicorn("--worker-class", worker_class, workers=4, app=f"app:{app}") as server:
        check = make_check(server.name)
        assert_workers(run_until(check, is_idle), idle=4, working=0)
        with server.burning(1):
            assert_workers(run_until(check, lambda found: found.workers["state:working"] == 1), idle=3, working=1)


def test_a_worker_that_waits_is_idle():
    with run_gunicorn() as server, server.requests(2, "/sleep?60"):
        assert_workers(run_until(make_check(server.name), is_idle), idle=2, working=0)


def test_one_wait_for_any_number_of_workers(monkeypatch, datadog_agent):
    # Reading the version of a new master also waits, through Popen.
    datadog_agent._config["enable_metadata_collection"] = False
    with run_gunicorn(workers=4) as server:
        waits = []
        monkeypatch.setattr(time, "sleep", lambda seconds: waits.append((threading.current_thread(), seconds)))
        run(make_check(server.name))
        monkeypatch.undo()
        assert [seconds for thread, seconds in waits if thread is threading.current_thread()] == [0.1]


def test_the_source_of_cpu_times_is_one_debug_line(caplog):
    caplog.set_level(logging.DEBUG)
    with run_gunicorn() as server:
        check = make_check(server.name)
        for _ in range(3):
            run(check)
    (line,) = [record for record in caplog.records if check.fleet.cpu_source in record.getMessage()]
    assert line.levelname == "DEBUG"


@pytest.fixture
def during_the_wait(monkeypatch):
    """Run an action between the two looks of the next run."""

    def arrange(act):
        def sleep(_):
            monkeypatch.undo()
            act()

        monkeypatch.setattr(time, "sleep", sleep)

    return arrange


# The kernel records start times in steps of 0.01 s.
A_TICK = 0.02


class TestWorkersThatOnlyTheSecondLookSees:
    """A list of children is unreliable while their siblings die (proc_tid_children(5))."""

    @pytest.fixture
    def overlooked(self, monkeypatch):
        """Leave a pid out of the first list of children of the next run."""

        def arrange(pid):
            original = procfs.read_children
            left = [pid]

            def read_children(parent):
                overlooked = [left.pop()] if left else []
                return [child for child in original(parent) if child not in overlooked]

            monkeypatch.setattr(procfs, "read_children", read_children)

        return arrange

    def test_one_that_was_there_before_is_idle(self, overlooked):
        with run_gunicorn(workers=2) as server, server.burning(2):
            check = make_check(server.name)
            assert_workers(run(check), idle=0, working=2)
            overlooked(server.workers()[0])
            assert_workers(run(check), idle=1, working=1)
            assert_workers(run(check), idle=0, working=2)

    def test_one_that_was_born_in_between_is_judged_by_what_it_used_since(self, during_the_wait):
        with run_gunicorn(workers=1) as server:
            check = make_check(server.name)
            run_until(check, is_idle)

            def add_worker():
                # Later than the tick of the first look. Booting takes more than half a millisecond of CPU.
                time.sleep(A_TICK)
                server.signal(signal.SIGTTIN)
                server.await_workers(2)
                # A worker logs that it boots before it has booted.
                time.sleep(0.3)

            during_the_wait(add_worker)
            assert_workers(run(check), idle=1, working=1)


class TestBetweenTheTwoLooks:
    def test_the_workers_vanish(self, during_the_wait, caplog):
        caplog.set_level(logging.DEBUG)
        with run_gunicorn() as server:
            # A stopped master starts no new workers.
            server.signal(signal.SIGSTOP)
            during_the_wait(lambda: [kill_and_wait(worker) for worker in server.workers()])
            found = run(make_check(server.name))
            assert (found.status, found.message, found.error, found.workers) == (OK, "", "", {})
            assert not any("worker" in name for name in found.metrics)
        assert [record.levelname for record in caplog.records if "vanished" in record.getMessage()] == ["DEBUG"]

    def test_one_worker_vanishes(self, during_the_wait):
        with run_gunicorn() as server:
            server.signal(signal.SIGSTOP)
            during_the_wait(lambda: kill_and_wait(server.workers()[0]))
            assert_total(run(make_check(server.name)), 1)

    def test_a_worker_starts(self, during_the_wait):
        with run_gunicorn() as server:
            check = make_check(server.name)
            during_the_wait(lambda: (server.signal(signal.SIGTTIN), server.await_workers(3)))
            assert_total(run(check), 3)

    def test_the_master_vanishes_and_its_workers_do_not(self, during_the_wait):
        with run_gunicorn() as server:
            check = make_check(server.name)
            during_the_wait(lambda: kill_and_wait(server.master))
            assert_total(run(check), 2)
            assert_not_found(run(check), server.name)

    def test_a_master_without_workers_vanishes(self, during_the_wait):
        with run_gunicorn(workers=0) as server:
            during_the_wait(lambda: kill_and_wait(server.master))
            assert_not_found(run(make_check(server.name)), server.name)


@pytest.mark.skipif(not psutil.LINUX, reason="read from Linux's own tables")
class TestConnections:
    def test_workers_that_wait_while_clients_queue(self):
        with run_gunicorn(workers=3) as server, server.requests(7, "/sleep?60"):
            check = make_check(server.name)
            found = run_until(check, is_idle)
            assert_workers(found, idle=3, working=0)
            assert connections(found, f"127.0.0.1:{server.port}") == (3, 4)

    @root
    def test_an_agent_that_may_not_read_the_servers_sockets(self, caplog):
        caplog.set_level(logging.DEBUG)
        with run_gunicorn(workers=3) as server, server.requests(7, "/sleep?60"):
            address = f"127.0.0.1:{server.port}"
            run_until(make_check(server.name), is_idle)
            found = as_nobody(lambda: run(make_check(server.name, bind=[address])))
            assert connections(found, address) == (3, 4)
            assert_workers(found, idle=3, working=0)

            def look():
                check = make_check(server.name)
                found = run(check)
                missing = metadata(check).get("connections")
                # Found again, because the option is there now.
                check.fleet._bind = (parse_bind(address),)
                run(check)
                return found, no_listener(caplog), missing, metadata(check).get("connections")

            found, lines, missing, later = as_nobody(look)
            assert missing == f"missing for `{server.name}`: see agent diagnose"
            assert later == "found"
            assert not any("connections" in name for name in found.metrics)
            assert_workers(found, idle=3, working=0)
            assert lines == ["DEBUG"]

    def test_are_not_missing_without_workers(self):
        with run_gunicorn(workers=0) as server:
            check = make_check(server.name)
            run(check)
            assert "connections" not in metadata(check)

    def test_are_left_out_on_request(self, caplog):
        caplog.set_level(logging.DEBUG)
        with run_gunicorn() as server:
            found = run(make_check(server.name, collect_connections=False))
            assert not any("connections" in name for name in found.metrics)
            assert no_listener(caplog) == []


def connections(found, address):
    return tuple(
        found.metrics[f"gunicorn.connections{{listener:{address},state:{state}}}"] for state in ("accepted", "queued")
    )


def no_listener(caplog):
    return [record.levelname for record in caplog.records if "No listener" in record.getMessage()]


def test_no_master():
    name = unique("nobody")
    assert_not_found(run(make_check(name)), name)


def test_a_server_that_stops_and_one_that_starts_again():
    name = unique("app")
    check = make_check(name)
    assert_not_found(run(check), name)
    with run_gunicorn("--name", name, name=name):
        assert_total(run(check), 2)
    assert_not_found(run(check), name)
    with run_gunicorn("--name", name, name=name, workers=3):
        assert_total(run(check), 3)


def test_a_master_without_workers():
    with run_gunicorn(workers=0) as server:
        assert_without_workers(run(make_check(server.name)), server.name)


@newest
def test_dirty_workers():
    dirty = ("--dirty-app", "dirty:Idle", "--dirty-workers", "3")
    with run_gunicorn(*dirty) as server:
        check = make_check(server.name)
        assert_total(run_until(check, lambda found: found.dirty_workers == 3), 2)
    with run_gunicorn() as server:
        assert run(make_check(server.name)).dirty_workers is None


@pytest.mark.usefixtures("all_names_are_shown")
class TestWhatWasSeenInstead:
    def test_another_name(self):
        with run_gunicorn() as server:
            check = make_check(missing := f"{server.name}0")
            assert_not_found(run(check), missing)
            (warning,) = [text for text in check.get_warnings() if f"`{server.name}`" in text]
            assert "set `proc_name` to it" in warning

    def test_the_documented_case(self):
        """`gunicorn --config test-app-config.py gunicorn-test:app` without setproctitle."""
        name = unique("my_web_app")
        with run_gunicorn(name=name, config=f"proc_name = {name!r}", titled=False):
            check = make_check(name)
            assert_not_found(run(check), name)
            (warning,) = [text for text in check.get_warnings() if "`app:app`" in text]
            assert "Install setproctitle" in warning

    def test_a_title_that_would_harm_a_terminal(self):
        evil = unique("evil") + "\x1b[2J\x1b]0;x\x07" + "x" * 3000
        with run_gunicorn("--name", evil, name=evil):
            check = make_check(missing := evil.partition("\x1b")[0])
            assert_not_found(run(check), missing)
            (warning,) = [text for text in check.get_warnings() if "\\x1b[2J" in text]
            assert warning.isprintable()
            assert len(warning) < 1000


# Diagnoses about the machine, and about servers of other tests.
OF_OTHERS = {"container", "embedded", "not recognized"}


class TestDiagnoses:
    def diagnose(self, check):
        return [(found["result"], found["name"], found) for found in json.loads(check.get_diagnoses())]

    def test_all_is_well(self, tmp_path):
        program = tmp_path / "gunicorn"
        program.symlink_to(GUNICORN)
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicorn": str(program)})
            diagnoses = self.diagnose(check)
            assert [(result, name) for result, name, _ in diagnoses] == [
                (0, "master"),
                (0, "cpu"),
                (0, "connections"),
                (0, "version"),
            ]
            assert f"`127.0.0.1:{server.port}`" in diagnoses[2][2]["diagnosis"]

    @root
    def test_sockets_that_may_not_be_read(self):
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicorn": "true"})
            assert (2, "connections") in [(result, name) for result, name, _ in as_nobody(lambda: self.diagnose(check))]
            check = make_check(server.name, {"gunicorn": "true"}, bind=[f"127.0.0.1:{server.port}"])
            assert (0, "connections") in [(result, name) for result, name, _ in as_nobody(lambda: self.diagnose(check))]
            check = make_check(server.name, {"gunicorn": "true"}, collect_connections=False)
            assert "connections" not in [name for _, name, _ in self.diagnose(check)]

    def test_not_all_is_well(self):
        with run_gunicorn() as server, run_gunicorn(titled=False, name="app:app"):
            check = make_check(f"{server.name}0", {"gunicorn": "/nowhere/gunicorn"})
            diagnoses = self.diagnose(check)
            assert [(result, name) for result, name, _ in diagnoses if name not in OF_OTHERS] == [
                (1, "master"),
                (1, "setproctitle"),
                (1, "other names"),
                (2, "version"),
            ]
            assert all(found["remediation"] for _, name, found in diagnoses if name != "master")
            assert "/nowhere/gunicorn" in diagnoses[-1][2]["diagnosis"]

    def test_a_server_without_titles(self):
        with run_gunicorn(titled=False) as server:
            check = make_check(server.name, {"gunicorn": "/nowhere/gunicorn"})
            assert [(result, name) for result, name, _ in self.diagnose(check)][:3] == [
                (0, "master"),
                (0, "cpu"),
                (2, "setproctitle"),
            ]

    def test_a_bad_configuration(self):
        ((result, name, found),) = self.diagnose(GunicornCheck("gunicorn", {}, [{"proc_name": ""}]))
        assert (result, name) == (1, "configuration")
        assert found["diagnosis"].startswith("Invalid configuration in `instances`: proc_name: must be the NAME")
        assert "\n" not in found["diagnosis"]
        assert found["remediation"]

    def test_addresses_at_which_nothing_listens(self):
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicorn": "true"}, bind=["127.0.0.1:1"])
            with pytest.MonkeyPatch.context() as patch:
                # Like an Agent that may not read the server's descriptors.
                patch.setattr(
                    "datadog_checks.gunicorn.sockets.connections.read_sockets", Mock(side_effect=PermissionError)
                )
                found = {name: found for _, name, found in self.diagnose(check)}["connections"]
            assert "no server listens on `127.0.0.1:1`" in found["diagnosis"]
            assert "Listening at" in found["remediation"]


class TestVersion:
    def test_is_submitted_on_every_run_and_read_once_for_each_master(self, datadog_agent, tmp_path):
        asked = tmp_path / "asked"
        program = tmp_path / "program"
        program.write_text(f'#!/bin/sh\necho . >> {asked}\nexec {shlex.quote(GUNICORN)} "$@"\n')
        program.chmod(0o755)
        with run_gunicorn() as server:
            name = server.name
            check = make_check(name, {"gunicorn": str(program)})
            for _ in range(3):
                datadog_agent.reset()
                run(check)
                major, minor, patch = GUNICORN_VERSION.split(".")
                assert metadata(check) == {
                    "version.major": major,
                    "version.minor": minor,
                    "version.patch": patch,
                    "version.raw": GUNICORN_VERSION,
                    "version.scheme": "semver",
                }
            assert asked.read_text() == ".\n"
        with run_gunicorn("--name", name, name=name):
            run(check)
            assert asked.read_text() == ".\n.\n"

    def test_the_instance_overrides_init_config(self, tmp_path):
        # The option is split on blanks, which the path of the checkout may contain.
        program = tmp_path / "gunicorn"
        program.symlink_to(GUNICORN)
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicorn": "/nowhere/gunicorn"}, gunicorn=str(program))
            run(check)
            assert metadata(check)["version.raw"] == GUNICORN_VERSION

    def test_a_failure_is_one_debug_line(self, caplog):
        caplog.set_level(logging.DEBUG)
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicorn": "/nowhere/gunicorn"})
            for _ in range(3):
                assert_total(run(check), 2)
        lines = [record for record in caplog.records if "/nowhere/gunicorn" in record.getMessage()]
        assert [record.levelname for record in lines] == ["DEBUG"]
        assert metadata(check) == {}

    def test_is_not_read_if_metadata_collection_is_off(self, datadog_agent, tmp_path):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
        program.chmod(0o755)
        with run_gunicorn() as server:
            datadog_agent._config["enable_metadata_collection"] = False
            check = make_check(server.name, {"gunicorn": str(program)})
            assert_total(run(check), 2)
            assert not (tmp_path / "asked").exists()
            datadog_agent._config["enable_metadata_collection"] = True
            assert_total(run(check), 2)
            assert (tmp_path / "asked").exists()


def test_library_versions():
    assert make_check("web").get_library_versions() == {"psutil": importlib.metadata.version("psutil")}


def test_the_status_page_shows_this_version():
    assert make_check("web").check_version == __version__ == importlib.metadata.version("datadog-gunicorn")


class TestConfiguration:
    @pytest.mark.parametrize(
        ("instance", "wrong"),
        [
            ({}, "proc_name"),
            ({"proc_name": ""}, "proc_name"),
            ({"proc_name": "  "}, "proc_name"),
            ({"proc_name": None}, "proc_name"),
            ({"proc_name": 8000}, "proc_name"),
            ({"proc_name": ["web"]}, "proc_name"),
            ({"proc_name": "web", "gunicorn": ""}, "gunicorn"),
            ({"proc_name": "web", "gunicorn": ["gunicorn"]}, "gunicorn"),
            ({"proc_name": "web", "tags": "env:prod"}, "tags"),
            ({"proc_name": "web", "bind": "127.0.0.1:8000"}, "bind"),
            ({"proc_name": "web", "bind": ["fd://3"]}, "bind"),
            ({"proc_name": "web", "bind": ["127.0.0.1:0"]}, "bind"),
            ({"proc_name": "web", "collect_connections": "perhaps"}, "collect_connections"),
            ({"container": None}, "container"),
            ({"container": True}, "container"),
            ({"container": 0}, "container"),
            ({"container": 4711.0}, "container"),
            ({"container": "12345678"}, "container"),
            ({"container": ["4711"]}, "container"),
            ({"container": f"docker://{OWN}"}, "container"),
            ({"proc_name": "web", "container": "%%pid%%"}, "container"),
            ({"proc_name": None, "container": OWN}, "proc_name"),
            ({"discovery": None}, "discovery"),
            ({"discovery": []}, "discovery"),
            ({"discovery": True}, "discovery"),
            ({"discovery": {"include": "web"}}, "discovery: include"),
            ({"discovery": {"include": ["("]}}, "discovery: include"),
            ({"discovery": {"exclude": [5]}}, "discovery: exclude"),
            ({"discovery": {"limit": 0}}, "discovery: limit"),
            ({"discovery": {"limit": -1}}, "discovery: limit"),
            ({"discovery": {"limit": True}}, "discovery: limit"),
            ({"discovery": {"limit": "5"}}, "discovery: limit"),
            ({"discovery": {"limit": 2.5}}, "discovery: limit"),
            ({"discovery": {}, "proc_name": "web"}, "proc_name cannot be combined"),
            ({"discovery": {}, "container": OWN}, "container cannot be combined"),
            ({"discovery": {}, "bind": ["127.0.0.1:8000"]}, "bind cannot be combined"),
            ({"discovery": None, "proc_name": "web"}, "discovery"),
            ({"tags": ["team:web"]}, "proc_name"),
        ],
    )
    def test_a_bad_option_is_reported_before_reading_any_process(self, instance, wrong, monkeypatch, aggregator):
        monkeypatch.setattr("datadog_checks.gunicorn.pool.fleet.Fleet.find", lambda _: pytest.fail("it looked"))
        check = GunicornCheck("gunicorn", {}, [instance])
        with pytest.raises(ConfigurationError, match=rf"^Invalid configuration in `instances`: {wrong}[: ]"):
            check.check(instance)
        assert wrong in check.run()
        assert "\\n" not in json.loads(check.run())[0]["message"]
        assert not aggregator.metric_names
        assert not aggregator.service_check_names

    @pytest.mark.parametrize("command", ["", 7])
    def test_a_bad_command_in_init_config(self, command):
        with pytest.raises(ConfigurationError, match=r"^Invalid configuration in `init_config`: gunicorn: "):
            make_check("web", {"gunicorn": command}).check({})

    def test_an_unknown_option_is_a_warning_that_names_the_nearest(self):
        with run_gunicorn() as server:
            check = make_check(server.name, {"gunicrn": GUNICORN}, min_collection_intervall=20)
            assert run(check).status == OK
        in_instances, in_init_config = check.get_warnings()
        assert "`min_collection_intervall` in `instances`" in in_instances
        assert in_instances.endswith("Did you mean `min_collection_interval`?")
        assert "`gunicrn` in `init_config`" in in_init_config
        assert in_init_config.endswith("Did you mean `gunicorn`?")

    def test_an_unknown_option_of_discovery_is_a_warning_that_names_the_nearest(self):
        check = GunicornCheck("gunicorn", {}, [{"discovery": {"include": [f"^{unique('nobody')}$"], "excldue": ["a"]}}])
        for _ in range(2):
            assert check.run() == ""
            (warning,) = check.get_warnings()
            assert "`excldue` in `discovery`" in warning
            assert warning.endswith("Did you mean `exclude`?")

    def test_a_misspelt_option_is_named_if_the_correct_one_is_missing(self):
        check = GunicornCheck("gunicorn", {}, [{"procname": "web"}])
        for _ in range(2):
            assert "(every server of the host) is required" in check.run()
            (warning,) = check.get_warnings()
            assert warning.endswith("Did you mean `proc_name`?")

    def test_blanks_around_the_name_are_stripped(self):
        with run_gunicorn() as server:
            check = GunicornCheck("gunicorn", {}, [{"proc_name": f" {server.name} "}])
            assert check.run() == ""

    def test_a_command_from_an_untrusted_provider_is_rejected(self, datadog_agent):
        pytest.importorskip(
            "datadog_checks.base.utils.models.validation.security", reason="base packages before 37.33 trust all"
        )
        datadog_agent._config["integration_ignore_untrusted_file_params"] = True
        datadog_agent._config["integration_trusted_providers"] = ["file"]
        check = make_check("web", gunicorn="docker exec web gunicorn")
        check.provider = "docker"
        with pytest.raises(ConfigurationError, match="gunicorn"):
            check.check({})
        trusted = make_check(unique("web"), gunicorn="docker exec web gunicorn")
        trusted.provider = "file"
        with pytest.raises(CheckException, match="Found no master"):
            trusted.check({})
