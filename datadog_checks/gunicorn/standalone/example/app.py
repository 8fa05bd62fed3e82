"""The example application. `/` answers at once, `/burn` uses CPU until its client hangs up, `/error` raises."""

import select
from collections.abc import Callable, Iterable, Iterator
from typing import Any

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/error":
        raise RuntimeError("the example app was asked for an error")
    start_response("200 OK" if path in {"/", "/burn"} else "404 Not Found", [("Content-Type", "text/plain")])
    return _burn(environ["gunicorn.socket"]) if path == "/burn" else [b"hello\n"]


def _burn(client: Any) -> Iterator[bytes]:
    yield b"burning\n"
    # The client sends nothing more: its socket becomes readable when it is shut down, also by the client's end.
    while not select.select([client], [], [], 0)[0]:
        sum(range(10_000))
    yield b"done\n"
