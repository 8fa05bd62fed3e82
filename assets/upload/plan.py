"""What to do with an asset, from what is wanted and what was found. Reads and changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from .marks import Document, Mark, contains, digest

CHANGED = "changed by hand since it was loaded"
UNCLEAR = "its load was interrupted, or it was changed after that"


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"
    NOTHING = "unchanged"
    KEEP = "kept"
    # Not done: the user has to decide.
    ASK = "not done"


@dataclass(frozen=True)
class Found:
    """An object of the account that has our mark."""

    object_id: str
    mark: Mark
    # The part of it that is compared, and the whole object.
    content: Document
    document: Document

    @property
    def is_complete(self) -> bool:
        return self.mark.kept is not None


@dataclass(frozen=True)
class Step:
    action: Action
    why: str = ""


def plan_load(wanted: Document, found: Found | None, *, overwrite: bool) -> Step:
    if found is None:
        return Step(Action.CREATE)
    if not found.is_complete:
        if contains(found.content, wanted):
            return Step(Action.UPDATE, "completes an interrupted load")
        return Step(Action.UPDATE, "completes it") if overwrite else Step(Action.ASK, UNCLEAR)
    if found.mark.kept != digest(found.content):
        return Step(Action.UPDATE, "overwrites what was changed by hand") if overwrite else Step(Action.KEEP, CHANGED)
    return Step(Action.NOTHING if found.mark.loaded == digest(wanted) else Action.UPDATE)


def plan_removal(wanted: Document | None, found: Found, *, overwrite: bool) -> Step:
    """Plan the same for a removal; `wanted` is None if this version does not have the asset."""
    if overwrite:
        return Step(Action.REMOVE)
    if not found.is_complete:
        is_clear = wanted is not None and contains(found.content, wanted)
        return Step(Action.REMOVE) if is_clear else Step(Action.ASK, UNCLEAR)
    return Step(Action.REMOVE) if found.mark.kept == digest(found.content) else Step(Action.KEEP, CHANGED)


def find_ambiguous(found: Iterable[Found]) -> set[str]:
    """Name the assets that have several objects, one of which may be somebody's copy.

    A copy cannot be distinguished from the object itself while the mark has no id.
    """
    objects = defaultdict(list)
    for each in found:
        objects[each.mark.asset].append(each)
    return {name for name, group in objects.items() if len(group) > 1 and not all(each.is_complete for each in group)}


def plan_metadata(
    wanted: Mapping[str, str], found: Mapping[str, object], *, overwrite: bool
) -> tuple[list[str], list[str]]:
    """Return the fields of a metric to write, and those that differ and are kept.

    Metadata has no place for a mark, so anyone may have set a field that differs.
    """
    empty = [field for field in wanted if found.get(field) in {None, ""}]
    differing = [field for field in wanted if field not in empty and found[field] != wanted[field]]
    return (empty + differing, []) if overwrite else (empty, differing)
