"""The mark by which the command recognizes what it made.

    asset:datadog-gunicorn/connections_queued/5f2b6a0c1d9e8f70/0a1b2c3d4e5f6071/4711

It names the asset, the digest of what was loaded, the digest of what the account had made of that, and the id of the
object. The account adds defaults, so its version is what a change by hand is recognized by. The id tells a copy, which
somebody made of the object with the mark in it, from the object itself. Between the two requests that write an object
the mark ends after the first digest: neither the account's version nor, for a new object, its id is known before.
"""

import re
from dataclasses import dataclass

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
    """Find the mark in a text; None if there is none, or if it was damaged."""
    found = _PATTERN.search(text)
    return Mark(*found.groups()) if found else None


def add_to_text(text: str, mark: Mark) -> str:
    return f"{text}\n\n{mark}".lstrip()


def remove_from_text(text: str) -> str:
    return _PATTERN.sub("", text).rstrip()
