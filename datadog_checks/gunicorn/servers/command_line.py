"""The command lines of Python interpreters and wrappers, and where Gunicorn is in them. Pure."""

import os.path
import re
from typing import NamedTuple

_MODULES = frozenset(["gunicorn", "gunicorn.__main__", "gunicorn.app.wsgiapp"])
# After USR2, a server that was started with `-m` runs the file of the module.
_FILES = ("/gunicorn/__main__.py", "/gunicorn/app/wsgiapp.py")
# Also gunicorn3, gunicorn-3 and gunicorn-3.13 (distributions), .gunicorn-wrapped (Nix) and gunicorn.pex (pex).
_SCRIPT = re.compile(r"\.?gunicorn(-?\d[\d.]*)?(-wrapped)?(\.(py|pex|pyz))?")
# Self-contained applications, built by pex and shiv. Most files of pex run an unpacked copy of themselves (pex 2.105):
# the folder `unzipped_pexes/4/HASH` or, with --venv, the script `venvs/4/HASH/HASH/pex`.
_ARCHIVES = (".pex", ".pyz", "/pex")
_UNPACKED = "/unzipped_pexes/"
_INTERPRETERS = ("python", "pypy")
# Programs that run another program in their own process, after their own options: as a module, or as a script as well.
_RUNNER_MODULES = frozenset(["cProfile", "pdb", "profile", "trace"])
# Coverage also installs coverage3 and coverage-3.13.
_RUNNER = re.compile(r"(coverage|debugpy|memray|pyinstrument|scalene|viztracer)(-?\d[\d.]*)?")

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
    rest = cmdline[script.position + 1 :]
    if script.is_runner:
        return _find_in_runner(rest)
    if script.option:
        return Command(rest, certain=True) if script.option == "-m" and script.name in _MODULES else None
    if _SCRIPT.fullmatch(os.path.basename(script.name)) or script.name.endswith(_FILES):
        return Command(rest, certain=True)
    is_archive = script.name.endswith(_ARCHIVES) or _UNPACKED in script.name
    return Command(rest, certain=False) if is_archive else None


def is_python(cmdline: tuple[str, ...]) -> bool:
    """Whether the program is a Python interpreter, by its name: python3.13, pypy3, Python."""
    return bool(cmdline) and os.path.basename(cmdline[0]).lower().startswith(_INTERPRETERS)


def find_script(cmdline: tuple[str, ...]) -> str | None:
    """Find the script or module that a Python interpreter runs; None for other programs.

    Code may hold secrets, so only the program's name and the option are returned: `python -c` or, for standard input,
    `python -`.

    >>> find_script(("python", "/srv/serve.py", "--port", "80")), find_script(("python", "-uc", "serve()"))
    ('/srv/serve.py', 'python -c')
    """
    if not is_python(cmdline):
        return None
    script = _find_script(cmdline)
    return script.name or f"{os.path.basename(cmdline[0])} {script.option}"


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
    """What an interpreter runs: a file (no `option`), a module ("-m") or code ("-c", "-"), which has no name."""

    name: str
    option: str
    position: int

    @property
    def is_runner(self) -> bool:
        if self.option == "-m" and self.name in _RUNNER_MODULES:
            return True
        return bool(_RUNNER.fullmatch(self.name if self.option else os.path.basename(self.name)))


def _find_script(cmdline: tuple[str, ...]) -> _Script:
    arguments = enumerate(cmdline)
    next(arguments)
    for position, argument in arguments:
        if argument == "-":
            break
        if not argument.startswith("-"):
            return _Script(argument, "", position)
        option = _classify_python_option(argument)
        if option == "m":
            attached = argument[argument.index("m") + 1 :]
            position, name = (position, attached) if attached else next(arguments, (position, ""))  # noqa: PLW2901
            return _Script(name, "-m", position)
        if option == "c":
            return _Script("", "-c", position)
        if option == "value":
            next(arguments, None)
    return _Script("", "-", len(cmdline))


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
