"""Applications that tests serve: WSGI `app`, ASGI `asgi_app`. /burn?S and /sleep?S keep a worker for S seconds.

`app` answers /status/404 with that status, and raises an exception if it is not a number.
"""

import asyncio
import time
from urllib.parse import unquote


def spend(path, query):
    seconds = float(unquote(query) or 0)
    if path == "/sleep":
        time.sleep(seconds)
    end = time.monotonic() + seconds
    while path == "/burn" and time.monotonic() < end:
        sum(range(10_000))


def app(environ, start_response):
    path = environ["PATH_INFO"]
    spend(path, environ["QUERY_STRING"])
    status = int(path.removeprefix("/status/")) if path.startswith("/status/") else 200
    start_response(f"{status} as asked", [("Content-Length", "2")])
    return [b"ok"]


async def asgi_app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/sleep":
        await asyncio.sleep(float(scope["query_string"]))
    else:
        spend(scope["path"], scope["query_string"].decode())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
