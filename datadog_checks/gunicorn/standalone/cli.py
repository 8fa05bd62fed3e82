"""The command line: `python -m datadog_checks.gunicorn`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from datadog_checks.gunicorn.host.processes import ProcessTableError
from datadog_checks.gunicorn.standalone.demo import run as demo
from datadog_checks.gunicorn.standalone.pages.listing import find_servers, format_servers, format_servers_json
from datadog_checks.gunicorn.standalone.pages.status import format_check, format_json, format_status
from datadog_checks.gunicorn.standalone.pages.watch import show_pages

from .instances import Instance, UsageError, build_instances, read_instances
from .interrupts import noted_interrupts
from .parser import AGENT_CONFD, PROGRAM, WRONG_USAGE, build_parser
from .runner import run_instances, run_rounds
from .runs import Report
from .terminal import OutputError, complain, flush_output, prepare_logging, prepare_output, write

OK, FAILED = 0, 1
INTERRUPTED = 130


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
    except (OutputError, ProcessTableError) as error:
        complain(f"{PROGRAM}: error: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        flush_output()


def _run_command(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.error(f"no command given (choose from {', '.join(map(repr, _COMMANDS))})")
    except SystemExit as stop:
        # argparse has printed its message: --help, --version or wrong usage.
        if not stop.code:
            write("")
        return int(stop.code or OK)
    prepare_logging(verbose=arguments.verbose)
    return _COMMANDS[arguments.command](arguments)


def run_status(arguments: argparse.Namespace) -> int:
    """Run the instances and print the status page, once or repeatedly."""
    if arguments.watch is None:
        reports = _run(arguments, with_workers=arguments.workers)
        write(format_status(reports))
    else:
        with noted_interrupts() as interrupts:
            instances = find_instances(arguments)
            rounds = run_rounds(instances, arguments.watch, interrupts.pause, with_workers=arguments.workers)
            reports = show_pages(rounds, format_status)
    return _exit_code(reports)


def run_check(arguments: argparse.Namespace) -> int:
    """Run the instances and print what they submitted."""
    reports = _run(arguments)
    write(format_json(reports) if arguments.json else format_check(reports))
    return _exit_code(reports)


def run_servers(arguments: argparse.Namespace) -> int:
    """List the servers of this host."""
    listing = find_servers()
    write(format_servers_json(listing) if arguments.json else format_servers(listing))
    return OK


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    return demo.run_demo(arguments.watch)


_COMMANDS = {"status": run_status, "check": run_check, "servers": run_servers, "demo": run_demo}


def _run(arguments: argparse.Namespace, *, with_workers: bool = False) -> list[Report]:
    count = 2 if arguments.check_rate else 1
    return run_instances(find_instances(arguments), count=count, with_workers=with_workers)


def _exit_code(reports: Sequence[Report]) -> int:
    return FAILED if any(report.last.error for report in reports) else OK


def find_instances(arguments: argparse.Namespace) -> list[Instance]:
    """Find the instances that the arguments ask for. Raises UsageError."""
    if arguments.proc_name is not None:
        return build_instances(arguments.proc_name)
    if arguments.confd == "":
        raise UsageError("--confd: must be a directory, is empty")
    confds = [Path("conf.d"), AGENT_CONFD] if arguments.confd is None else [Path(arguments.confd)]
    return read_instances(confds)
