"""The sockets of our own network namespace, by sock_diag(7), which any user may use.

Constants and layouts are from include/uapi/linux/sock_diag.h, inet_diag.h and unix_diag.h.
"""

import contextlib
import functools
import re
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from .addresses import Address, Family, Listener, inet_address, unix_address, unix_pattern
from .netlink import NetlinkError, dump, format_attribute, format_request, parse_attributes
from .tables import ACCEPTED, ESTABLISHED, LISTEN, Socket

T = TypeVar("T")

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_INET_NUMBERS = {Family.INET: socket.AF_INET, Family.INET6: socket.AF_INET6}

# Family, protocol, extensions, padding, states; then 48 bytes that identify a single socket, unused in a dump.
_INET_REQUEST = struct.Struct("=BBBxI48x")
_INET_REQ_BYTECODE = 1
# Family, state, local port, local address, queue length and, for a listener, its limit, inode.
_INET_REPLY = struct.Struct("=BBxx2s2x16s16x12x4xII4xI")
# Sent without being asked for, since Linux 5.9.
_INET_CGROUP_ID = 21
_CGROUP_ID = struct.Struct("=Q")
# One step of a filter: its code, and the offsets to jump to if it matches and if not, in bytes from its own start.
_STEP = struct.Struct("=BBH")
_JUMP, _AT_LEAST, _AT_MOST = 1, 2, 3

# Family, protocol, states, inode, the attributes to show, and a cookie in two halves.
_UNIX_REQUEST = struct.Struct("=BB2xIIIII")
# Kernels before 5.3 ignore the last one.
_SHOW_NAME, _SHOW_QUEUE, _SHOW_UID = 0x1, 0x10, 0x40
# Family, type, state, inode.
_UNIX_REPLY = struct.Struct("=BBBxI8x")
_UNIX_NAME, _UNIX_QUEUE, _UNIX_UID = 0, 4, 7
# The length of a queue and its limit.
_QUEUE, _UID = struct.Struct("=II"), struct.Struct("=I")


def format_inet_request(family: Family, ports: Collection[int], states: int) -> bytes:
    """Format a request for the TCP sockets in some states at these local ports, or at all ports if none are given."""
    request = _INET_REQUEST.pack(_INET_NUMBERS[family], socket.IPPROTO_TCP, 0, states)
    if ports:
        request += format_attribute(_INET_REQ_BYTECODE, format_filter(ports))
    return format_request(_SOCK_DIAG_BY_FAMILY, request)


def format_filter(ports: Collection[int]) -> bytes:
    """Write a filter that accepts the sockets of these ports.

    A comparison is followed by a step with its operand. A jump to the end of the filter accepts the socket, a jump
    beyond it rejects the socket. Kernels before 5.1 have no "equal" comparison.
    """
    compare = 2 * _STEP.size
    block = 2 * compare + _STEP.size
    end = block * len(ports) + _STEP.size
    steps = []
    for start, port in enumerate(ports):
        operand = _STEP.pack(0, 0, port)
        steps += [
            _STEP.pack(_AT_LEAST, compare, block) + operand,
            _STEP.pack(_AT_MOST, compare, block - compare) + operand,
            _STEP.pack(_JUMP, _STEP.size, end - block * start - 2 * compare),
        ]
    return b"".join([*steps, _STEP.pack(_JUMP, _STEP.size, 2 * _STEP.size)])


def format_unix_request(states: int) -> bytes:
    """Format a request for the UNIX sockets in some states, with their names, queues and owners."""
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, states, 0, _SHOW_NAME | _SHOW_QUEUE | _SHOW_UID, 0, 0)
    return format_request(_SOCK_DIAG_BY_FAMILY, request)


def parse_inet(payload: bytes) -> Socket | None:
    """Parse the socket in an answer; None if no process holds it, or not any more.

    >>> host, port = socket.inet_aton("127.0.0.1"), (8000).to_bytes(2)
    >>> str(parse_inet(_INET_REPLY.pack(socket.AF_INET, ESTABLISHED, port, host, 0, 0, 987)).address)
    '127.0.0.1:8000'
    """
    family, state, port, host, queued, _, inode = _INET_REPLY.unpack_from(payload)
    if state == LISTEN:
        return Socket(_inet_address(family, host, port), True, inode, queued)
    return Socket(_inet_address(family, host, port), False, inode, 0) if inode else None


def parse_inet_listener(payload: bytes) -> Listener | None:
    """Parse the listener in an answer; None if it is another socket.

    >>> host, port = socket.inet_aton("127.0.0.1"), (8000).to_bytes(2)
    >>> payload = _INET_REPLY.pack(socket.AF_INET, LISTEN, port, host, 3, 2048, 987)
    >>> payload += format_attribute(_INET_CGROUP_ID, _CGROUP_ID.pack(4711))
    >>> inode, address, limit, group, _ = parse_inet_listener(payload)
    >>> inode, str(address), limit, group
    (987, '127.0.0.1:8000', 2048, 4711)
    """
    family, state, port, host, _, limit, inode = _INET_REPLY.unpack_from(payload)
    if state != LISTEN:
        return None
    attribute = parse_attributes(payload, _INET_REPLY.size).get(_INET_CGROUP_ID)
    group = _CGROUP_ID.unpack_from(attribute)[0] if attribute else None
    return Listener(inode, _inet_address(family, host, port), limit, group)


# The connections to a listener have few different local addresses.
@functools.lru_cache(maxsize=1024)
def _inet_address(family: int, host: bytes, port: bytes) -> Address:
    return inet_address(host if family == socket.AF_INET6 else host[:4], int.from_bytes(port, "big"))


def parse_unix(payload: bytes) -> Socket | None:
    r"""Parse the socket in an answer; None if it has no name or is not a stream socket.

    >>> payload = _UNIX_REPLY.pack(socket.AF_UNIX, socket.SOCK_STREAM, LISTEN, 987)
    >>> payload += format_attribute(_UNIX_NAME, b"/run/app.sock\0")
    >>> payload += format_attribute(_UNIX_QUEUE, _QUEUE.pack(3, 2048))
    >>> address, listening, inode, queued = parse_unix(payload)
    >>> str(address), listening, inode, queued
    ('unix:/run/app.sock', True, 987, 3)

    The kernel omits connections that wait to be accepted, because no process holds them.
    """
    _, kind, state, inode = _UNIX_REPLY.unpack_from(payload)
    attributes = parse_attributes(payload, _UNIX_REPLY.size)
    address = _parse_name(kind, attributes)
    if address is None:
        return None
    queued = _QUEUE.unpack_from(attributes[_UNIX_QUEUE])[0] if state == LISTEN and _UNIX_QUEUE in attributes else 0
    return Socket(address, state == LISTEN, inode, queued)


def parse_unix_listener(payload: bytes) -> Listener | None:
    r"""Parse the listener in an answer; None if it is another socket.

    >>> payload = _UNIX_REPLY.pack(socket.AF_UNIX, socket.SOCK_STREAM, LISTEN, 987)
    >>> payload += format_attribute(_UNIX_NAME, b"/run/app.sock\0") + format_attribute(_UNIX_UID, _UID.pack(33))
    >>> inode, address, _, _, uid = parse_unix_listener(payload)
    >>> inode, str(address), uid
    (987, 'unix:/run/app.sock', 33)
    """
    _, kind, state, inode = _UNIX_REPLY.unpack_from(payload)
    attributes = parse_attributes(payload, _UNIX_REPLY.size)
    address = _parse_name(kind, attributes)
    if address is None or state != LISTEN:
        return None
    queue, uid = attributes.get(_UNIX_QUEUE), attributes.get(_UNIX_UID)
    return Listener(
        inode,
        address,
        limit=_QUEUE.unpack_from(queue)[1] if queue else None,
        uid=_UID.unpack_from(uid)[0] if uid else None,
    )


def _parse_name(kind: int, attributes: Mapping[int, bytes]) -> Address | None:
    name = attributes.get(_UNIX_NAME)
    if not name or kind != socket.SOCK_STREAM:
        return None
    # A path ends with a null byte, an abstract name starts with one.
    return unix_address(name.removesuffix(b"\0") if name[0] else name)


def read_listening(family: Family) -> list[Listener]:
    """Read the listening sockets of a family. Raises NetlinkError."""
    parse = parse_unix_listener if family is Family.UNIX else parse_inet_listener
    return _read(_format_request(family, 1 << LISTEN), parse)


def read_at(family: Family, addresses: Collection[Address]) -> list[Socket]:
    """Read the listening and accepted sockets at the ports or names of some addresses. Raises NetlinkError."""
    if family is Family.UNIX:
        # The kernel cannot filter by name. Searching an answer for the names is ten times as fast as parsing it.
        # The null bytes before a name are the type of its attribute.
        chosen = re.compile(rb"\0\0(?:%b)" % b"|".join(map(unix_pattern, addresses))).search
        return _read(_format_request(family, 1 << LISTEN | 1 << ESTABLISHED), parse_unix, chosen)
    states = sum(1 << state for state in [LISTEN, *ACCEPTED])
    return _read(_format_request(family, states, {address.port for address in addresses}), parse_inet)


def _format_request(family: Family, states: int, ports: Collection[int] = ()) -> bytes:
    if family is Family.UNIX:
        return format_unix_request(states)
    try:
        return format_inet_request(family, ports, states)
    except struct.error as error:
        raise NetlinkError("too many ports") from error


def _read(
    request: bytes, parse: Callable[[bytes], T | None], chosen: Callable[[bytes], object] | None = None
) -> list[T]:
    try:
        with contextlib.closing(dump(_NETLINK_SOCK_DIAG, request)) as answers:
            return [found for payloads in answers for found in map(parse, filter(chosen, payloads)) if found]
    except struct.error as error:
        # An answer with an unknown layout.
        raise NetlinkError(str(error)) from error
