"""The command line."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from .account import SITES, UsageError, read_account
from .api import Api, RequestError
from .loader import Loader, Options
from .report import Report
from .world import World

INTERRUPTED = 130
DESCRIPTION = f"""\
Load the dashboard, the monitors, the log pipeline and the metadata of the metrics into a Datadog account.

Without --apply it shows what it would do, and changes nothing. It updates and removes only what it made itself, and
keeps what somebody has changed since.

environment variables:
  DD_API_KEY, DD_APP_KEY  the keys
  DD_SITE                 the site of the account, by default {SITES[0]}

exit codes: 0 done, or nothing to do; 1 something is not done; 2 wrong usage; 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m assets.upload", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apply", action="store_true", help="change the account (make assets APPLY=1)")
    parser.add_argument("--remove", action="store_true", help="remove what an earlier run made (REMOVE=1)")
    parser.add_argument(
        "--overwrite", action="store_true", help="also replace or remove what somebody has changed since (OVERWRITE=1)"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only this asset or metric; can be repeated (ONLY=NAME)"
    )
    parser.add_argument("--api-url", metavar="URL", help="the address to use if you have a proxy in front of the API")
    return parser


def main(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ, world: World | None = None
) -> int:
    """Run the command, and return its exit code."""
    options = build_parser().parse_args(arguments, Options())
    world = world or World()
    code = 0
    try:
        account = read_account(environment, options.api_url)
        report = Report(world.say, account.link, applies=options.apply)
        loader = Loader(Api(account, world), options, report, world)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        loader.run()
    except RequestError as failure:
        report.stop(failure)
    except KeyboardInterrupt:
        report.interrupt()
        code = INTERRUPTED
    report.summarize()
    return code or (0 if report.is_complete else 1)
