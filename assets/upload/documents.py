"""What the files say and what the API answers, as JSON values, and how to compare the two."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]


def essence(document: Mapping[str, Any], fields: Iterable[str]) -> Document:
    """Return those fields of a document, without what an account adds to them: ids, and fields that are empty."""
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
    """Whether all that is wanted was found, beside which an account may have added defaults."""
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
