"""Command lines to roles and names: what a process says of itself in its title. Pure."""

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a process is to its server, in the words of its title."""

    MASTER = "master"
    WORKER = "worker"
    DIRTY_ARBITER = "dirty-arbiter"
    DIRTY_WORKER = "dirty-worker"


class Title(NamedTuple):
    """A title that Gunicorn gave a process.

    `name` is the application's. It is None where the title has none (a dirty arbiter), or was cut short so that
    the rest of the name is unknown.
    """

    role: Role
    name: str | None


_MARK = "gunicorn: "
# Airflow marks workers that have loaded the application.
_READY = "[ready] "
_ROLES = {role.value: role for role in Role}


def parse_title(cmdline: tuple[str, ...]) -> Title | None:
    """Read the title in a command line as psutil gives it; None where it is not one of Gunicorn's.

    >>> parse_title(("gunicorn: master [web]", "", ""))
    Title(role=<Role.MASTER: 'master'>, name='web')

    psutil splits a title at its blanks when it fills the whole of the old argv area, as it does where the name
    stands in a configuration file only. Where argv and environment together are too small it has no closing
    bracket. Both were measured with setproctitle 1.1.10 to 1.3.8.
    """
    text = " ".join(cmdline).rstrip(" ")
    if not text.startswith((_MARK, f"{_READY}{_MARK}{Role.WORKER}")):
        return None
    word, _, rest = text.removeprefix(_READY).removeprefix(_MARK).partition(" [")
    if word not in _ROLES:
        return None
    return Title(_ROLES[word], rest[:-1] if rest.endswith("]") else None)


def upgraded(name: str) -> str:
    """Give the name that a master born by USR2 has until its parent is gone.

    Gunicorn appends ".2" (`Arbiter.start`, every release from 19.9 to 27.0), whatever the name ends in.
    """
    return f"{name}.2"
