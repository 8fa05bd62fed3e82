import json
import re
import signal
import subprocess
import sys

import pytest

from datadog_checks.gunicorn import __version__
from datadog_checks.gunicorn.check import GunicornCheck
from datadog_checks.gunicorn.standalone import cli, runner
from datadog_checks.gunicorn.standalone.cli import main
from tests.assertions import is_idle, make_check, run_until
from tests.gunicorn_server import run_gunicorn, unique
from tests.standalone.command_process import ROOT, run, start


@pytest.fixture
def confd(tmp_path, monkeypatch):
    """A directory used as the current one and as the Agent's, so that no other configuration is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "AGENT_CONFD", tmp_path / "agent")
    return tmp_path


@pytest.fixture
def no_runs(monkeypatch):
    monkeypatch.setattr(GunicornCheck, "run", lambda self: pytest.fail("a check ran"))


WRONG_USAGE = [
    pytest.param([], "no command given (choose from 'status', 'check', 'servers', 'demo')", id="no command"),
    pytest.param(["frob"], "invalid choice: 'frob' (choose from ", id="unknown command"),
    pytest.param(["fr\nob"], r"invalid choice: 'fr\nob' (choose from ", id="unknown command with a newline"),
    pytest.param(["stat"], "invalid choice: 'stat' (choose from ", id="abbreviated command"),
    pytest.param(["status", "--frob"], "unrecognized arguments: --frob", id="unknown option"),
    pytest.param(["status", "--fr\nob"], r"unrecognized arguments: --fr\nob", id="unknown option with a newline"),
    pytest.param(["status", "--conf", "x"], "unrecognized arguments: --conf x", id="abbreviated option"),
    pytest.param(["status", "--json"], "unrecognized arguments: --json", id="option of another command"),
    pytest.param(["status", "web"], "unrecognized arguments: web", id="surplus argument"),
    pytest.param(["status", "--proc-name"], "argument --proc-name: expected one argument", id="name left out"),
    pytest.param(["status", "--confd", "a", "--proc-name", "b"], "not allowed with argument --confd", id="two sources"),
    pytest.param(["status", "--proc-name", ""], "--proc-name '': proc_name: must be", id="empty name"),
    pytest.param(["check", "--proc-name", "a", "--proc-name", " "], "--proc-name ' ': proc_name:", id="blank name"),
    pytest.param(["status", "--watch", "x"], "--watch: must be a number of seconds above 0, is 'x'", id="not a number"),
    pytest.param(["status", "--watch", "0"], "--watch: must be a number of seconds above 0, is '0'", id="zero"),
    pytest.param(["status", "--watch", "-2"], "--watch: must be a number of seconds above 0, is '-2'", id="negative"),
    pytest.param(["demo", "--watch", "nan"], "--watch: must be a number of seconds above 0, is 'nan'", id="nan"),
    pytest.param(["demo", "--watch=inf"], "--watch: must be a number of seconds above 0, is 'inf'", id="infinite"),
    pytest.param(["status", "--watch", "--check-rate"], "--check-rate: not allowed with argument --watch", id="rates"),
    pytest.param(["check", "--watch"], "unrecognized arguments: --watch", id="check --watch"),
    pytest.param(["servers", "--proc-name", "a"], "unrecognized arguments: --proc-name a", id="servers --proc-name"),
    pytest.param(["status", "--watch", "--confd", "none"], "/none: no such directory", id="--watch, no such folder"),
    pytest.param(["status", "--confd", ""], "--confd: must be a directory, is empty", id="empty folder name"),
    pytest.param(["status", "--confd", "none"], "/none: no such directory", id="no such folder"),
    pytest.param(["status", "--confd", "."], "/gunicorn.d/conf.yaml, ", id="folder without configuration"),
    pytest.param(["status"], "/agent/gunicorn.yaml; use --confd DIR or --proc-name NAME", id="nothing anywhere"),
]


@pytest.mark.usefixtures("confd", "no_runs")
@pytest.mark.parametrize(("arguments", "message"), WRONG_USAGE)
def test_wrong_usage(capsys, arguments, message):
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("python -m datadog_checks.gunicorn")
    assert err.count("\n") == 1
    assert err.endswith("\n")


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("command", [["status"], ["check"], ["check", "--json", "--check-rate"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("a: [1", ": line 1, column 6: invalid YAML: ", id="not YAML"),
        pytest.param("- a", ": must be a mapping", id="not a mapping"),
        pytest.param("init_config:", ": has no `instances`", id="no instances"),
        pytest.param("instances: [web]", ": instance 1 of 1: must be a mapping", id="instance not a mapping"),
        pytest.param("instances: [{proc_name: a}, {}]", ": instance 2 of 2: proc_name (the", id="proc_name missing"),
        pytest.param("instances: [{proc_name: ''}]", ": instance 1 of 1: proc_name: must", id="proc_name empty"),
        pytest.param("instances: [{proc_name: null}]", ": instance 1 of 1: proc_name: must", id="proc_name null"),
        pytest.param("instances: [{proc_name: 5}]", ": instance 1 of 1: proc_name: must", id="proc_name a number"),
        pytest.param("instances: [{container: null}]", ": instance 1 of 1: container: must", id="container null"),
        pytest.param("instances: [{container: 0}]", ": instance 1 of 1: container: must", id="container pid 0"),
        pytest.param("instances: [{container: 4711.0}]", ": instance 1 of 1: container: must", id="container a float"),
        pytest.param("instances: [{discovery: }]", ": instance 1 of 1: discovery: must", id="discovery null"),
        pytest.param("instances: [{discovery: []}]", ": instance 1 of 1: discovery: must", id="discovery a list"),
        pytest.param(
            "instances: [{discovery: {include: web}}]", ": instance 1 of 1: discovery: include must", id="bad include"
        ),
        pytest.param(
            "instances: [{discovery: {exclude: ['(']}}]", ": instance 1 of 1: discovery: exclude must", id="bad regex"
        ),
        pytest.param(
            "instances: [{discovery: {limit: 0}}]", ": instance 1 of 1: discovery: limit must", id="discovery limit 0"
        ),
        pytest.param(
            "instances: [{discovery: {}, proc_name: a}]",
            ": instance 1 of 1: proc_name cannot be combined with discovery; an instance takes either",
            id="discovery and proc_name",
        ),
        pytest.param(
            "init_config: {gunicorn: 5}\ninstances: [{proc_name: a}]", ": init_config: gunicorn: ", id="init_config"
        ),
    ],
)
def test_wrong_configuration(capsys, confd, command, content, message):
    (confd / "gunicorn.yaml").write_text(content)

    assert main([*command, "--confd", str(confd)]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {confd}/gunicorn.yaml{message}" in err
    assert err.count("\n") == 1


def test_a_real_process_prints_one_line_about_a_wrong_configuration(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/gunicorn.yaml").write_text("instances: [{proc_name: 5}]")

    ended = run("status", cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        f"python -m datadog_checks.gunicorn: error: {tmp_path}/conf.d/gunicorn.yaml: instance 1 of 1: proc_name: "
    )
    assert ended.stderr.count("\n") == 1


def write_conf(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("instances:\n" + "".join(f"  - proc_name: {name}\n" for name in names))


def test_conf_d_in_the_current_directory_precedes_the_agents(capsys, confd):
    write_conf(confd / "agent/gunicorn.d/conf.yaml", unique("agents"))
    assert main(["status"]) == 1
    assert f"Configuration Source: file:{confd}/agent/gunicorn.d/conf.yaml[0]\n" in capsys.readouterr().out

    write_conf(confd / "conf.d/gunicorn.yaml", unique("current"))
    assert main(["status"]) == 1
    assert f"Configuration Source: file:{confd}/conf.d/gunicorn.yaml[0]\n" in capsys.readouterr().out


def test_an_empty_conf_d_does_not_hide_the_agents(capsys, confd):
    (confd / "conf.d").mkdir()
    write_conf(confd / "agent/gunicorn.d/conf.yaml", unique("agents"))

    assert main(["status"]) == 1
    assert "/agent/gunicorn.d/conf.yaml[0]" in capsys.readouterr().out


def test_a_server_that_is_not_running(capsys):
    name = unique("nowhere")

    assert main(["status", "--proc-name", name]) == 1

    out, err = capsys.readouterr()
    message = f"Found no master process with name: gunicorn: master [{name}]"
    assert f"Configuration Source: command line: --proc-name {name}\n" in out
    assert "[ERROR]\n" in out
    assert "Metric Samples: Last Run: 0, Total: 0\n" in out
    assert "Service Checks: Last Run: 1, Total: 1\n" in out
    assert "Last Successful Execution Date : Never\n" in out
    assert f"      Error: {message}\n" in out
    assert f"      Common tags:\n        app:{name}\n      Metrics:\n        none\n" in out
    assert f"gunicorn.is_running  CRITICAL  {message}\n" in out
    assert "Traceback" not in out
    assert err == ""


def test_a_misspelt_option_warns_only_on_the_page(capsys, confd):
    name = unique("nowhere")
    (confd / "gunicorn.yaml").write_text(f"instances: [{{proc_name: {name}, proc_nam: x, tags: [env:prod]}}]")

    assert main(["status", "--confd", "."]) == 1

    out, err = capsys.readouterr()
    assert out.count("`proc_nam`") == 1
    assert "`proc_name`" in out
    assert f"      Common tags:\n        app:{name}\n        env:prod\n" in out
    assert err == ""


def test_verbose_logs_to_stderr(capsys, confd):
    (confd / "gunicorn.yaml").write_text(f"instances: [{{proc_name: {unique('nowhere')}, proc_nam: 'x'}}]")

    assert main(["check", "--json", "--verbose", "--confd", "."]) == 1

    out, err = capsys.readouterr()
    assert "WARNING" in err
    assert "proc_nam" in err
    assert json.loads(out)[0]["status"] == "ERROR"


def test_names_with_control_characters_are_escaped(capsys):
    assert main(["status", "--proc-name", "a\x1b[31m\nb\u202e\x9b"]) == 1

    out = capsys.readouterr().out
    assert r"command line: --proc-name a\x1b[31m\nb\u202e\x9b" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_a_name_that_is_not_utf_8_and_a_terminal_that_is_ascii(tmp_path):
    ended = run("status", "--proc-name", "w\u00e9b\udce9", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})

    assert ended.returncode == 1
    assert ended.stderr == ""
    assert r"--proc-name w\xe9b\udce9" in ended.stdout


@pytest.fixture(scope="module")
def server():
    with run_gunicorn(workers=2) as server:
        run_until(make_check(server.name), is_idle)
        yield server


# The submissions of runs on a healthy server, in the order of the page.
FIRST_RUN = [
    *["gunicorn.workers"] * 2,
    *["gunicorn.connections"] * (2 if sys.platform == "linux" else 0),
    "gunicorn.worker.age.min",
    "gunicorn.worker.age.max",
    *["gunicorn.worker.heartbeat.age.max"] * (1 if sys.platform == "linux" else 0),
    "gunicorn.uptime",
    *["gunicorn.memory.rss"] * 2,
    "gunicorn.memory.rss.max",
    *["gunicorn.threads"] * 2,
]
AGES = FIRST_RUN.index("gunicorn.worker.age.min")
MEMORY = FIRST_RUN.index("gunicorn.memory.rss")
SECOND_RUN = [
    *FIRST_RUN[:AGES],
    *["gunicorn.workers.started", "gunicorn.workers.exited"],
    *FIRST_RUN[AGES:MEMORY],
    *["gunicorn.cpu.percent"] * 2,
    *FIRST_RUN[MEMORY:],
]


def metrics_of(page):
    """List the names of the metrics on a status page, one for each row."""
    return re.findall(r"^ {8}(\S+) +(?:gauge|count)  [\d.]+", page, re.MULTILINE)


def test_status_of_a_real_server(capsys, server):
    assert main(["status", "--proc-name", server.name]) == 0

    out, err = capsys.readouterr()
    assert "[OK]\n" in out
    assert metrics_of(out) == FIRST_RUN
    assert f"Metric Samples: Last Run: {len(FIRST_RUN)}, Total: {len(FIRST_RUN)}\n" in out
    assert f"      Common tags:\n        app:{server.name}\n      Workers:\n" in out
    assert out.count(server.name) == 2
    assert "        gunicorn.workers  gauge  2  state:idle\n" in out
    assert "        gunicorn.workers  gauge  0  state:working\n" in out
    if sys.platform == "linux":
        for state in ["accepted", "queued"]:
            row = f"gunicorn.connections  gauge  0  listener:127.0.0.1:{server.port}, state:{state}"
            assert f"        {row}\n" in out
    assert re.search(r"\n        gunicorn\.uptime +gauge  [\d.]+ +[\dms. ]+\n", out)
    assert re.search(r"\n        gunicorn\.memory\.rss +gauge  \d+ +[\d.]+ MiB +process_role:master\n", out)
    assert re.search(r"\n        gunicorn\.threads +gauge  2 +process_role:worker\n", out)
    assert "      Service Checks:\n        gunicorn.is_running  OK\n" in out
    assert "Other metrics" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert err == ""


def test_check_rate_runs_twice(capsys, monkeypatch, server):
    monkeypatch.setattr(runner, "RATE_SECONDS", 0.05)
    assert main(["status", "--check-rate", "--proc-name", server.name]) == 0

    out = capsys.readouterr().out
    assert "Total Runs: 2\n" in out
    assert metrics_of(out) == SECOND_RUN
    samples = f"Metric Samples: Last Run: {len(SECOND_RUN)}, Total: {len(FIRST_RUN) + len(SECOND_RUN)}\n"
    assert samples in out
    assert re.search(r"\n        gunicorn\.workers\.started +count  0\n", out)
    assert re.search(r"\n        gunicorn\.cpu\.percent +gauge  [\d.]+ +[\d.]+% +process_role:worker\n", out)
    assert "Other metrics" not in out


def test_a_row_for_each_worker(capsys, server):
    assert main(["status", "--workers", "--proc-name", server.name]) == 0

    _, _, rows = capsys.readouterr().out.partition(f"      Workers of {server.name}:\n")
    header, *rows = rows.splitlines()
    assert header.split() == ["pid", "age", "state", "CPU", "memory", "threads", "accepted", "heartbeat"]
    assert {int(row.split()[0]) for row in rows} == set(server.workers())


def test_check_prints_json_lists_and_the_page(capsys, server):
    assert main(["check", "--proc-name", server.name]) == 0

    out = capsys.readouterr().out
    series, rest = out.removeprefix("=== Series ===\n").split("=== Service Checks ===\n")
    service_checks, page = rest.split("\n\n", 1)
    assert sorted(entry["metric"] for entry in json.loads(series)) == sorted(FIRST_RUN)
    assert all(f"app:{server.name}" in entry["tags"] for entry in json.loads(series))
    assert [entry["check"] for entry in json.loads(service_checks)] == ["gunicorn.is_running"]
    assert page.startswith("=========\nCollector\n=========\n")
    assert metrics_of(page) == FIRST_RUN


def test_one_of_two_instances_failed(capsys, server):
    nowhere = unique("nowhere")

    assert main(["check", "--json", "--proc-name", server.name, "--proc-name", nowhere]) == 1

    well, ill = json.loads(capsys.readouterr().out)
    assert (well["source"], well["status"], well["error"]) == (f"command line: --proc-name {server.name}", "OK", None)
    assert sorted(metric["metric"] for metric in well["metrics"]) == sorted(FIRST_RUN)
    workers = {metric["tags"][-1]: metric["points"] for metric in well["metrics"] if metric["metric"] == FIRST_RUN[0]}
    assert {tag: value for tag, ((_, value),) in workers.items()} == {"state:idle": 2, "state:working": 0}
    assert well["service_checks"][0]["status"] == 0
    assert (ill["status"], ill["metrics"], ill["service_checks"][0]["status"]) == ("ERROR", [], 2)
    assert ill["error"] == f"Found no master process with name: gunicorn: master [{nowhere}]"
    assert ill["instance_id"] != well["instance_id"]


@pytest.mark.parametrize("command", ["status", "check", "servers", "demo"])
def test_help_shows_an_example(capsys, command):
    assert main([command, "--help"]) == 0

    out, err = capsys.readouterr()
    assert f"examples:\n  python -m datadog_checks.gunicorn {command}" in out
    assert err == ""


def test_help_names_commands_and_exit_codes(capsys):
    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    for part in ["status  ", "check  ", "servers  ", "demo  ", "examples:", "exit codes:"]:
        assert part in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"datadog-gunicorn {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--proc-name", "nowhere"]])
def test_a_closed_pipe(tmp_path, arguments):
    with start(*arguments, cwd=tmp_path) as process:
        process.stdout.close()
        err = process.stderr.read()

    assert err == ""
    assert process.returncode == (0 if arguments == ["--help"] else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["status", "--proc-name", "nowhere"]])
def test_a_full_disk(tmp_path, arguments):
    command = 'exec "$@" >/dev/full'
    shell = ["sh", "-c", command, "sh", sys.executable, "-m", "datadog_checks.gunicorn", *arguments]

    ended = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 1
    assert ended.stderr == (
        "python -m datadog_checks.gunicorn: error: cannot write to stdout: No space left on device\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize("arguments", [["status", "--nonsense"], ["status", "--confd", "nowhere"]])
def test_a_full_disk_for_stderr_does_not_change_the_exit_code(tmp_path, arguments):
    shell = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", sys.executable, "-m", "datadog_checks.gunicorn", *arguments]

    ended = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stdout) == (2, "")


def test_closed_streams_are_no_error(tmp_path):
    shell = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "datadog_checks.gunicorn", "--version"]

    assert subprocess.run(shell, cwd=tmp_path, timeout=30, check=False).returncode == 0


def test_ctrl_c(tmp_path):
    (tmp_path / "gunicorn.yaml").write_text(f"instances: [{{proc_name: {unique('nowhere')}, gunicorn_: x}}]")
    with start("status", "--confd", ".", "--check-rate", "--verbose", cwd=tmp_path) as process:
        # The warning of the first run; the second one starts a second later.
        assert "gunicorn_" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["datadog_checks.gunicorn.standalone.cli"])
def test_ctrl_c_before_the_command_is_known(tmp_path, module):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )

    ended = run("--version", cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
