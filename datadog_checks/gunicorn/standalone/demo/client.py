"""The demo's requests: answered immediately, held by a worker, or queued."""

import contextlib
import http.client
import socket
from collections.abc import Iterator

LOCALHOST = "127.0.0.1"


class NoAnswerError(Exception):
    """Gunicorn did not answer a request as it should."""


class Client:
    """Sends requests to a port of this host, with a timeout in seconds. All methods raise NoAnswerError."""

    def __init__(self, port: int, timeout: float = 3.0) -> None:
        self._port = port
        self._timeout = timeout

    def get(self, path: str) -> int:
        """Send one request and return the status of the response."""
        connection = http.client.HTTPConnection(LOCALHOST, self._port, timeout=self._timeout)
        with _answering(path), contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        """Keep one worker busy with one long request; short ones would be spread over the workers."""
        with self._request(path) as client:
            with _answering(path):
                _read_until(client, b"begun")
            yield
            with _answering(path):
                # The app sees the shutdown and ends the response normally, so that Gunicorn counts the request.
                client.shutdown(socket.SHUT_WR)
                _read_until(client, b"done")

    @contextlib.contextmanager
    def queue(self, path: str) -> Iterator[None]:
        """Send a request while no worker is free; a worker must be free at the end of the context."""
        with self._request(path) as client:
            yield
            with _answering(path):
                _read_until(client, b"hello")

    @contextlib.contextmanager
    def _request(self, path: str) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            with _answering(path):
                client = stack.enter_context(socket.create_connection((LOCALHOST, self._port), timeout=self._timeout))
                client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            yield client


@contextlib.contextmanager
def _answering(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"Gunicorn did not answer {path}: {error}") from error


def _read_until(client: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        chunk = client.recv(4096)
        if not chunk:
            raise ConnectionError("the connection was closed")
        received += chunk
