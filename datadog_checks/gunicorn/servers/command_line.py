"""Command lines without a title: whether it is Gunicorn, and the name and addresses its arguments give it. Pure."""

import argparse
import contextlib
import functools
import os.path
from collections.abc import Iterator
from typing import NoReturn

from datadog_checks.gunicorn.sockets.addresses import Address, parse_bind

# What a server is called when neither a name nor an application is among its arguments.
DEFAULT_NAME = "gunicorn"

_MODULES = frozenset(["gunicorn", "gunicorn.app.wsgiapp"])
# USR2 execs the file that a module came from.
_FILES = ("/gunicorn/__main__.py", "/gunicorn/app/wsgiapp.py")

# Gunicorn's options in its releases 19.9 to 27.0: those that take a value, and those that do not.
_VALUED = """
    --access-logfile --access-logformat --asgi-disconnect-grace-period --asgi-lifespan --asgi-loop --backlog -b/--bind
    --ca-certs --cert-reqs --certfile --chdir --ciphers -c/--config --control-socket --control-socket-mode --dirty-app
    --dirty-graceful-timeout --dirty-threads --dirty-timeout --dirty-workers --dogstatsd-tags -e/--env --error-logfile
    --forwarded-allow-ips --forwarder-headers --graceful-timeout -g/--group --header-map --http-parser --http-protocols
    --http2-cleartext --http2-initial-window-size --http2-max-concurrent-streams --http2-max-frame-size
    --http2-max-header-list-size --keep-alive --keyfile --limit-request-field_size --limit-request-fields
    --limit-request-line --log-config --log-config-dict --log-config-json --log-file --log-level --log-syslog-facility
    --log-syslog-prefix --log-syslog-to --logger-class --max-requests --max-requests-jitter -n/--name --paste
    --paste-global --paster -p/--pid --protocol --proxy-allow-from --pythonpath --reload-engine --reload-extra-file
    --root-path --ssl-version --statsd-host --statsd-prefix --threads -t/--timeout -m/--umask -u/--user
    --uwsgi-allow-from --websocket-max-message-size -k/--worker-class --worker-connections --worker-tmp-dir -w/--workers
"""
_FLAGS = """
    --capture-output --casefold-http-method --check-config -D/--daemon --disable-redirect-access-to-syslog
    --do-handshake-on-connect --enable-backlog-metric -R/--enable-stdio-inheritance --initgroups --log-syslog
    --no-control-socket --no-sendfile --permit-obsolete-folding --permit-unconventional-http-method
    --permit-unconventional-http-version --preload --print-config --reload --reuse-port --spew --strip-header-spaces
    --suppress-ragged-eofs --tolerate-dangerous-framing -v/--version -h/--help
"""
# A flag until 24.1; since 25.0 it may have one of these values.
_PROXY_PROTOCOL = frozenset(["off", "false", "v1", "v2", "auto", "true"])


class _UnusableError(Exception):
    """Gunicorn would have refused these arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UnusableError(message)


@functools.cache
def _parser() -> _Parser:
    # Gunicorn's own parser is one of argparse's, so this one abbreviates and separates as it does.
    parser = _Parser(add_help=False)
    for options in _VALUED.split():
        parser.add_argument(*options.split("/"), action="append")
    for options in _FLAGS.split():
        parser.add_argument(*options.split("/"), action="store_true")
    parser.add_argument("--proxy-protocol", nargs="?")
    parser.add_argument("application", nargs="*")
    return parser


# The same arguments are parsed on every look. Those of a stranger may be a megabyte: they are not kept.
_KEPT_CHARACTERS = 4096


def _parse(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    short = sum(map(len, arguments)) + len(arguments) <= _KEPT_CHARACTERS
    return _parse_and_keep(arguments) if short else _parse_anew(arguments)


def _parse_anew(arguments: tuple[str, ...]) -> argparse.Namespace | None:
    try:
        return _parser().parse_known_args(arguments)[0]
    except _UnusableError:
        return None


_parse_and_keep = functools.lru_cache(maxsize=128)(_parse_anew)


def parse_arguments(arguments: tuple[str, ...]) -> str | None:
    """Tell the name of the server that was started with these arguments; None where Gunicorn refuses them.

    >>> parse_arguments(("-w", "2", "--name=web", "app:app"))
    'web'

    A name in a configuration file or in the environment is not to be seen here: then it is the application's.
    """
    given = _parse(arguments)
    if given is None:
        return None
    applications = list(given.application)
    if given.proxy_protocol and given.proxy_protocol.lower() not in _PROXY_PROTOCOL:
        applications.insert(0, given.proxy_protocol)
    names: list[str] = [*(given.name or [])[-1:], *applications, DEFAULT_NAME]
    return next(name.strip() for name in names if name.strip())


def has_name(arguments: tuple[str, ...]) -> bool:
    """Whether the arguments give the server a name; otherwise its name is that of its application.

    >>> has_name(("-n", "web", "app:app")), has_name(("-w", "2", "app:app"))
    (True, False)
    """
    given = _parse(arguments)
    return bool(given and given.name and given.name[-1].strip())


def parse_binds(arguments: tuple[str, ...]) -> tuple[Address, ...]:
    """Tell the addresses that the server listens on which was started with these arguments, as far as they tell.

    >>> [str(address) for address in parse_binds(("-b", ":8000", "--bind=fd://3", "app:app"))]
    ['0.0.0.0:8000']
    """
    given = _parse(arguments)
    addresses = []
    for text in (given.bind if given else None) or ():
        with contextlib.suppress(ValueError):
            addresses.append(parse_bind(text))
    return tuple(addresses)


def find_arguments(cmdline: tuple[str, ...]) -> tuple[str, ...] | None:
    """Give the arguments of Gunicorn in a command line of Python; None where something else runs.

    A shell or a wrapper has the same words behind a program of its own. What stands before the arguments is another
    after USR2, which execs the interpreter by its whole path and without its options (seen with 20.1 to 27.0).

    >>> find_arguments(("python3", "-u", "-X", "dev", "/venv/bin/gunicorn", "app:app"))
    ('app:app',)
    """
    program, *words = cmdline or ("",)
    if not os.path.basename(program).lower().startswith("python"):
        return None
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return tuple(rest) if os.path.basename(word) == "gunicorn" or word.endswith(_FILES) else None
        module = _read_python_option(word, rest)
        if module is not None:
            return tuple(rest) if module in _MODULES else None
    return None


def _read_python_option(word: str, rest: Iterator[str]) -> str | None:
    """Step over an option of Python and its value; where it ends Python's options, give the module it names or ""."""
    if word.startswith("--"):
        if word == "--check-hash-based-pycs":
            next(rest, None)
        return None
    for place, letter in enumerate(word[1:], 2):
        if letter in "WX":
            _ = word[place:] or next(rest, None)
            return None
        if letter == "m":
            return word[place:] or next(rest, "")
        if letter == "c":
            return ""
    return None
