"""The part of an object that is compared, and the mark by which the command recognizes what it made.

    asset:datadog-gunicorn/connections_queued/5f2b6a0c1d9e8f70/0a1b2c3d4e5f6071/4711

It names the asset, the digest of what was loaded, the digest of what the account stored, and the id of the object. The
account adds defaults, so changes by hand are recognized by comparison with what it stored. The id distinguishes the
object from copies that somebody made of it with its mark. Between the two requests that write an object, the mark ends
after the first digest: the stored version, and the id of a new object, are not known yet.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# A JSON object of a file or of an answer.
Document = dict[str, Any]

_PREFIX = "asset:datadog-gunicorn"
_PATTERN = re.compile(rf"{_PREFIX}/(\w+)/([0-9a-f]{{16}})(?:/([0-9a-f]{{16}})/([\w-]+))?(?![\w/-])")


@dataclass(frozen=True)
class Mark:
    asset: str
    loaded: str
    kept: str | None = None
    object_id: str | None = None

    def __str__(self) -> str:
        written = f"{_PREFIX}/{self.asset}/{self.loaded}"
        return written if self.kept is None else f"{written}/{self.kept}/{self.object_id}"


def find_mark(text: str) -> Mark | None:
    """Find the mark in a text; return None if there is none, or if it was damaged."""
    found = _PATTERN.search(text)
    return Mark(*found.groups()) if found else None


def add_to_text(text: str, mark: Mark) -> str:
    return f"{text}\n\n{mark}".lstrip()


def remove_from_text(text: str) -> str:
    return _PATTERN.sub("", text).rstrip()


def essence(document: Mapping[str, Any], fields: Iterable[str]) -> Document:
    """Return these fields of a document without what an account adds to them: ids and empty fields."""
    return {field: _stripped(document[field]) for field in fields if not _is_empty(document.get(field))}


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(each) for key, each in value.items() if key != "id" and not _is_empty(each)}
    if isinstance(value, list):
        return [_stripped(each) for each in value]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def digest(document: Document) -> str:
    """Return 16 hexadecimal digits that change with the document, but not with the order of its keys."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def contains(found: Any, wanted: Any) -> bool:
    """Whether everything wanted was found; the account may have added defaults to it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and contains(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(contains(each, value) for each, value in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
