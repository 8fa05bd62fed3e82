"""Which results a run submits together: those of servers with equal tags. Pure."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .pool.results import Application, Pool, drop_unclear_connections, merge_pools

Tags = tuple[str, ...]


def group_applications(
    applications: Iterable[Application], format_tag: Callable[[str], str]
) -> dict[str, list[Application]]:
    """Group applications by tag: long names may become equal as tags."""
    by_tag: dict[str, list[Application]] = {}
    for application in applications:
        by_tag.setdefault(format_tag(application.name), []).append(application)
    return by_tag


def group_pools(
    by_tag: Mapping[str, Iterable[Application]], own: Sequence[str], find_tags: Callable[[str | None], Iterable[str]]
) -> Iterator[tuple[Tags, Pool]]:
    """Add up the results of all servers of an application whose containers have equal tags.

    `own` are the tags of the instance; `find_tags` returns those of a container, whose duplicates are dropped. Yields
    the results, each with all its tags, that of the application first.
    """
    groups: dict[Tags, list[Pool]] = {}
    for tag, same in by_tag.items():
        common = (tag, *own)
        for container, pool in itertools.chain.from_iterable(application.pools for application in same):
            further = (other for other in find_tags(container) if other not in common)
            groups.setdefault((*common, *further), []).append(pool)
    yield from zip(groups, map(merge_pools, drop_unclear_connections(list(groups.values()))), strict=True)
