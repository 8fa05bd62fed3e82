"""The life of a server that writes every kind of log line that the pipeline parses."""

import base64
import contextlib
import os
import re
import signal
import socket
from pathlib import Path

from tests.gunicorn_server import GUNICORN_VERSION, Server, is_alive, wait_until

REFERER = 'https://shop.example/?q="cart" "full"'
USER_AGENT = 'caf\u00e9 "\u2615" \\'
TRACE = "1234567890123456789"
BASIC = base64.b64encode(b"ada lovelace:secret").decode()
LOGS_EXIT_CODES = int(GUNICORN_VERSION.split(".")[0]) > 20


def write_all_logs(server: Server, unix: Path) -> int:
    """Send requests and signals, kill a worker, upgrade the server and make it fail. Return the killed worker."""
    address = ("127.0.0.1", server.port)
    with open_request(address, "GET /sleep HTTP/1.1"):
        # The other worker answers these.
        request_all(server, unix)
        server.signal(signal.SIGTTIN)
        server.await_workers(3)
        wait_until(lambda: "WORKER TIMEOUT" in server.log, "a timeout", server.explain)
    victim = server.workers()[-1]
    os.kill(victim, signal.SIGKILL)
    await_log(server, f"(pid:{victim}) was sent SIGKILL" if LOGS_EXIT_CODES else f"with pid {victim} was terminated")
    request(address, "GET /exit HTTP/1.1")
    server.signal(signal.SIGTTOU)
    await_log(server, "Handling signal: ttou")
    if LOGS_EXIT_CODES:
        await_log(server, "exited with code 7")
    server.signal(signal.SIGHUP)
    await_log(server, "Hang up")
    server.signal(signal.SIGUSR2)
    wait_until(lambda: len(server.masters()) == 2, "the upgraded master", server.explain)
    server.signal(signal.SIGTERM)
    await_log(server, "Master has been promoted")
    (server.folder / "broken").touch()
    promoted = server.masters()[1]
    server.signal(signal.SIGHUP, promoted)
    wait_until(lambda: not is_alive(promoted), "the end of the server that cannot load its application", server.explain)
    return victim


def request_all(server: Server, unix: Path) -> None:
    tcp = ("127.0.0.1", server.port)
    client = f"Referer: {REFERER}", f"User-Agent: {USER_AGENT}"
    headers = *client, "X-Forwarded-For: 192.0.2.7", f"X-Datadog-Trace-Id: {TRACE}"
    request(tcp, "GET /tcp?page=2 HTTP/1.1", *headers, f"Authorization: Basic {BASIC}")
    request(str(unix), "GET /unix HTTP/1.0", *headers)
    for port in re.findall(r"http://\[::1\]:(\d+)", server.log)[:1]:
        request(("::1", int(port)), "GET /ipv6 HTTP/1.1", *headers)
    request(tcp, "HEAD /head HTTP/1.1")
    for path in ("/missing", "/fail", "/raise", '/"quoted"'):
        request(tcp, f"GET {path} HTTP/1.1")
    request(tcp, "hello")
    request(tcp, "GET /header HTTP/1.1", "no header")


def await_log(server: Server, text: str) -> None:
    wait_until(lambda: text in server.log, repr(text), server.explain)


def request(address: str | tuple[str, int], *lines: str) -> None:
    with open_request(address, *lines) as client, contextlib.suppress(ConnectionError):
        while client.recv(4096):
            pass


def open_request(address: str | tuple[str, int], *lines: str) -> socket.socket:
    if isinstance(address, str):
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
    else:
        client = socket.create_connection(address)
    client.settimeout(20)
    client.sendall("".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""]).encode())
    return client
