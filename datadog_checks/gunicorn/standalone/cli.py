"""The command line: `python -m datadog_checks.gunicorn`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from datadog_checks.gunicorn.__about__ import __version__
from datadog_checks.gunicorn.text import escape

from . import demo
from .instances import CONF_FILES, Instance, UsageError, name_instances, read_instances
from .report import format_check, format_json, format_status
from .runner import run_instances
from .runs import Report
from .terminal import OutputError, complain, prepare_logging, prepare_output, write

PROGRAM = "python -m datadog_checks.gunicorn"

OK, FAILED, WRONG_USAGE = 0, 1, 2
INTERRUPTED = 130

# Where `agent` looks on this system.
AGENT_CONFD = Path("/opt/datadog-agent/etc/conf.d" if sys.platform == "darwin" else "/etc/datadog-agent/conf.d")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: every instance ran. 1: an instance failed. 2: wrong usage or configuration. 130: interrupted.
    """
    prepare_output()
    try:
        return _run_command(argv)
    except UsageError as error:
        complain(f"{PROGRAM}: error: {error}")
        return WRONG_USAGE
    except OutputError as error:
        complain(f"{PROGRAM}: error: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_command(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.error("no command given (choose from 'status', 'check', 'demo')")
    except SystemExit as stop:
        # argparse has said why: --help, --version or wrong usage.
        if not stop.code:
            write("")
        return int(stop.code or OK)
    prepare_logging(verbose=arguments.verbose)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def run_status(arguments: argparse.Namespace) -> int:
    """Run the instances and print the status page."""
    reports = _run(arguments)
    write(format_status(reports))
    return _exit_code(reports)


def run_check(arguments: argparse.Namespace) -> int:
    """Run the instances and print what they submitted."""
    reports = _run(arguments)
    write(format_json(reports) if arguments.json else format_check(reports))
    return _exit_code(reports)


def run_demo(_: argparse.Namespace) -> int:
    """Run the demo."""
    return demo.run_demo()


def _run(arguments: argparse.Namespace) -> list[Report]:
    return run_instances(find_instances(arguments), count=2 if arguments.check_rate else 1)


def _exit_code(reports: Sequence[Report]) -> int:
    return FAILED if any(report.last.error for report in reports) else OK


def find_instances(arguments: argparse.Namespace) -> list[Instance]:
    """Find the instances that the arguments ask for. Raises UsageError."""
    if arguments.proc_name is not None:
        return name_instances(arguments.proc_name)
    if arguments.confd == "":
        raise UsageError("--confd: names no directory")
    confds = [Path("conf.d"), AGENT_CONFD] if arguments.confd is None else [Path(arguments.confd)]
    return read_instances(confds)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line, where argparse would print its usage as well; words of the command line may be in it.
        self.exit(WRONG_USAGE, f"{self.prog}: error: {escape(message)}\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; `command` is the function to call with what it parsed, None where there was none."""
    parser = _Parser(
        prog=PROGRAM,
        description="Run the Gunicorn check without a Datadog Agent.",
        epilog=_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"datadog-gunicorn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    parser.set_defaults(command=None)

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str) -> _Parser:
        command = commands.add_parser(
            name,
            help=summary,
            description=details,
            epilog="examples:\n" + "".join(line + "\n" for line in _EXAMPLES.splitlines() if f" {name}" in line),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("-v", "--verbose", action="store_true", help="print the check's log on stderr")
        command.set_defaults(command=run)
        return command

    _add_instance_options(add("status", run_status, "print the Agent's status page of a run", _STATUS))
    check = add("check", run_check, "print what a run submits, as the Agent's check command does", _CHECK)
    _add_instance_options(check)
    check.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    add("demo", run_demo, "start a Gunicorn, run the check against it, clean up", _DEMO)
    return parser


def _add_instance_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--confd",
        metavar="DIR",
        help=f"read the instances from DIR/{CONF_FILES[0]}, or else DIR/{CONF_FILES[1]} "
        f"(default: .{os.sep}conf.d, then {AGENT_CONFD})",
    )
    group.add_argument(
        "--proc-name",
        metavar="NAME",
        action="append",
        help="check the server with this name, in brackets in the title of its master process; repeatable",
    )
    parser.add_argument("--check-rate", action="store_true", help="run twice, one second apart, and show the second")


_STATUS = "Run the check once on each instance and print the page that `agent status collector` would print."
_CHECK = "Run the check once on each instance and print its metrics and service checks, then the status page."
_DEMO = """\
Start a Gunicorn with an example app on a free port of 127.0.0.1, keep two of its four workers busy, run the check
against it, and print the status page and the DogStatsD metrics that Gunicorn sent. Takes a few seconds, and leaves no
process, socket or file behind. Needs the packages of datadog-gunicorn[demo]."""
_EXAMPLES = f"""\
examples:
  {PROGRAM} demo
  {PROGRAM} status --proc-name web --proc-name api
  {PROGRAM} status --confd /etc/datadog-agent/conf.d --check-rate
  {PROGRAM} check --proc-name web --json
"""
_EXIT_CODES = """
exit codes:
  0  every instance ran
  1  an instance failed: its run ended with an error
  2  wrong usage or configuration
"""
