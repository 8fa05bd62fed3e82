"""The addresses that servers listen on, in the kernel's canonical form and Gunicorn's notation. Pure."""

import contextlib
import re
import socket
from enum import StrEnum
from typing import NamedTuple


class Family(StrEnum):
    """The kinds of sockets that Gunicorn listens on."""

    INET = "inet"
    INET6 = "inet6"
    UNIX = "unix"


_NUMBERS = {Family.INET: socket.AF_INET, Family.INET6: socket.AF_INET6}
_ANY = {
    Family.INET: socket.inet_ntop(socket.AF_INET, bytes(4)),
    Family.INET6: socket.inet_ntop(socket.AF_INET6, bytes(16)),
}
# The IPv4 addresses that Gunicorn binds for these names.
_NAMES = {"": _ANY[Family.INET], "localhost": "127.0.0.1"}
# The port of a bind without one.
_DEFAULT_PORT = "8000"
_BIND = re.compile(r"(?:tcp://)?(?:\[([^]]*)\]|([^][:]*))(?::(\d+))?", re.ASCII)


class Address(NamedTuple):
    """One address. `host` is a canonical IP address, or the name of a UNIX socket, which has port 0.

    >>> str(Address(Family.INET6, "::1", 8000))
    '[::1]:8000'
    """

    family: Family
    host: str
    port: int = 0

    def __str__(self) -> str:
        match self.family:
            case Family.INET:
                return f"{self.host}:{self.port}"
            case Family.INET6:
                return f"[{self.host}]:{self.port}"
            case Family.UNIX:
                return f"unix:{self.host}"


class Listener(NamedTuple):
    """A listening socket, with what the kernel shows of it; None is unknown.

    `limit` is the greatest length of its accept queue, `group` the id of the control group that a TCP socket was made
    in, `uid` the owner of a UNIX socket.
    """

    inode: int
    address: Address
    limit: int | None = None
    group: int | None = None
    uid: int | None = None


class Counts(NamedTuple):
    """The connections to one address: accepted and not yet closed by a worker, and in the accept queue."""

    accepted: int = 0
    queued: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Add the counts of another listener."""
        return Counts(self.accepted + other.accepted, self.queued + other.queued)


def wildcard_of(address: Address) -> Address:
    """Return the wildcard address of the same family and port; a UNIX socket's address itself."""
    return address._replace(host=_ANY.get(address.family, address.host))


def inet_address(packed: bytes, port: int) -> Address:
    """Build an address from 4 or 16 bytes in network order.

    Raises ValueError for any other number of bytes.
    """
    family = Family.INET6 if len(packed) == len(bytes(16)) else Family.INET
    return Address(family, socket.inet_ntop(_NUMBERS[family], packed), port)


def unix_address(name: bytes) -> Address:
    r"""Build the address of a UNIX socket from its name, which may hold any bytes.

    An abstract name starts with a null byte, which /proc/net/unix shows as @.

    >>> str(unix_address(b"\0app"))
    'unix:@app'
    """
    return Address(Family.UNIX, name.replace(b"\0", b"@").decode(errors="backslashreplace"))


def unix_pattern(address: Address) -> bytes:
    r"""Write a pattern that matches the names for which `unix_address` returns this address, and few others.

    >>> unix_pattern(Address(Family.UNIX, "@app"))
    b'[@\\x00]app'
    """
    return b"".join(map(_pattern_of, re.split(r"(@|\\x[0-9a-f]{2})", address.host)))


def _pattern_of(text: str) -> bytes:
    if text == "@":
        return rb"[@\x00]"
    if re.fullmatch(r"\\x[0-9a-f]{2}", text):
        # Either a byte that is not UTF-8, or a backslash in the name.
        return b"(?:%b|%b)" % (text.encode(), re.escape(text.encode()))
    return re.escape(text.encode())


def parse_bind(text: str) -> Address:
    """Parse an address as Gunicorn does (`gunicorn.util.parse_address`, the same in releases 19.9 to 27.0).

    >>> str(parse_bind(":8000"))
    '0.0.0.0:8000'

    Raises ValueError for a value that Gunicorn rejects, and for one that leaves the address open: a file descriptor,
    port 0, or a host name.
    """
    text = text.strip()
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        raise ValueError(f"{text!r} is not an address: use the address that this descriptor listens on")
    match = _BIND.fullmatch(text)
    bracketed, plain, given = match.groups() if match else (None, None, None)
    host = (bracketed or plain or "").lower()
    port = int(given or _DEFAULT_PORT)
    no_address = f"{text!r} is not an address such as '127.0.0.1:8000', '[::1]:8000' or 'unix:/run/app.sock'"
    if not (host or given) or port >= 1 << 16:
        raise ValueError(no_address)
    if port == 0:
        raise ValueError(f"{text!r} is not an address: use the port that the kernel chose instead of 0")
    for number in _NUMBERS.values():
        with contextlib.suppress(OSError, ValueError):
            return inet_address(socket.inet_pton(number, _NAMES.get(host, host)), port)
    if not given:
        raise ValueError(no_address)
    raise ValueError(f"{text!r} is not an address: use the IP address instead of the name")


def _parse_unix(text: str) -> Address:
    name = re.split("unix:(?://)?", text)[-1]
    if not name:
        raise ValueError(f"{text!r} has no path: use one, as in 'unix:/run/app.sock'")
    return unix_address(name.encode(errors="surrogateescape"))
