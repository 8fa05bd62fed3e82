import itertools
import os
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.sockets import netlink
from datadog_checks.gunicorn.sockets.netlink import NetlinkError, dump, format_request, parse_answer, parse_attributes

SOCK_DIAG = 4


def message(kind, payload=b"", flags=2, sequence=1, size=None):
    size = 16 + len(payload) if size is None else size
    return struct.pack("=IHHII", size, kind, flags, sequence, 0) + payload + bytes(-len(payload) % 4)


DONE = message(3, bytes(4))


def test_a_request_asks_for_a_dump():
    assert format_request(20, b"what") == struct.pack("=IHHII", 20, 20, 0x301, 1, 0) + b"what"


def test_a_datagram_of_several_messages_ends_with_done():
    answer = message(20, b"first") + message(20, b"second") + DONE + message(20, b"too late")
    assert parse_answer(answer) == ([b"first", b"second"], True)


def test_a_datagram_that_is_not_the_last():
    assert parse_answer(message(20, b"first")) == ([b"first"], False)


def test_answers_to_other_requests_are_skipped():
    assert parse_answer(message(20, b"other", sequence=7) + DONE) == ([], True)


@pytest.mark.parametrize("end", [message(3), message(2, bytes(20))], ids=["done", "an error with the code 0"])
def test_an_end_without_a_reason(end):
    assert parse_answer(end) == ([], True)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (message(2, struct.pack("=i", -1)), "Operation not permitted"),
        (message(2, struct.pack("=i", -2) + bytes(16)), "No such file or directory"),
        (message(3, struct.pack("=i", -22)), "Invalid argument"),
        (message(20, b"payload", flags=0x12), "changed meanwhile"),
        (DONE[:15], "cut short"),
        (message(20, size=15), "cut short"),
        (message(20, size=0), "cut short"),
        (message(20, b"payload", size=200), "cut short"),
    ],
)
def test_malformed_answers(answer, what):
    with pytest.raises(NetlinkError, match=what):
        parse_answer(answer)


@given(st.lists(st.integers(0, 40) | st.binary(max_size=40)))
def test_any_bytes_raise_no_other_error(pieces):
    datagram = b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)
    for answer in (datagram, message(20, datagram), message(20, datagram) + datagram):
        try:
            parse_answer(answer)
        except NetlinkError:
            continue
    parse_attributes(datagram, 0)


def test_parse_attributes():
    payload = b"head" + struct.pack("=HH", 9, 0) + b"/sock" + bytes(3) + struct.pack("=HHI", 8, 4, 7)
    assert parse_attributes(payload, 4) == {0: b"/sock", 4: struct.pack("=I", 7)}


class Kernel:
    """A socket that receives these datagrams, or raises these errors, one after the other."""

    def __init__(self, *answers):
        self.answers = iter(answers)
        self.closed = False

    def __call__(self, *_):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def settimeout(self, seconds):
        assert 0 < seconds <= 1

    def send(self, request):
        self.request = request

    def recvmsg(self, size):
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer[:size], [], socket.MSG_TRUNC if len(answer) > size else 0, (0, 0)


linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


@linux
class TestDump:
    def test_answers_in_several_datagrams(self, monkeypatch):
        kernel = Kernel(message(20, b"a") + message(20, b"b"), message(20, b"c"), DONE)
        monkeypatch.setattr(netlink.socket, "socket", kernel)
        assert list(dump(SOCK_DIAG, b"request")) == [[b"a", b"b"], [b"c"], []]
        assert kernel.closed
        assert kernel.request == b"request"

    @pytest.mark.parametrize(
        "answer",
        [
            TimeoutError(),
            PermissionError(),
            b"",
            message(20, bytes((1 << 16) - 16)) + DONE,
            message(2, struct.pack("=i", -1)),
        ],
        ids=["no answer in time", "forbidden", "empty", "too long", "an error"],
    )
    def test_every_failure_is_one_error_and_closes(self, answer, monkeypatch):
        kernel = Kernel(message(20, b"a"), answer)
        monkeypatch.setattr(netlink.socket, "socket", kernel)
        with pytest.raises(NetlinkError):
            list(dump(SOCK_DIAG, b""))
        assert kernel.closed

    def test_a_family_that_the_kernel_lacks(self):
        with pytest.raises(NetlinkError):
            list(dump(200, b""))

    def test_no_answer_at_all(self, monkeypatch):
        monkeypatch.setattr(netlink, "_TIMEOUT_SECONDS", 0.01)
        # NETLINK_ROUTE does not answer an empty acknowledgement.
        with pytest.raises(NetlinkError, match="timed out"):
            list(dump(socket.NETLINK_ROUTE, message(1, flags=0)))

    def test_descriptors_are_closed(self):
        before = len(os.listdir("/proc/self/fd"))
        for request in itertools.repeat(format_request(20, b"?"), 10):
            with pytest.raises(NetlinkError):
                list(dump(SOCK_DIAG, request))
        assert len(os.listdir("/proc/self/fd")) == before
