"""The command lines of Python interpreters and wrappers, and where Gunicorn is in them. Pure."""

import os.path
import re
from typing import NamedTuple

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
