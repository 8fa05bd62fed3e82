"""Gunicorn's command lines, for processes without a title, and the names and addresses in them. Pure."""

import argparse
import contextlib
import functools
import os.path
import re
from typing import NamedTuple, NoReturn

# The name of a server whose arguments hold neither a name nor an application.
DEFAULT_NAME = "gunicorn"

_MODULES = frozenset(["gunicorn", "gunicorn.__main__", "gunicorn.app.wsgiapp"])
# After USR2, a server that was started with `-m` runs the file of the module.
_FILES = ("/gunicorn/__main__.py", "/gunicorn/app/wsgiapp.py")
# Also gunicorn3, gunicorn-3 and gunicorn-3.13 (distributions), .gunicorn-wrapped (Nix) and gunicorn.pex (pex).
_SCRIPT = re.compile(r"\.?gunicorn(-?\d[\d.]*)?(-wrapped)?(\.(py|pex|pyz))?")
# Self-contained applications, built by pex and shiv.
_ARCHIVES = (".pex", ".pyz")
_INTERPRETERS = ("python", "pypy")
# Programs that run another program in their own process, after their own options.
_RUNNERS = frozenset(
    [
        *("cProfile", "coverage", "debugpy", "memray", "pdb", "profile", "pyinstrument", "scalene", "trace"),
        "viztracer",
    ]
)

# How much of a command line is searched for a mention: arguments, and characters of each.
_MENTION_ARGUMENTS, _MENTION_CHARACTERS = 16, 512
# Shells, and programs that run another one by its name.
_WRAPPERS = frozenset(
    [
        *("ash", "bash", "conda", "dash", "env", "fish", "ksh", "nice", "nohup", "pdm", "pipenv", "poetry", "sh"),
        *("timeout", "uv", "zsh"),
    ]
)

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


class Command(NamedTuple):
    """Gunicorn's arguments in a command line. Not `certain` if the script may be any application (`web.pyz`)."""

    arguments: tuple[str, ...]
    certain: bool


def find_command(cmdline: tuple[str, ...]) -> Command | None:
    """Find Gunicorn in the command line of a Python process; None if it runs something else.

    Other programs are skipped, because shells and wrappers have the same arguments. Only Gunicorn's own arguments are
    returned: USR2 execs the interpreter by its absolute path and without its options (seen with 20.1 to 27.0).

    >>> find_command(("python3", "-u", "-X", "dev", "/venv/bin/gunicorn", "app:app"))
    Command(arguments=('app:app',), certain=True)
    """
    if not is_python(cmdline):
        return None
    script = _find_script(cmdline)
    if script is None:
        return None
    rest = cmdline[script.position + 1 :]
    if script.name in _RUNNERS:
        return _find_in_runner(rest)
    if script.is_module:
        return Command(rest, certain=True) if script.name in _MODULES else None
    if _SCRIPT.fullmatch(os.path.basename(script.name)) or script.name.endswith(_FILES):
        return Command(rest, certain=True)
    return Command(rest, certain=False) if script.name.endswith(_ARCHIVES) else None


def is_python(cmdline: tuple[str, ...]) -> bool:
    """Whether the program is a Python interpreter, by its name: python3.13, pypy3, Python."""
    return bool(cmdline) and os.path.basename(cmdline[0]).lower().startswith(_INTERPRETERS)


def find_script(cmdline: tuple[str, ...]) -> str | None:
    """Find the script or module that a Python interpreter runs; None for the prompt and for code (`-c`).

    >>> find_script(("python", "/srv/serve.py", "--port", "80"))
    '/srv/serve.py'
    """
    script = _find_script(cmdline) if is_python(cmdline) else None
    return script and script.name


def find_mention(cmdline: tuple[str, ...]) -> str | None:
    """Find Gunicorn's script in a command line that runs something else; None if it has none.

    A script counts if it is given by its path or, after a shell or a wrapper, by its name. Only the program and the
    script are returned, because other arguments may hold secrets.

    >>> find_mention(("sh", "-c", "exec gunicorn app:app")), find_mention(("tail", "-f", "gunicorn.log"))
    ('sh ... gunicorn', None)
    """
    program = os.path.basename(cmdline[0]) if cmdline else ""
    words = (word for argument in cmdline[1:_MENTION_ARGUMENTS] for word in argument[:_MENTION_CHARACTERS].split())
    scripts = (word for word in words if _SCRIPT.fullmatch(os.path.basename(word)))
    script = next((word for word in scripts if "/" in word or program in _WRAPPERS), None)
    return script and f"{cmdline[0]} ... {script}"


class _Script(NamedTuple):
    name: str
    is_module: bool
    position: int


def _find_script(cmdline: tuple[str, ...]) -> _Script | None:
    arguments = enumerate(cmdline)
    next(arguments)
    for position, argument in arguments:
        if not argument.startswith("-"):
            return _Script(argument, is_module=False, position=position)
        option = _classify_python_option(argument)
        if option == "m":
            attached = argument[argument.index("m") + 1 :]
            position, name = (position, attached) if attached else next(arguments, (position, ""))  # noqa: PLW2901
            return _Script(name, is_module=True, position=position)
        if option == "c":
            return None
        if option == "value":
            next(arguments, None)
    return None


def _classify_python_option(option: str) -> str:
    """Classify an option of Python by what follows it: "m" (a module), "c" (code), "value" (of the option) or ""."""
    if option.startswith("--"):
        return "value" if option == "--check-hash-based-pycs" else ""
    for end, letter in enumerate(option[1:], 2):
        if letter in "WX":
            return "" if option[end:] else "value"
        if letter in "mc":
            return letter
    return ""


def _find_in_runner(arguments: tuple[str, ...]) -> Command | None:
    """Find Gunicorn in the arguments of a program that runs another one in its own process."""
    previous = ""
    for end, argument in enumerate(arguments, 1):
        if previous == "-m":
            return Command(arguments[end:], certain=True) if argument in _MODULES else None
        if _SCRIPT.fullmatch(os.path.basename(argument)):
            return Command(arguments[end:], certain=True)
        previous = argument
    return None
