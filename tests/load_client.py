"""A client in a process of its own: `load_client.py PORT PATH RATE SECONDS` sends requests to 127.0.0.1, then exits.

RATE is in requests per second, evenly spread with jitter; 0 sends requests back to back, one at a time.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def load(port: int, path: str, rate: float, seconds: float) -> Iterator[None]:
    """Send requests for at most `seconds`; fail if they end before the block."""
    command = [sys.executable, __file__, str(port), path, str(rate), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as client:
        try:
            yield
            assert client.poll() is None, "the load ended early"
        finally:
            client.kill()


async def request(port: int, path: str) -> None:
    """Send one request on a new connection and read the response; ignore errors if the worker exits."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            await reader.read()


async def send_back_to_back(port: int, path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await request(port, path)


async def send_at(rate: float, port: int, path: str, seconds: float) -> None:
    start = time.monotonic()
    async with asyncio.TaskGroup() as requests:
        for number in range(int(rate * seconds)):
            due = start + (number + random.random()) / rate
            await asyncio.sleep(due - time.monotonic())
            requests.create_task(request(port, path))


async def main(port: int, path: str, rate: float, seconds: float) -> None:
    sending = send_at(rate, port, path, seconds) if rate else send_back_to_back(port, path, seconds)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(sending, seconds + 5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
