"""The example application. `/` answers immediately, `/error` raises an exception.

Until the client shuts down its socket, `/burn` uses CPU and `/wait` sleeps, as if waiting for a database.
"""

import select
from collections.abc import Callable, Iterable, Iterator
from typing import Any

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/error":
        raise RuntimeError("the example app was asked for an error")
    start_response("200 OK" if path in _ANSWERS else "404 Not Found", [("Content-Type", "text/plain")])
    return _ANSWERS.get(path, _answer)(environ["gunicorn.socket"])


def _answer(_: Any) -> Iterable[bytes]:
    return [b"hello\n"]


def _burn(client: Any) -> Iterator[bytes]:
    yield b"begun\n"
    # The client sends nothing more, so the socket becomes readable when the client shuts it down or exits.
    while not select.select([client], [], [], 0)[0]:
        sum(range(10_000))
    yield b"done\n"


def _wait(client: Any) -> Iterator[bytes]:
    yield b"begun\n"
    select.select([client], [], [])
    yield b"done\n"


_ANSWERS = {"/": _answer, "/burn": _burn, "/wait": _wait}
