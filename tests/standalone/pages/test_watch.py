import io
import itertools
import os
import pty
import signal

import pytest

from datadog_checks.gunicorn.check import GunicornCheck
from datadog_checks.gunicorn.standalone.cli import main
from datadog_checks.gunicorn.standalone.interrupts import InterruptError
from datadog_checks.gunicorn.standalone.pages.watch import show_pages
from tests.gunicorn_server import unique
from tests.standalone.command_process import start


def interrupted(*rounds):
    """Rounds that a signal ends."""
    yield from rounds
    raise InterruptError(signal.SIGINT)


def test_pages_until_an_interrupt(capsys):
    assert show_pages(interrupted(1, 2, 3), "page {}\n".format) == 3
    assert capsys.readouterr().out == "page 1\npage 2\npage 3\n"


def test_an_interrupt_before_the_first_page(capsys):
    with pytest.raises(InterruptError):
        show_pages(interrupted(), str)
    assert capsys.readouterr().out == ""


def test_a_terminal_is_cleared_before_each_page(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", terminal)

    show_pages(interrupted("one\n", "two\n"), str)

    assert terminal.getvalue() == "\x1b[H\x1b[2Jone\n\x1b[H\x1b[2Jtwo\n"


def test_no_page_is_formatted_for_a_closed_pipe(monkeypatch):
    class Gone(io.StringIO):
        def flush(self):
            if numbers:
                raise BrokenPipeError

    numbers = []
    monkeypatch.setattr("sys.stdout", Gone())

    def rounds():
        for number in itertools.count():
            yield number
            numbers.append(number)

    assert show_pages(rounds(), str) == 1


def watch(monkeypatch, number, check):
    """Watch a check that receives a signal in its third run."""
    runs = itertools.count(1)

    def check_and_signal(self, _):
        run = next(runs)
        self.gauge("gunicorn.workers", run, tags=["app:web"])
        if run == 3:
            os.kill(os.getpid(), number)
        check(run)

    monkeypatch.setattr(GunicornCheck, "check", check_and_signal)
    return main(["status", "--watch", "0.01", "--proc-name", "web"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pages_of_growing_totals_until_a_signal(capsys, monkeypatch, number):
    assert watch(monkeypatch, number, lambda run: None) == 0

    out, err = capsys.readouterr()
    pages = out.split("=========\nCollector\n=========\n")[1:]
    assert [f"Total Runs: {run}\n" in page for run, page in enumerate(pages, 1)] == [True] * 3
    assert "Metric Samples: Last Run: 1, Total: 3\n" in pages[-1]
    assert pages[-1].count("gunicorn.workers  gauge") == 1
    assert err == ""


@pytest.mark.parametrize(("failing", "code"), [(2, 0), (3, 1)])
def test_the_exit_code_is_that_of_the_last_page(monkeypatch, failing, code):
    def check(run):
        if run == failing:
            raise KeyError("lost")

    assert watch(monkeypatch, signal.SIGINT, check) == code


def test_ctrl_c_on_a_terminal(tmp_path):
    leader, follower = pty.openpty()
    with start("status", "--watch", "--proc-name", unique("nowhere"), cwd=tmp_path, stdout=follower) as process:
        os.close(follower)
        page = b""
        while b"CRITICAL" not in page:
            page += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    os.close(leader)

    assert page.startswith(b"\x1b[H\x1b[2J=========\r\nCollector\r\n")
    assert (process.returncode, err) == (1, "")


def test_a_reader_that_closes_the_pipe(tmp_path):
    with start("status", "--watch", "0.05", "--proc-name", unique("nowhere"), cwd=tmp_path) as process:
        next(line for line in process.stdout if "Total Runs: 2" in line)
        process.stdout.close()
        err = process.stderr.read()

    assert (process.returncode, err) == (1, "")
