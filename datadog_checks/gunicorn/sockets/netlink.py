"""Dump requests to the kernel by netlink(7).

Constants and layouts are from include/uapi/linux/netlink.h.
"""

import os
import socket
import struct
from collections.abc import Generator
from typing import NamedTuple

# The kernel puts at most 32 KiB of a dump into one datagram.
_DATAGRAM_BYTES = 1 << 16
# For each datagram. The kernel answers immediately; if it does not, a run must not hang.
_TIMEOUT_SECONDS = 1.0

# Length, type, flags, sequence number and port of a message; length and type of an attribute; an error number.
_HEADER, _ATTRIBUTE, _ERROR = struct.Struct("=IHHII"), struct.Struct("=HH"), struct.Struct("=i")
# NLMSG_ERROR and NLMSG_DONE.
_NLMSG_ENDS = (2, 3)
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
_SEQUENCE = 1


class NetlinkError(Exception):
    """The kernel does not answer, or not completely."""


def format_request(kind: int, payload: bytes) -> bytes:
    """Format a dump request."""
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, _SEQUENCE, 0) + payload


def format_attribute(kind: int, value: bytes) -> bytes:
    """Format an attribute. Raises struct.error if the value is too long."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value.ljust(_align(size) - _ATTRIBUTE.size, b"\0")


def parse_attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """Parse the attributes that begin at an offset of a message's payload.

    >>> parse_attributes(b"head" + format_attribute(3, b"name") + format_attribute(7, b"id"), offset=4)
    {3: b'name', 7: b'id'}
    """
    attributes = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        attributes[kind] = payload[offset + _ATTRIBUTE.size : offset + size]
        offset += _align(max(size, _ATTRIBUTE.size))
    return attributes


class Answer(NamedTuple):
    """The messages of a dump in one datagram; `last` if no more follow."""

    payloads: list[bytes]
    last: bool


def parse_answer(datagram: bytes) -> Answer:
    """Parse the messages in a datagram.

    >>> parse_answer(_HEADER.pack(_HEADER.size + 4, 20, 0, _SEQUENCE, 0) + b"body")
    Answer(payloads=[b'body'], last=False)

    Raises NetlinkError if the kernel reports an error, and if the answer is incomplete.
    """
    payloads: list[bytes] = []
    offset, end, header = 0, len(datagram), _HEADER.size
    # There can be thousands of messages, so avoid calls in this loop.
    while offset < end:
        if end - offset < header:
            raise NetlinkError("cut short")
        size, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if not header <= size <= end - offset:
            raise NetlinkError("cut short")
        if sequence == _SEQUENCE:
            if flags & _NLM_F_DUMP_INTR:
                raise NetlinkError("changed meanwhile")
            payload = datagram[offset + header : offset + size]
            if kind in _NLMSG_ENDS:
                _raise_error(payload)
                return Answer(payloads, last=True)
            payloads.append(payload)
        offset += (size + 3) & ~3
    return Answer(payloads, last=False)


def _raise_error(payload: bytes) -> None:
    if len(payload) >= _ERROR.size:
        (number,) = _ERROR.unpack_from(payload)
        if number:
            raise NetlinkError(os.strerror(-number))


def _align(size: int) -> int:
    return (size + 3) & ~3


def dump(family: int, request: bytes) -> Generator[list[bytes], None, None]:
    """Send a request to a netlink family, and yield the payloads of the answer, datagram by datagram.

    Raises NetlinkError.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as netlink:
            netlink.settimeout(_TIMEOUT_SECONDS)
            netlink.send(request)
            last = False
            while not last:
                datagram, _, flags, _ = netlink.recvmsg(_DATAGRAM_BYTES)
                if flags & socket.MSG_TRUNC or not datagram:
                    raise NetlinkError("cut short")
                payloads, last = parse_answer(datagram)
                yield payloads
    except OSError as error:
        raise NetlinkError(str(error)) from error
