"""What to do with an asset, from what is wanted and what was found. Reads and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .documents import Document, contains, digest
from .marks import Mark


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"
    NOTHING = "unchanged"
    KEEP = "kept"


@dataclass(frozen=True)
class Found:
    """An object of the account that has our mark."""

    object_id: str
    mark: Mark
    content: Document

    def was_changed(self, wanted: Document | None) -> bool:
        """Whether somebody changed it since it was loaded; `wanted` is the asset in this version, if it has it.

        A load that was interrupted left no digest to compare with: then all that was loaded must be there.
        """
        if self.mark.kept is None:
            return wanted is None or not contains(self.content, wanted)
        return self.mark.kept != digest(self.content)


@dataclass(frozen=True)
class Step:
    action: Action
    why: str = ""


def plan_load(wanted: Document, found: Found | None, *, overwrite: bool) -> Step:
    if found is None:
        return Step(Action.CREATE)
    if found.was_changed(wanted):
        if overwrite:
            return Step(Action.UPDATE, "overwrites what was changed by hand")
        return Step(Action.KEEP, f"changed by hand since it was loaded{_list_differing(wanted, found)}")
    if found.mark.kept is None:
        return Step(Action.UPDATE, "completes an interrupted load")
    if found.mark.loaded != digest(wanted):
        return Step(Action.UPDATE)
    return Step(Action.NOTHING)


def plan_removal(wanted: Document | None, found: Found, *, overwrite: bool) -> Step:
    if found.was_changed(wanted) and not overwrite:
        return Step(Action.KEEP, "changed by hand since it was loaded")
    return Step(Action.REMOVE)


def _list_differing(wanted: Document, found: Found) -> str:
    """Name the fields that are not as loaded, among which may be some that the account itself rewrote."""
    # What an earlier version loaded is not at hand.
    if found.mark.loaded != digest(wanted):
        return ""
    fields = [field for field in wanted if not contains(found.content.get(field), wanted[field])]
    return f", and differs in: {', '.join(fields)}" if fields else ""


@dataclass(frozen=True)
class MetadataStep:
    """What to do with the metadata of a metric: fields to write, and fields that differ and are kept."""

    writes: tuple[str, ...]
    keeps: tuple[str, ...]


def plan_metadata(wanted: Mapping[str, str], found: Mapping[str, object], *, overwrite: bool) -> MetadataStep:
    """Fill what is empty. Metadata has no place for a mark, so what differs may be anyone's."""
    empty = [field for field in wanted if found.get(field) in {None, ""}]
    differing = [field for field in wanted if field not in empty and found[field] != wanted[field]]
    if overwrite:
        return MetadataStep(writes=(*empty, *differing), keeps=())
    return MetadataStep(writes=tuple(empty), keeps=tuple(differing))
