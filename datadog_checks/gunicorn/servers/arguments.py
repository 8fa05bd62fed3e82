"""Gunicorn's own arguments: the name, the application and the addresses in them. Pure."""

import argparse
import functools
import os.path
from typing import NamedTuple, NoReturn

# The name of a server whose arguments hold neither a name nor an application.
DEFAULT_NAME = "gunicorn"

# Options with a value, and flags: those of Gunicorn 20.1, and what each later release until 27.0 added.
_OPTIONS = (
    (
        """
        --access-logfile --access-logformat --backlog -b/--bind --ca-certs --cert-reqs --certfile --chdir --ciphers
        -c/--config --dogstatsd-tags -e/--env --error-logfile --forwarded-allow-ips --graceful-timeout -g/--group
        --keep-alive --keyfile --limit-request-field_size --limit-request-fields --limit-request-line --log-config
        --log-file --log-level --log-syslog-facility --log-syslog-prefix --log-syslog-to --logger-class --max-requests
        --max-requests-jitter -n/--name --paste --paste-global --paster -p/--pid --proxy-allow-from --pythonpath
        --reload-engine --reload-extra-file --ssl-version --statsd-host --statsd-prefix --threads -t/--timeout
        -m/--umask -u/--user -k/--worker-class --worker-connections --worker-tmp-dir -w/--workers
        """,
        """
        --capture-output --check-config -D/--daemon --disable-redirect-access-to-syslog --do-handshake-on-connect
        -R/--enable-stdio-inheritance --initgroups --log-syslog --no-sendfile --preload --print-config --reload
        --reuse-port --spew --strip-header-spaces --suppress-ragged-eofs -v/--version -h/--help
        """,
    ),
    # 22.0
    (
        "--header-map --log-config-json",
        "--casefold-http-method --permit-unconventional-http-method --permit-unconventional-http-version",
    ),
    # 23.0
    ("--forwarder-headers", "--permit-obsolete-folding"),
    # 24.0
    ("--asgi-lifespan --asgi-loop --protocol --root-path --uwsgi-allow-from", "--enable-backlog-metric"),
    # 25.0
    (
        """
        --asgi-disconnect-grace-period --dirty-app --dirty-graceful-timeout --dirty-threads --dirty-timeout
        --dirty-workers --http-protocols --http2-initial-window-size --http2-max-concurrent-streams
        --http2-max-frame-size --http2-max-header-list-size
        """,
        "",
    ),
    # 25.1
    ("--control-socket --control-socket-mode", "--no-control-socket"),
    # 25.2 to 27.0
    ("--http-parser --http2-cleartext --websocket-max-message-size", ""),
    # Only in releases before 20.1, and only in 22.0.
    ("--log-config-dict", "--tolerate-dangerous-framing"),
)
# Since 24.1, --proxy-protocol accepts one of these values; before, it was a flag.
_PROXY_PROTOCOL = frozenset(["off", "false", "v1", "v2", "auto", "true"])


class _UnusableError(Exception):
    """Gunicorn would reject these arguments."""


class _Parser(argparse.ArgumentParser):
    """A parser for the options of every release. Gunicorn uses argparse as well, so separators are parsed alike."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        # How late an option was added.
        self._ranks: dict[argparse.Action, int] = {}
        for rank, (valued, flags) in enumerate(_OPTIONS):
            for options in valued.split():
                self._ranks[self.add_argument(*options.split("/"), action="append")] = rank
            for options in flags.split():
                self._ranks[self.add_argument(*options.split("/"), action="store_true")] = rank
        self._ranks[self.add_argument("--proxy-protocol", nargs="?")] = 0
        self.add_argument("application", nargs="*")

    def _get_option_tuples(self, option_string: str) -> list[tuple[argparse.Action, str, str | None]]:
        # The options that an abbreviation stands for. The oldest one wins: where a later release finds the abbreviation
        # ambiguous (`--con` since 25.1), the server that runs is of an earlier release.
        found = super()._get_option_tuples(option_string)
        oldest = min((self._ranks[action] for action, *_ in found), default=0)
        return [option for option in found if self._ranks[option[0]] == oldest]

    def error(self, message: str) -> NoReturn:
        raise _UnusableError(message)


_parser = functools.cache(_Parser)

# The same arguments are parsed on every look, so the results are cached, except for long ones: these may be megabytes.
_CACHED_CHARACTERS = 4096
# Any user can start a process with thousands of arguments.
_MAX_ARGUMENTS = 1000


def _parse(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    arguments = arguments[:_MAX_ARGUMENTS]
    is_short = sum(map(len, arguments)) + len(arguments) <= _CACHED_CHARACTERS
    return _parse_cached(arguments) if is_short else _parse_uncached(arguments)


def _parse_uncached(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    try:
        return _parser().parse_known_args(arguments)[0]
    except _UnusableError:
        return None


_parse_cached = functools.lru_cache(maxsize=128)(_parse_uncached)


class Arguments(NamedTuple):
    """The arguments of a server.

    `name` is the value of `--name` if `is_named`, otherwise the application argument. `paste` is the path given with
    `--paste`, which is then the name: Gunicorn makes it absolute. It does so before it changes to the directory of
    `--chdir`, so with that a relative path cannot be resolved from outside: `paste` is None and `name` is the path as
    given. `binds` holds the addresses as they were given;
    `is_daemon` is true for -D.
    """

    name: str
    is_named: bool
    paste: str | None
    binds: tuple[str, ...]
    is_daemon: bool


def parse_arguments(arguments: tuple[str, ...]) -> Arguments | None:
    """Parse the arguments of a server; None if Gunicorn would reject them.

    >>> parse_arguments(("-w", "2", "--name=web", "app:app")).name
    'web'

    Settings in a configuration file or in the environment are not visible here.
    """
    given = _parse(arguments)
    if given is None:
        return None
    applications = list(given.application)
    if given.proxy_protocol and given.proxy_protocol.lower() not in _PROXY_PROTOCOL:
        applications.insert(0, given.proxy_protocol)
    name = (given.name or [""])[-1].strip()
    paste = (given.paste or given.paster or [""])[-1].partition("#")[0] or None
    is_resolvable = paste is not None and (os.path.isabs(paste) or not given.chdir)
    others = [*([paste] if paste else applications), DEFAULT_NAME]
    return Arguments(
        name=name or next(other.strip() for other in others if other.strip()),
        is_named=bool(name),
        paste=paste if is_resolvable and not name else None,
        binds=tuple(given.bind or ()),
        is_daemon=given.daemon,
    )
