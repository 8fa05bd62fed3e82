"""Which servers of the host an instance watches. Pure."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from datadog_checks.base.utils.discovery import Discovery as Filter

from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.text import format_tag

from .containers import Container

# How many applications an instance with `discovery` watches.
LIMIT = 100


@dataclass(frozen=True, slots=True)
class Discovery:
    """The option `discovery`: the applications whose names match a pattern of `include` and none of `exclude`.

    Patterns are searched in the names. Without an `include` all names match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int = LIMIT

    def select(self, names: Collection[str]) -> set[str]:
        """Find the matching names."""
        included = _search(self.include, names) if self.include else set(names)
        return included - _search(self.exclude, names)


def _search(patterns: Iterable[str], names: Collection[str]) -> set[str]:
    # The base package's own `exclude` joins the patterns, which breaks flags such as (?i).
    found = Filter(lambda: names, include=dict.fromkeys(patterns)).get_items()
    return {name for _, name, _, _ in found}


def parse_patterns(value: object) -> tuple[str, ...]:
    """Parse a list of regular expressions, which may be None. Raises ValueError.

    >>> parse_patterns(["^web", "(?i)shop"])
    ('^web', '(?i)shop')
    """
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of regular expressions, such as `['^web']`; not {value!r}")
    for pattern in value or ():
        if not isinstance(pattern, str):
            # pydantic reports ValueError only.
            raise ValueError(  # noqa: TRY004
                f"must be a list of regular expressions, each in quotes; not {pattern!r}"
            )
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"must be a list of regular expressions; {pattern!r} is not one: {error}") from error
    return tuple(value or ())


def format_absence(name: str) -> str:
    """Format the message when no server of a name is running."""
    return f"Found no master process with name: gunicorn: master [{name}]"


@dataclass(frozen=True, slots=True)
class Selection:
    """What an instance watches: the servers of one name, or all those in a container, or both; or by `discovery`."""

    proc_name: str | None = None
    container: Container | None = None
    discovery: Discovery | None = None

    @property
    def absence(self) -> str:
        """The message when none of them is running."""
        if self.proc_name is None and self.container:
            return f"Found no master process in container {self.container.given}"
        return format_absence(str(self.proc_name))

    def format_tag(self, name: str) -> str:
        """Format the tag of an application; names other than the configured one come from other processes."""
        return f"app:{name}" if name == self.proc_name else format_tag("app", name)

    def has(self, name: str | None, groups: Groups) -> bool:
        """Whether `proc_name` and `container` select a server; `Discovery.select` does the rest."""
        return (self.proc_name is None or name == self.proc_name) and (
            self.container is None or self.container.has(groups)
        )
