"""The application of the log tests. If the file `broken` exists, loading it removes the file and fails."""

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
    # The access log may show headers of the request, and what the application adds to its environment.
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
