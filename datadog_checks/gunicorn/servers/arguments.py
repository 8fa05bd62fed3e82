"""Gunicorn's own arguments: the name, the application and the addresses in them. Pure."""

import argparse
import contextlib
import functools
from typing import NamedTuple, NoReturn

# The name of a server whose arguments hold neither a name nor an application.
DEFAULT_NAME = "gunicorn"

# The options of Gunicorn 19.9 to 27.0, with a value and without: first those of 20.1.0, then the later ones.
_VALUED = """
    --access-logfile --access-logformat --backlog -b/--bind --ca-certs --cert-reqs --certfile --chdir --ciphers
    -c/--config --dogstatsd-tags -e/--env --error-logfile --forwarded-allow-ips --graceful-timeout -g/--group
    --keep-alive --keyfile --limit-request-field_size --limit-request-fields --limit-request-line --log-config
    --log-config-dict --log-file --log-level --log-syslog-facility --log-syslog-prefix --log-syslog-to --logger-class
    --max-requests --max-requests-jitter -n/--name --paste --paste-global --paster -p/--pid --proxy-allow-from
    --pythonpath --reload-engine --reload-extra-file --ssl-version --statsd-host --statsd-prefix --threads -t/--timeout
    -m/--umask -u/--user -k/--worker-class --worker-connections --worker-tmp-dir -w/--workers
"""
_FLAGS = """
    --capture-output --check-config -D/--daemon --disable-redirect-access-to-syslog --do-handshake-on-connect
    -R/--enable-stdio-inheritance --initgroups --log-syslog --no-sendfile --preload --print-config --reload --reuse-port
    --spew --strip-header-spaces --suppress-ragged-eofs -v/--version -h/--help
"""
_LATER_VALUED = """
    --asgi-disconnect-grace-period --asgi-lifespan --asgi-loop --control-socket --control-socket-mode --dirty-app
    --dirty-graceful-timeout --dirty-threads --dirty-timeout --dirty-workers --forwarder-headers --header-map
    --http-parser --http-protocols --http2-cleartext --http2-initial-window-size --http2-max-concurrent-streams
    --http2-max-frame-size --http2-max-header-list-size --log-config-json --protocol --root-path --uwsgi-allow-from
    --websocket-max-message-size
"""
_LATER_FLAGS = """
    --casefold-http-method --enable-backlog-metric --no-control-socket --permit-obsolete-folding
    --permit-unconventional-http-method --permit-unconventional-http-version --tolerate-dangerous-framing
"""
# The values that --proxy-protocol accepts since 25.0; until 24.1 it was a flag.
_PROXY_PROTOCOL = frozenset(["off", "false", "v1", "v2", "auto", "true"])


class _UnusableError(Exception):
    """Gunicorn would reject these arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UnusableError(message)


@functools.cache
def _parser(*, later: bool) -> _Parser:
    # Gunicorn uses argparse as well, so abbreviations and separators are parsed in the same way.
    parser = _Parser(add_help=False)
    for options in [*_VALUED.split(), *(_LATER_VALUED.split() if later else [])]:
        parser.add_argument(*options.split("/"), action="append")
    for options in [*_FLAGS.split(), *(_LATER_FLAGS.split() if later else [])]:
        parser.add_argument(*options.split("/"), action="store_true")
    if later:
        parser.add_argument("--proxy-protocol", nargs="?")
    else:
        parser.add_argument("--proxy-protocol", action="store_const", const="")
    parser.add_argument("application", nargs="*")
    return parser


# The same arguments are parsed on every look, so the results are cached, except for long ones: these may be megabytes.
_CACHED_CHARACTERS = 4096
# Any user can start a process with thousands of arguments.
_MAX_ARGUMENTS = 1000


def _parse(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    arguments = arguments[:_MAX_ARGUMENTS]
    is_short = sum(map(len, arguments)) + len(arguments) <= _CACHED_CHARACTERS
    return _parse_cached(arguments) if is_short else _parse_uncached(arguments)


def _parse_uncached(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    # An abbreviation may be ambiguous in later releases only (`--con`).
    for later in (True, False):
        with contextlib.suppress(_UnusableError):
            return _parser(later=later).parse_known_args(arguments)[0]
    return None


_parse_cached = functools.lru_cache(maxsize=128)(_parse_uncached)


class Arguments(NamedTuple):
    """The arguments of a server.

    `name` is the value of `--name` if `is_named`, otherwise the application argument. `paste` is the path given with
    `--paste`, which is then the name: Gunicorn makes it absolute. `binds` holds the addresses as they were given;
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
    others = [*([paste] if paste else applications), DEFAULT_NAME]
    return Arguments(
        name=name or next(other.strip() for other in others if other.strip()),
        is_named=bool(name),
        paste=None if name else paste,
        binds=tuple(given.bind or ()),
        is_daemon=given.daemon,
    )
