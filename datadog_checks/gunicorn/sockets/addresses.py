"""Where servers listen: addresses in the kernel's canonical form, in Gunicorn's notation. Pure."""

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
# What its socket for these names is bound to; it is one of IPv4.
_NAMES = {"": _ANY[Family.INET], "localhost": "127.0.0.1"}
# Gunicorn's, where a bind names none.
_DEFAULT_PORT = "8000"
_BIND = re.compile(r"(?:tcp://)?(?:\[([^]]*)\]|([^][:]*))(?::(\d+))?", re.ASCII)


class Address(NamedTuple):
    """One address. `host` is an IP in canonical text, or the name of a UNIX socket; that has the port 0.

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


def wildcard_of(address: Address) -> Address:
    """Give the address that stands for any of the same family and port; a UNIX socket's is its own."""
    return address._replace(host=_ANY.get(address.family, address.host))


def inet_address(packed: bytes, port: int) -> Address:
    """Give the address of 4 or 16 bytes in network order.

    Raises ValueError where their number is another.
    """
    family = Family.INET6 if len(packed) == len(bytes(16)) else Family.INET
    return Address(family, socket.inet_ntop(_NUMBERS[family], packed), port)


def unix_address(name: bytes) -> Address:
    r"""Give the address of a UNIX socket's name, which may be any bytes.

    An abstract name starts with a null byte, or with the @ that /proc/net/unix shows for it.

    >>> str(unix_address(b"\0app"))
    'unix:@app'
    """
    return Address(Family.UNIX, name.replace(b"\0", b"@").decode(errors="backslashreplace"))


def unix_pattern(address: Address) -> bytes:
    r"""Write the pattern of the names that `unix_address` gives this address; few others have it in them.

    >>> unix_pattern(Address(Family.UNIX, "@app"))
    b'[@\\x00]app'
    """
    return b"".join(map(_pattern_of, re.split(r"(@|\\x[0-9a-f]{2})", address.host)))


def _pattern_of(text: str) -> bytes:
    if text == "@":
        return rb"[@\x00]"
    if re.fullmatch(r"\\x[0-9a-f]{2}", text):
        # A byte that is not UTF-8, unless the name has a backslash itself.
        return b"(?:%b|%b)" % (text.encode(), re.escape(text.encode()))
    return re.escape(text.encode())


def parse_bind(text: str) -> Address:
    """Parse an address as Gunicorn does (`gunicorn.util.parse_address`, the same in its releases 19.9 to 27.0).

    >>> str(parse_bind(":8000"))
    '0.0.0.0:8000'

    Raises ValueError for what Gunicorn refuses, and for what does not tell the address: a descriptor, a port that the
    kernel is to choose, a name that only a resolver knows.
    """
    text = text.strip()
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        raise ValueError(f"{text!r} does not tell the address: give the one that this descriptor listens on")
    match = _BIND.fullmatch(text)
    bracketed, plain, given = match.groups() if match else (None, None, None)
    host = (bracketed or plain or "").lower()
    port = int(given or _DEFAULT_PORT)
    no_address = f"{text!r} is no address such as '127.0.0.1:8000', '[::1]:8000' or 'unix:/run/app.sock'"
    if not (host or given) or port >= 1 << 16:
        raise ValueError(no_address)
    if port == 0:
        raise ValueError(f"{text!r} does not tell the address: give the port that the kernel chose, not 0")
    for number in _NUMBERS.values():
        with contextlib.suppress(OSError, ValueError):
            return inet_address(socket.inet_pton(number, _NAMES.get(host, host)), port)
    if not given:
        raise ValueError(no_address)
    raise ValueError(f"{text!r} does not tell the address: give the IP address, not a name")


def _parse_unix(text: str) -> Address:
    name = re.split("unix:(?://)?", text)[-1]
    if not name:
        raise ValueError(f"{text!r} has no path: give it as in 'unix:/run/app.sock'")
    return unix_address(name.encode(errors="surrogateescape"))
