import json
import time

import pytest

from datadog_checks.gunicorn.diagnoses.findings import Finding
from datadog_checks.gunicorn.host.processes import ProcessTableError
from datadog_checks.gunicorn.scanning.registry import Host
from datadog_checks.gunicorn.scanning.scanner import HostLook
from datadog_checks.gunicorn.servers.applications import Scan, assign_applications
from datadog_checks.gunicorn.standalone import cli
from datadog_checks.gunicorn.standalone.cli import main
from datadog_checks.gunicorn.standalone.pages.listing import (
    FoundBy,
    ListedServer,
    Listing,
    find_servers,
    format_servers,
    format_servers_json,
)
from tests.gunicorn_server import run_gunicorn, unique, wait_until
from tests.servers.test_applications import WEB

CONTAINER = "4f1c9a2b7d3e" + 52 * "0"
TITLED = ListedServer("web", None, (12, 345), 4, None, complete=True, found_by=(FoundBy.TITLE,))
UNTITLED = ListedServer("shop.wsgi", None, (7,), 16, None, complete=True, found_by=(FoundBy.ARGUMENTS,))
HINT = (
    "Without a process title, the name is taken from the arguments: `--name`, otherwise the application. "
    "A name set in a configuration file is not visible.\n"
)


@pytest.fixture(scope="module")
def both():
    """One name with a titled and an untitled server."""
    name = unique("both")
    with (
        run_gunicorn(workers=2, name=name, config=f"proc_name = {name!r}") as titled,
        run_gunicorn("-n", name, workers=1, name=name, titled=False) as untitled,
    ):
        yield name, (titled.master, untitled.master)


def test_one_name_for_two_servers(both):
    name, masters = both

    def found():
        (server,) = [server for server in find_servers().servers if server.proc_name == name]
        return server

    # A fresh worker without a title has its master's signal handlers for some milliseconds.
    wait_until(lambda: found().workers == 3, "the workers of both")
    assert found() == (name, None, masters, 3, None, True, (FoundBy.ARGUMENTS, FoundBy.TITLE))


def test_the_command_lists_servers_with_and_without_titles(capsys, both):
    name, masters = both
    long_name = unique("\x1b[2Jn" + "a" * 2000)
    with run_gunicorn("--name", long_name, workers=1, name=long_name) as server:
        master = server.master
        assert main(["servers"]) == 0
        table, err = capsys.readouterr()
        assert main(["servers", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)["servers"]

    assert err == ""
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["proc_name", "container", "workers", "found", "by", "master", "pids"]
    assert [name, "-", "3", "arguments,", "title", f"{masters[0]},", f"{masters[1]}"] in rows
    assert [rf"\x1b[2Jn{'a' * 56}...", "-", "1", "title", f"{master}"] in rows
    assert HINT in table
    assert "--json prints them in full.\n" in table
    assert {
        "proc_name": long_name,
        "container": None,
        "masters": [master],
        "workers": 1,
        "dirty_workers": None,
        "complete": True,
        "found_by": ["title"],
    } in listed


class ScannedHost(Host):
    """A host whose looks always return the same scan."""

    def __init__(self, found, *candidates):
        super().__init__()
        self.found, self.candidates, self.looks = found, candidates, 0

    def scan(self, **_):
        self.looks += 1
        self._last_look = HostLook(full=True, now=time.monotonic())
        self._assigned = assign_applications(self.candidates, {})
        return self.found


def test_one_look_at_the_host_is_enough():
    host = ScannedHost(Scan(), WEB, WEB._replace(identity=WEB.identity._replace(pid=2**22 - 1), name="api"))

    listing = find_servers(host)

    # Both have exited.
    assert [(server.proc_name, server.workers) for server in listing.servers] == []
    assert host.looks == 1


def test_hidden_processes_are_reported():
    listing = find_servers(ScannedHost(Scan(unreadable=3, hides_others=True)))

    assert listing.servers == ()
    assert [finding.name for finding in listing.hidden] == ["unreadable processes", "hidden processes"]


def test_a_process_table_that_cannot_be_read(capsys, monkeypatch):
    def fail():
        raise ProcessTableError("no /proc")

    monkeypatch.setattr(cli, "find_servers", fail)

    assert main(["servers"]) == 1
    assert capsys.readouterr() == ("", "python -m datadog_checks.gunicorn: error: no /proc\n")


def test_format_servers():
    assert format_servers(Listing((TITLED, TITLED._replace(container=CONTAINER)), ())) == (
        """\
proc_name  container     workers  found by  master pids
web        -             4        title     12, 345
web        4f1c9a2b7d3e  4        title     12, 345
"""
    )


def test_format_servers_of_several_containers():
    ecs = "0a1b2c3d4e5f60718293a4b5c6d7e8f9-2531612879"
    servers = (TITLED, TITLED._replace(container=CONTAINER), UNTITLED._replace(container=ecs))

    table = format_servers(Listing(servers, ())).splitlines()[:4]

    assert [line.split()[:3] for line in table] == [
        ["proc_name", "container", "workers"],
        ["web", "-", "4"],
        ["web", "4f1c9a2b7d3e", "4"],
        ["shop.wsgi", "0a1b2c3d4e5f", "16"],
    ]
    listed = json.loads(format_servers_json(Listing(servers, ())))["servers"]
    assert [(server["proc_name"], server["container"]) for server in listed] == [
        ("web", None),
        ("web", CONTAINER),
        ("shop.wsgi", ecs),
    ]


def test_format_servers_with_all_notes():
    dirty = TITLED._replace(proc_name="a\x1b" + "b" * 60, dirty_workers=2, complete=False)
    hidden = Finding("", "3 processes could not be read.", "Mount it.")

    *table, notes = format_servers(Listing((dirty, UNTITLED), (hidden,))).split("\n", 3)
    cut = rf"a\x1b{'b' * 59}..."
    assert table == [
        f"{'proc_name':67}  container  workers             found by   master pids",
        f"{cut:67}  -          4 or more, 2 dirty  title      12, 345",
        f"{'shop.wsgi':67}  -          16                  arguments  7",
    ]
    assert notes == (
        f"\n{HINT}Names that end in ... are truncated; --json prints them in full.\n"
        "3 processes could not be read. Mount it.\n"
    )


def test_a_name_that_fits_the_column_is_not_truncated():
    lines = format_servers(Listing((TITLED._replace(proc_name="a" * 64),), ())).splitlines()

    assert len(lines) == 2
    assert lines[1].startswith("a" * 64 + "  -          4 ")


def test_format_no_servers():
    assert format_servers(Listing((), ())) == "No Gunicorn was found on this host.\n"


def test_format_no_servers_if_processes_are_hidden():
    hidden = Finding("", "Processes of other users are hidden.", "Mount it.")

    assert format_servers(Listing((), (hidden,))) == (
        "No Gunicorn was found on this host.\n\nProcesses of other users are hidden. Mount it.\n"
    )


def test_format_servers_json():
    evil = TITLED._replace(proc_name="\x1b\udce9" + "a" * 3000, dirty_workers=2, container=CONTAINER)

    text = format_servers_json(Listing((evil,), (Finding("x", "Seen.", "Remedy."),)))

    assert text.isascii()
    assert json.loads(text) == {
        "servers": [
            {
                "proc_name": "\x1b\udce9" + "a" * 3000,
                "container": CONTAINER,
                "masters": [12, 345],
                "workers": 4,
                "dirty_workers": 2,
                "complete": True,
                "found_by": ["title"],
            }
        ],
        "hidden": [{"seen": "Seen.", "remedy": "Remedy."}],
    }
    assert json.loads(format_servers_json(Listing((), ()))) == {"servers": [], "hidden": []}
