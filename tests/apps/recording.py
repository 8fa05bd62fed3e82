"""Applications that record when each of their requests ran: WSGI `app`, ASGI `asgi_app`.

/spend?MS uses MS milliseconds of CPU, /wait?S waits for I/O for S seconds. Each worker appends to a file
in the directory $RECORDS, named by its pid.
"""

import asyncio
import contextlib
import functools
import os
import socket
import struct
import time

# Start and end by CLOCK_MONOTONIC, and the CPU seconds that the process had used at the start.
RECORD = struct.Struct("=ddd")


@functools.cache
def file_of(pid):
    return os.open(f"{os.environ['RECORDS']}/{pid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def record(start, cpu):
    os.write(file_of(os.getpid()), RECORD.pack(start, time.monotonic(), cpu))


def spend(milliseconds):
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def wait(seconds):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            ours.recv(1)


def app(environ, start_response):
    start, cpu = time.monotonic(), time.process_time()
    act = {"/spend": spend, "/wait": wait}[environ["PATH_INFO"]]
    act(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "2")])
    record(start, cpu)
    return [b"ok"]


async def asgi_app(scope, receive, send):
    if scope["type"] != "http":
        return
    start, cpu = time.monotonic(), time.process_time()
    amount = float(scope["query_string"])
    if scope["path"] == "/wait":
        await asyncio.sleep(amount)
    else:
        spend(amount)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
    record(start, cpu)
