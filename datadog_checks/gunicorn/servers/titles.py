"""Process titles: roles and names. Pure."""

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """The role of a process in its server, as its title names it."""

    MASTER = "master"
    WORKER = "worker"
    DIRTY_ARBITER = "dirty-arbiter"
    DIRTY_WORKER = "dirty-worker"


class Title(NamedTuple):
    """A title that Gunicorn gave a process.

    `name` is the application's. It is None if the title has none (a dirty arbiter) or was truncated.
    """

    role: Role
    name: str | None


_MARK = "gunicorn: "
# Airflow's prefix for workers that have loaded the application.
_READY = "[ready] "
_UPGRADED = ".2"
_ROLES = {role.value: role for role in Role}


def parse_title(cmdline: tuple[str, ...]) -> Title | None:
    """Parse the title in a command line; None if it is not one of Gunicorn's.

    >>> parse_title(("gunicorn: master [web]", "", ""))
    Title(role=<Role.MASTER: 'master'>, name='web')

    psutil splits a title at its blanks if it fills the memory of the original arguments. A title longer than arguments
    and environment together is truncated and lacks the closing bracket (measured with setproctitle 1.1.10 to 1.3.8).
    """
    text = " ".join(cmdline).rstrip(" ")
    if not text.startswith((_MARK, f"{_READY}{_MARK}{Role.WORKER}")):
        return None
    role, _, rest = text.removeprefix(_READY).removeprefix(_MARK).partition(" [")
    if role not in _ROLES:
        return None
    return Title(_ROLES[role], rest[:-1] if rest.endswith("]") else None)


def is_upgraded(name: str) -> bool:
    """Whether a name may be that of a new master by USR2."""
    return name.endswith(_UPGRADED)


def upgraded(name: str) -> str:
    """Return the name of a new master by USR2 while its parent is running.

    Gunicorn always appends ".2" (`Arbiter.start`, releases 19.9 to 27.0), also to a name that ends in ".2".
    """
    return f"{name}{_UPGRADED}"
