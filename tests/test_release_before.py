"""The checkout against release 5.0.0: both look at the same real servers at the same time and submit the same.

Intended changes since that release are spelled out here, old and new; everything else must be equal.
"""

import contextlib
import difflib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from .gunicorn_server import (
    APPS,
    GUNICORN,
    GUNICORN_VERSION,
    NEWEST,
    listening_at,
    newest,
    root,
    run_gunicorn,
    temporary_folder,
    unique,
    wait_until,
)

pytestmark = [
    pytest.mark.skipif(not psutil.LINUX, reason="compares what is submitted on Linux"),
]

ROOT = Path(__file__).parent.parent
RELEASE = "f368f7b4a287916e7ce743f28c661f6e79c5a217"
COMMAND = ("-m", "datadog_checks.gunicorn")
CHURN = ("gunicorn.workers.started", "gunicorn.workers.exited")
# What changes between the looks of the two releases: for example, an idle worker uses a tick of CPU time. It has to be
# equal in one of some attempts.
FLUCTUATING = ("gunicorn.workers", "gunicorn.cpu.percent")
ATTEMPTS = 3
# Keeps a sync worker busy for longer than a test; the --timeout of such servers is as long.
SLEEP = "/sleep?100"


@pytest.fixture(scope="module")
def releases():
    """The directories from which 5.0.0, unpacked from its wheel, and the checkout are imported."""
    if shutil.which("git") is None:
        pytest.skip("needs git, to read the commit of release 5.0.0")
    known = run_in(ROOT, "git", "cat-file", "-e", f"{RELEASE}^{{commit}}", check=False)
    if known.returncode:
        pytest.skip(f"needs the commit of release 5.0.0 (not in an sdist or a shallow clone): {known.stderr.strip()}")
    with temporary_folder() as folder:
        run_in(ROOT, "git", "archive", "--format=zip", f"--output={folder}/source.zip", RELEASE)
        unpack(folder / "source.zip", source := folder / "source")
        run_in(source, sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
        (wheel,) = folder.glob("datadog_gunicorn-5.0.0-*.whl")
        unpack(wheel, before := folder / "before")
        for release in before, ROOT:
            find = "import importlib.util; print(importlib.util.find_spec('datadog_checks.gunicorn').origin)"
            found = run_in(folder, sys.executable, "-c", find, env=environment_of(release, folder))
            assert found.stdout == f"{release}/datadog_checks/gunicorn/__init__.py\n"
        yield before, ROOT


def run_in(folder, *command, env=None, check=True):
    return subprocess.run(command, cwd=folder, env=env, check=check, capture_output=True, text=True, timeout=60)


def unpack(archive, folder):
    with zipfile.ZipFile(archive) as contents:
        contents.extractall(folder)


def environment_of(release, folder):
    return {
        **os.environ,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(release),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def compare(releases, record_property):
    def compare(instances, *, servers=None, **options):
        """Run both releases, fail if they differ, and return the reports; the instances watch `servers` servers."""
        reports = assert_equal(releases, instances, **options)
        # .ci/reports.py adds them up.
        record_property("servers", servers or len(instances))
        record_property("series", sum(len(report["metrics"]) for report in reports))
        return reports

    return compare


def assert_equal(
    releases, instances, *, launch=COMMAND, meanwhile=None, compare_warnings=None, steady=True, settled=True
):
    """Run both releases on the same instances, and return what 5.0.0 reported of them.

    `meanwhile` is called while they run. `compare_warnings` compares the warnings of the last instance, if they
    changed. If servers are not `steady`, because workers start and exit all the time, only churn is compared, roughly.
    If they are not `settled`, because workers have just booted, states and CPU are not compared.
    """
    for _ in range(ATTEMPTS):
        before, after = run_both(releases, instances, launch, meanwhile)
        if compare_warnings:
            compare_warnings(before[-1].pop("warnings"), after[-1].pop("warnings"))
        described = [[line for report in reports for line in describe(report)] for reports in (before, after)]
        fail_with(difflib.unified_diff(*described, "5.0.0", "the checkout", n=0, lineterm=""))
        assert not steady or list(map(count_workers, before)) == list(map(count_workers, after))
        differ = differ_in_value if steady else differ_in_churn
        differences = [
            (name, f"{name}{list(tags)} was {old}, is {new} (time and value)")
            for olds, news in zip(map(values_of, before), map(values_of, after), strict=True)
            for (name, tags), old in olds.items()
            if (settled or name not in FLUCTUATING) and differ(name, old, new := news[name, tags])
        ]
        fail_with(difference for name, difference in differences if steady and name not in FLUCTUATING)
        if not differences:
            return before
    return fail_with(difference for _, difference in differences)


def fail_with(lines):
    message = "\n".join(lines)
    if message:
        pytest.fail(message)


def run_both(releases, instances, launch, meanwhile):
    """Run the command of both releases at the same time, and return their reports on the instances."""
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "conf.d/gunicorn.d").mkdir(parents=True)
        init_config = {"gunicorn": "echo gunicorn (version 12.3.4)"}
        configuration = json.dumps({"init_config": init_config, "instances": instances})
        (folder / "conf.d/gunicorn.d/conf.yaml").write_text(configuration)
        command = [sys.executable, *launch, "check", "--json", "--check-rate", "--confd", str(folder / "conf.d")]
        started = []
        for release in releases:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment_of(release, folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        if meanwhile:
            meanwhile()
        ended = [(*process.communicate(timeout=30), process.returncode) for process in started]
    assert ended[0][1:] == ended[1][1:]
    assert ended[0][1] == ""
    return [json.loads(stdout) for stdout, *_ in ended]


def describe(report):
    """Format what is comparable in any two runs: everything except values and times."""
    assert len(values_of(report)) == len(report["metrics"]), "two series of the same name and tags"
    known = [each for each in report["metrics"] if each["metric"] not in NEW]
    metrics = sorted(known, key=lambda each: (each["metric"], each["tags"]))
    comparable = {
        **report,
        "metrics": [without(each, "points") for each in metrics],
        "metadata": {key: value for key, value in report["metadata"].items() if key not in NEW},
        "service_checks": [without(each, "timestamp") for each in report["service_checks"]],
    }
    for key, value in comparable.items():
        for entry in value if isinstance(value, list) else [value]:
            yield f"{report['instance_id']} {key}: {json.dumps(entry)}"


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


# What 5.0.0 did not submit: a metric, and a key of the metadata.
NEW = {"gunicorn.worker.heartbeat.age.max", "connections"}


def values_of(report):
    """Return time and value of each series."""
    return {(each["metric"], tuple(each["tags"])): tuple(each["points"][0]) for each in report["metrics"]}


def count_workers(report):
    return sum(value for (name, _), (_, value) in values_of(report).items() if name == "gunicorn.workers")


def count_churn(report):
    """Return how many workers started and exited."""
    values = {name: value for (name, _), (_, value) in values_of(report).items()}
    return tuple(values[name] for name in CHURN)


def count_connections(report):
    """Return accepted and queued connections of each listener."""
    counts = {}
    for (name, tags), (_, value) in values_of(report).items():
        if name == "gunicorn.connections":
            listener, state = (tag.partition(":")[2] for tag in tags if tag.startswith(("listener:", "state:")))
            counts.setdefault(listener, {})[state] = value
    return {listener: (states["accepted"], states["queued"]) for listener, states in counts.items()}


def differ_in_value(name, before, after):
    """Whether two values differ by more than the servers can change them between two looks."""
    (old_time, old), (new_time, new) = before, after
    if name in ("gunicorn.uptime", "gunicorn.worker.age.min", "gunicorn.worker.age.max"):
        # Timestamps are whole seconds.
        return abs((old - old_time) - (new - new_time)) > 3
    if name.startswith("gunicorn.memory."):
        return abs(old - new) > 0.1 * old
    if name == "gunicorn.cpu.percent":
        return abs(old - new) > max(10, 0.2 * old)
    return old != new


def differ_in_churn(name, before, after):
    """Whether one of two values is 0, or three times the other; the two releases look at different moments."""
    (_, old), (_, new) = before, after
    return name in CHURN and not 0 < old < 3 * new < 9 * old


def instance_of(server, **options):
    return {"proc_name": server.name, "tags": ["env:test", "team:web"], **options}


@contextlib.contextmanager
def servers(*options):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(run_gunicorn(**each)) for each in options]


def free_ports(count):
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def test_servers_with_and_without_titles(compare, tmp_path):
    with servers({"workers": 3}, {"workers": 4, "titled": False}, {"workers": 3}) as started, started[2].burning(1):
        # One of them reports its real version. The option is split at blanks, which the checkout's path may contain.
        program = tmp_path / "gunicorn"
        program.symlink_to(GUNICORN)
        reports = compare([instance_of(started[0], gunicorn=str(program)), *map(instance_of, started[1:])])
    assert list(map(count_workers, reports)) == [3, 4, 3]
    assert [report["metadata"]["version.raw"] for report in reports] == [GUNICORN_VERSION, "12.3.4", "12.3.4"]


def test_an_upgrade(compare):
    with servers({}, {"titled": False}) as started:
        instances = list(map(instance_of, started))
        for server in started:
            server.signal(signal.SIGUSR2)
        for server in started:
            server.await_workers(4)
        # Workers burn CPU for a while after they have booted.
        reports = compare(instances, settled=False, servers=4)
        assert list(map(count_workers, reports)) == [4, 4]
        for server in started:
            server.signal(signal.SIGQUIT)
        for server in started:
            wait_until(lambda server=server: server.process.poll() is not None, "the old master's end", server.explain)
        promoted, title = psutil.Process(started[0].masters()[-1]), f"gunicorn: master [{started[0].name}]"
        wait_until(lambda: " ".join(promoted.cmdline()).rstrip() == title, "the promotion")
        assert list(map(count_workers, compare(instances))) == [2, 2]


# The releases ask for the version at the end of their first run. This program keeps them there until the test removes
# the folder that is named by their pid.
GATE = """#!/bin/sh
mkdir "$0.waiting/$PPID"
while [ -e "$0.waiting/$PPID" ]; do sleep 0.02; done
echo "gunicorn (version 12.3.4)"
"""


def test_workers_replaced_between_two_runs(compare):
    with servers({"workers": 3}, {"titled": False}) as started, temporary_folder() as folder:
        gates = [folder / server.name for server in started]
        for gate in gates:
            gate.write_text(GATE)
            gate.chmod(0o755)
            Path(f"{gate}.waiting").mkdir()

        def replace():
            for server, gate in zip(started, gates, strict=True):
                waiting = Path(f"{gate}.waiting")
                wait_until(lambda waiting=waiting: len(list(waiting.iterdir())) == 2, "the end of both first runs")
                count = len(server.workers())
                server.replace_workers()
                server.signal(signal.SIGTTIN)
                server.await_workers(count + 1)
                for caller in waiting.iterdir():
                    caller.rmdir()

        instances = [instance_of(server, gunicorn=str(gate)) for server, gate in zip(started, gates, strict=True)]
        reports = compare(instances, meanwhile=replace, settled=False)
    assert list(map(count_workers, reports)) == [4, 3]
    assert list(map(count_churn, reports)) == [(4, 3), (3, 2)]


@newest
def test_dirty_workers(compare):
    dirty = ("--dirty-app", "dirty:Idle", "--dirty-workers", "3")
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(run_gunicorn(*dirty, titled=titled)) for titled in (True, False)]
        for server in started:
            # The masters' children are workers and a dirty arbiter, whose children are the dirty workers.
            family = psutil.Process(server.master)
            wait_until(lambda family=family: len(family.children(recursive=True)) == 6, "three dirty workers")
        reports = compare(list(map(instance_of, started)))
    for report in reports:
        assert [value for (name, _), (_, value) in values_of(report).items() if name == "gunicorn.dirty_workers"] == [3]


def test_connections(compare):
    *tcp, shared = free_ports(3)
    with contextlib.ExitStack() as stack:
        unix = stack.enter_context(run_gunicorn("--timeout", "100", bind=["unix:{folder}/app.sock"]))
        several = stack.enter_context(run_gunicorn("--timeout", "100", bind=["unix:{folder}/app.sock", tcp[0]]))
        reusing = stack.enter_context(run_gunicorn("--timeout", "100", "--reuse-port", workers=3, bind=[shared]))
        # Before 24.1, the workers share one socket.
        listeners = 3 if GUNICORN_VERSION == NEWEST else 1
        wait_until(lambda: listening_at(shared) == listeners, "all workers to listen")
        for server, count in (unix, 5), (several, 3):
            stack.enter_context(server.requests(count, SLEEP))
        # Enough that each worker has one, however the kernel distributes them. The log does not show these addresses.
        host, _, port = shared.partition(":")
        for _ in range(40):
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.sendall(f"GET {SLEEP} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        reports = compare([instance_of(unix), instance_of(several, bind=several.addresses()), instance_of(reusing)])
        first, second = several.addresses()
        assert list(map(count_connections, reports)) == [
            {unix.addresses()[0]: (2, 3)},
            {first: (2, 1), second: (0, 0)},
            {shared: (3, 37)},
        ]


NAMESPACE = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh")


@pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("ip"))
    or subprocess.call([*NAMESPACE, "true"], stderr=subprocess.DEVNULL) != 0,
    reason="needs Linux's namespaces and iproute2",
)
@root
def test_another_network_namespace(compare):
    # The server is its own client, because no other process is in its namespace.
    config = f"""
import socket
def when_ready(server):
    server.clients = [socket.create_connection(("127.0.0.1", 8000)) for _ in range(5)]
    for client in server.clients:
        client.sendall(b"GET {SLEEP} HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n")
"""
    bind, command = ["127.0.0.1:8000"], (*NAMESPACE, GUNICORN)
    with run_gunicorn("--timeout", "100", bind=bind, config=config, command=command) as server:
        (report,) = compare([instance_of(server)])
    assert count_connections(report) == {"127.0.0.1:8000": (2, 3)}


def test_a_crash_loop(compare):
    config = """
import os, random, threading
def post_worker_init(worker):
    threading.Timer(random.uniform(0.4, 0.6), os._exit, [1]).start()
"""
    with run_gunicorn(workers=0, config=config) as server:
        # They exit too soon to wait for all of them, so start them one by one: equal signals are merged.
        for count in range(1, 6):
            server.signal(signal.SIGTTIN)
            wait_until(lambda count=count: len(server.booted()) >= count, "another worker", server.explain)
        wait_until(lambda: len(server.booted()) > 5, "the first to be replaced", server.explain)
        (report,) = compare([instance_of(server)], steady=False)
    assert report["status"] == "OK"


def own_part(warning, name):
    """Reduce a warning to the servers whose names begin with `name`; others on the host start and exit."""
    without_others = re.sub(r", `[^`]*`", lambda other: other[0] if name in other[0] else "", warning)
    return re.sub(r" and \d+ more", "", without_others)


def without_new_hints(warnings):
    """Leave out what 5.0.0 did not look for: embedded servers, and processes that were not recognized."""
    return [text for text in warnings if not text.startswith(("Processes mention gunicorn", "Python programs run "))]


def without_container(warnings):
    """5.0.0 took LXC and WSL, whose first process is an init, for application containers."""
    of_system = Path("/proc/1/comm").read_text().startswith(("systemd", "init"))
    return [text for text in warnings if not (of_system and text.startswith("The Agent runs in a container"))]


def test_a_missing_server(compare, tmp_path, monkeypatch):
    missing = unique("missing").replace("-", "_")
    titled, named, nameless = f"{missing}_titled", f"{missing}_named", f"{missing}_app:app"
    (tmp_path / f"{missing}_app.py").write_text("from app import app\n")
    monkeypatch.setattr("tests.gunicorn_server.PYTHONPATH", [tmp_path, APPS])
    configured = {"name": unique("configured"), "config": "proc_name = 'configured'"}
    with (
        run_gunicorn("--name", titled, name=titled, workers=1),
        run_gunicorn("--name", named, name=named, workers=1, titled=False),
        run_gunicorn(app=nameless, workers=1, titled=False, **configured),
    ):
        unknown = "Option `{}` in `instances` is unknown and has no effect. Did you mean `{}`?"
        untitled = (
            "Gunicorn runs on this host without a process title, as {}. "
            "Install setproctitle for it and restart it, or set `proc_name` to `{}`."
        )
        under = "Gunicorn runs on this host under {}. If `{}` was meant, set `proc_name` to it."
        before = [
            # The Agent reads this option.
            unknown.format("no_index", "bind"),
            unknown.format("metric_pattern", "metric_patterns"),
            under.format(f"`{titled}`", titled),
            # 5.0.0 gave this advice also where a --name was given.
            untitled.format(f"`{named}`, `{nameless}`", named),
        ]
        after = [
            unknown.format("metric_pattern", "metric_patterns"),
            untitled.format(f"`{nameless}`", nameless),
            under.format(f"`{named}`, `{titled}`", named),
        ]

        def compare_warnings(old, new):
            old, new = ([own_part(text, missing) for text in warnings] for warnings in (old, new))
            assert (old[: len(before)], new[: len(after)]) == (before, after)
            # The further warnings are about hidden processes.
            assert without_container(old[len(before) :]) == without_new_hints(new[len(after) :])

        instances = [{"proc_name": titled}, {"proc_name": missing, "no_index": True, "metric_pattern": {}}]
        reports = compare(instances, compare_warnings=compare_warnings, servers=3)
    assert [report["status"] for report in reports] == ["OK", "ERROR"]


# The user may lack access to Python and its packages, so the command changes its user after it has imported them.
# This makes the process undumpable, so that root owns /proc/self; PR_SET_DUMPABLE (4) in prctl(2) reverts it.
AS_NOBODY = """
import contextlib, ctypes, io, os, sys
from datadog_checks.gunicorn import config_models
import datadog_checks.base.utils.metadata.core  # AgentCheck imports it when the first version is found.
from datadog_checks.gunicorn.standalone.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["check", "--proc-name", "loads all that is imported late"])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
sys.exit(main(sys.argv[1:]))
"""


@root
def test_as_nobody(compare):
    *tcp, shared = free_ports(3)
    with contextlib.ExitStack() as stack:
        titled = stack.enter_context(run_gunicorn("--timeout", "100", bind=tcp))
        untitled = stack.enter_context(run_gunicorn("--timeout", "100", titled=False, bind=[shared]))
        unix = stack.enter_context(run_gunicorn("--timeout", "100", bind=["unix:{folder}/app.sock"]))
        for server in titled, untitled, unix:
            stack.enter_context(server.requests(3, SLEEP))
        instances = [
            instance_of(titled),
            instance_of(titled, bind=tcp),
            instance_of(untitled),
            instance_of(unix, bind=unix.addresses()),
        ]
        reports = compare(instances, launch=("-c", AS_NOBODY), servers=3)
        assert list(map(count_workers, reports)) == [2, 2, 2, 2]
        # The listeners are only known from `bind` and from the arguments of untitled servers.
        assert list(map(count_connections, reports)) == [
            {},
            {tcp[0]: (2, 1), tcp[1]: (0, 0)},
            {shared: (2, 1)},
            {unix.addresses()[0]: (2, 1)},
        ]


# The mounted procfs shows the same processes as /proc, so a release that reads them in /proc is stopped.
PROCFS_PATH = """
import os, re, sys
from datadog_checks.base.stubs import datadog_agent
from datadog_checks.gunicorn.standalone.cli import main
datadog_agent._config["procfs_path"] = {!r}
def forbid_proc(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and re.match(r"/proc(/\\d|/?$)", str(arguments[0])):
        os.write(2, f"{{event}} {{arguments[0]}}\\n".encode())
        os._exit(3)
sys.addaudithook(forbid_proc)
sys.exit(main(sys.argv[1:]))
"""


@root
def test_another_procfs(compare):
    with temporary_folder() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "proc", "proc", folder], capture_output=True, text=True, check=False, timeout=10
        )
        if mounted.returncode:
            pytest.skip(f"cannot mount a procfs: {mounted.stderr.strip()}")
        try:
            with servers({"workers": 3}, {"titled": False}) as started, started[0].requests(2, "/sleep?20"):
                reports = compare(list(map(instance_of, started)), launch=("-c", PROCFS_PATH.format(str(folder))))
            assert list(map(count_workers, reports)) == [3, 2]
        finally:
            subprocess.run(["umount", folder], check=True, timeout=10)
