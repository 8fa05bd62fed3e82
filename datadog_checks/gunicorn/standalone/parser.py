"""The parser of the command line, and the texts of --help."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from datadog_checks.gunicorn.__about__ import __version__

from .instances import CONF_FILES
from .terminal import complain

PROGRAM = "python -m datadog_checks.gunicorn"
WRONG_USAGE = 2

# The Agent's directory on this system.
AGENT_CONFD = Path("/opt/datadog-agent/etc/conf.d" if sys.platform == "darwin" else "/etc/datadog-agent/conf.d")

WATCH_SECONDS = 5.0


class Parser(argparse.ArgumentParser):
    """A parser that prints errors on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        # argparse itself fails in Python 3.11 if stderr takes nothing.
        complain(f"{self.prog}: error: {message}")
        self.exit(WRONG_USAGE)


def build_parser() -> Parser:
    """Build the parser; `command` is the name of the command, or None if none was given."""
    parser = Parser(
        prog=PROGRAM,
        description="Run the Gunicorn check without a Datadog Agent.",
        epilog=_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"datadog-gunicorn {__version__}")
    parser.set_defaults(command=None)
    add_parser = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser).add_parser
    _add_status(add_parser)
    _add_check(add_parser)
    _add_servers(add_parser)
    _add_demo(add_parser)
    return parser


def _add_status(add_parser: Callable[..., Parser]) -> None:
    status = _add_command(add_parser, "status", "run the check and print the Agent's status page", _STATUS)
    _add_instances(status)
    _add_rounds(status, check_rate=True, watch=True)
    status.add_argument(
        "--workers",
        action="store_true",
        help="also print a row for each worker: its state, CPU, memory, accepted connections and heartbeat",
    )


def _add_check(add_parser: Callable[..., Parser]) -> None:
    check = _add_command(add_parser, "check", "run the check and print what it submits, like `agent check`", _CHECK)
    _add_instances(check)
    _add_rounds(check, check_rate=True)
    _add_json(check)


def _add_servers(add_parser: Callable[..., Parser]) -> None:
    servers = _add_command(add_parser, "servers", "list all Gunicorn servers on this host", _SERVERS)
    _add_json(servers)


def _add_demo(add_parser: Callable[..., Parser]) -> None:
    demo = _add_command(add_parser, "demo", "start a Gunicorn server, run the check against it, clean up", _DEMO)
    _add_rounds(demo, watch=True)


def _add_command(add_parser: Callable[..., Parser], name: str, summary: str, details: str) -> Parser:
    command = add_parser(
        name,
        help=summary,
        description=details,
        epilog="examples:\n" + "".join(line + "\n" for line in _EXAMPLES.splitlines() if f" {name}" in line),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("-v", "--verbose", action="store_true", help="print the check's log to stderr")
    command.set_defaults(command=name)
    return command


def _add_instances(parser: Parser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--confd",
        metavar="DIR",
        help=f"read the instances from DIR/{CONF_FILES[0]}, or DIR/{CONF_FILES[1]} "
        f"(default: .{os.sep}conf.d, then {AGENT_CONFD})",
    )
    group.add_argument(
        "--proc-name",
        metavar="NAME",
        action="append",
        help="check the server with this name, as listed by the command `servers`; repeatable",
    )


def _add_rounds(parser: Parser, *, check_rate: bool = False, watch: bool = False) -> None:
    group = parser.add_mutually_exclusive_group()
    if check_rate:
        group.add_argument(
            "--check-rate", action="store_true", help="run twice, a second apart, and print the second run"
        )
    if watch:
        group.add_argument(
            "--watch",
            metavar="SECONDS",
            nargs="?",
            type=_parse_seconds,
            const=WATCH_SECONDS,
            help=f"run the check and print the page every SECONDS, until Ctrl-C (default: {WATCH_SECONDS:g})",
        )


def _add_json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, is {text!r}")
    return seconds


_STATUS = "Run the check once for each instance and print the page that `agent status collector` would print."
_CHECK = "Run the check once for each instance and print its metrics and service checks, then the status page."
_SERVERS = """\
List all Gunicorn servers on this host, with or without a process title: the name to use as `proc_name`, the number of
workers, the source of the name (title or arguments), and the pids of the masters. Needs no configuration."""
_DEMO = """\
Start a Gunicorn server with an example app on a free port of 127.0.0.1, send requests that keep its four workers busy,
run the check against it, and print the status page and the DogStatsD metrics that Gunicorn sent. Takes a few seconds
and leaves no process, socket or file behind. Needs the packages of datadog-gunicorn[demo]."""
_EXAMPLES = f"""\
examples:
  {PROGRAM} demo
  {PROGRAM} demo --watch
  {PROGRAM} servers
  {PROGRAM} status --proc-name web --proc-name api
  {PROGRAM} status --proc-name web --watch 2
  {PROGRAM} status --proc-name web --workers
  {PROGRAM} status --confd /etc/datadog-agent/conf.d --check-rate
  {PROGRAM} check --proc-name web --json
"""
_EXIT_CODES = """
exit codes:
  0  every instance ran (with --watch: in the last run)
  1  the run of an instance ended with an error
  2  wrong usage or configuration
"""
