"""The application of the log tests. One worker fails to load it, and removes the file that requests the failure."""

import contextlib
import os
import time
from pathlib import Path

SPAN = "42"
STATUSES = {"/fail": "503 Service Unavailable", "/missing": "404 Not Found"}

with contextlib.suppress(FileNotFoundError):
    Path("~/broken").expanduser().unlink()
    raise RuntimeError("broken: as\n  the test wants it")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    # What comes in a header, and what an application writes, both may get into the access log.
    environ["dd.span_id"] = SPAN
    if path == "/raise":
        raise KeyError("no such page")
    if path == "/exit":
        os._exit(7)
    if path == "/abort":
        os.abort()
    if path == "/sleep":
        time.sleep(30)
    start_response(STATUSES.get(path, "200 OK"), [("Content-Length", "2")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"ok"]
