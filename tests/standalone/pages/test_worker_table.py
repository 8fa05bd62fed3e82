from datadog_checks.gunicorn.pool.looks import Worker
from datadog_checks.gunicorn.standalone.pages.worker_table import format_workers
from datadog_checks.gunicorn.standalone.runs import WatchedServer

BUSY = Worker(4711, 3783.2, working=True, cpu=95.65, rss=46242202, threads=4, accepted=12, heartbeat=0.34)
UNKNOWN = Worker(4712, 2.0, working=False, cpu=None, rss=1024, threads=1, accepted=None, heartbeat=None)


def test_a_row_for_each_worker():
    server = WatchedServer("web", "4f1c9a2b7d3e" + 52 * "0", (4710,), (BUSY, UNKNOWN))
    assert list(format_workers(server)) == [
        "Workers of web in container 4f1c9a2b7d3e:",
        "  pid   age    state    CPU    memory    threads  accepted  heartbeat",
        "  4711  1h 3m  working  95.7%  44.1 MiB  4        12        0.3s",
        "  4712  2.0s   idle     -      1.0 KiB   1        -         -",
    ]


def test_a_server_without_workers():
    assert list(format_workers(WatchedServer("web", None, (4710,), ()))) == ["Workers of web:", "  none"]


def test_no_rows_unless_they_were_requested():
    assert list(format_workers(WatchedServer("web", None, (4710,)))) == []


def test_names_of_other_processes_cannot_break_the_page():
    (heading, _) = format_workers(WatchedServer("\x1b[2J" + "a" * 3000, None, (1,), ()))
    assert heading.isprintable()
    assert len(heading) < 100
