"""The socket tables in procfs: real rows of a little-endian machine."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.sockets.addresses import Family, Listener, parse_bind
from datadog_checks.gunicorn.sockets.tables import parse_at, parse_inet, parse_listening, parse_unix

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the rows are of the other byte order")

TCP = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1077 1 00000000dec0c9d8 100 0
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000004 00:00000000 00000000 65534        0 1537561 1 0000000055fa 100 0
   2: 0100007F:1F40 0100007F:94DC 01 00000000:00000027 00:00000000 00000000     0        0 0 1 000000003f0e 20 0 0 10 -1
   3: 0100007F:1F40 0100007F:94DA 01 00000000:00000000 00:00000000 00000000     0        0 1537568 1 000000 20 0 0 10 -1
   4: 0100007F:1F40 0100007F:94E2 08 00000000:00000001 00:00000000 00000000     0        0 1537569 1 000000 20 0 0 10 -1
   5: 0100007F:1F40 0100007F:94E4 05 00000000:00000000 00:00000000 00000000     0        0 1537570 1 000000 20 0 0 10 -1
   6: 0100007F:1F40 0100007F:94E6 04 00000001:00000000 01:00000014 00000000     0        0 0 2 0000000 20 0 0 10 -1
   7: 0100007F:1F40 0100007F:94E8 06 00000000:00000000 03:000016F0 00000000     0        0 0 3 00000000aaaa
   8: 0100007F:1F40 0100007F:94EA 03 00000000:00000000 01:00000063 00000000     0        0 0 1 00000000aaaa
   9: 0100007F:94DC 0100007F:1F40 01 00000000:00000000 00:00000000 00000000     0        0 1537575 1 000000 20 0 0 10 -1
  10: 0200000A:1F40 0100000A:0050 02 00000001:00000000 01:00000063 00000000     0        0 1537571 2 00000000 100 0 0 10
"""
TCP6 = b"""\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:A72D 00000000000000000000000000000000:0000 0A 00000000:00000002 00:00000000 \
00000000     0        0 1537571 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:A72D 0000000000000000FFFF00000100007F:B0C4 01 00000000:00000000 00:00000000 \
00000000     0        0 1537573 1 0000000000000000 20 0 0 10 -1
   2: B80D0120000000000000000001000000:A72D B80D0120000000000000000002000000:B0C4 01 00000000:00000000 00:00000000 \
00000000     0        0 1537574 1 0000000000000000 20 0 0 10 -1
"""
UNIX = b"""\
Num       RefCount Protocol Flags    Type St Inode Path
0000000098016242: 00000003 00000000 00000000 0001 03  1073
00000000fef145a6: 00000002 00000000 00010000 0001 01 15375 /run/app.sock
00000000fef145a7: 00000003 00000000 00000000 0001 03 15379 /run/app.sock
00000000fef145a8: 00000002 00000000 00000000 0001 02     0 /run/app.sock
00000000fef145a9: 00000002 00000000 00000000 0001 02     0 /run/app.sock
00000000fef145aa: 00000002 00000000 00010000 0001 01 15380  /run/with  blanks :[
00000000fef145ab: 00000002 00000000 00010000 0001 01 15381 @abstract@name
00000000fef145ac: 00000002 00000000 00010000 0001 01 15382 /run/\xff\xe2\x98\x83
00000000fef145ad: 00000002 00000000 00000000 0002 01 15383 /run/datagrams.sock
00000000fef145ae: 00000002 00000000 00000000 0001 01 15384 /run/bound-only.sock
"""


def shown(sockets):
    return [(str(socket.address), socket.listening, socket.inode, socket.queued) for socket in sockets]


@little_endian
def test_tcp():
    assert shown(parse_inet(TCP.splitlines(keepends=True))) == [
        ("0.0.0.0:2024", True, 1077, 0),
        ("127.0.0.1:8000", True, 1537561, 4),
        # Established, closed by the client, shut down by both: a process may hold each of them.
        ("127.0.0.1:8000", False, 1537568, 0),
        ("127.0.0.1:8000", False, 1537569, 0),
        ("127.0.0.1:8000", False, 1537570, 0),
        # The client's end is established, too.
        ("127.0.0.1:38108", False, 1537575, 0),
    ]


@little_endian
def test_tcp6_dual_stack():
    assert shown(parse_inet(TCP6.splitlines(keepends=True))) == [
        ("[::]:42797", True, 1537571, 2),
        ("[::ffff:127.0.0.1]:42797", False, 1537573, 0),
        ("[2001:db8::1]:42797", False, 1537574, 0),
    ]


def test_unix():
    assert shown(parse_unix(UNIX.splitlines(keepends=True))) == [
        ("unix:/run/app.sock", True, 15375, None),
        ("unix:/run/app.sock", False, 15379, 0),
        ("unix:/run/app.sock", False, 0, 1),
        ("unix:/run/app.sock", False, 0, 1),
        ("unix: /run/with  blanks :[", True, 15380, None),
        ("unix:@abstract@name", True, 15381, None),
        ("unix:/run/\\xff\N{SNOWMAN}", True, 15382, None),
    ]


@little_endian
@pytest.mark.parametrize(
    ("table", "family", "addresses", "inodes"),
    [
        (TCP, Family.INET, ["127.0.0.1:8000"], [1537561, 1537568, 1537569, 1537570]),
        (TCP, Family.INET, [":2024", ":80"], [1077]),
        (TCP, Family.INET, [":80", ":38108"], [1537575]),
        (TCP6, Family.INET6, ["[::]:42797"], [1537571, 1537573, 1537574]),
        (TCP6, Family.INET6, ["[::]:45252"], []),
        (UNIX, Family.UNIX, ["unix:/run/app.sock"], [15375, 15379, 0, 0]),
        (UNIX, Family.UNIX, ["unix:@abstract@name", "unix: /run/with  blanks :["], [15380, 15381]),
        (UNIX, Family.UNIX, ["unix:/run/\\xff\N{SNOWMAN}"], [15382]),
        (UNIX, Family.UNIX, ["unix:app.sock", "unix:/run/app", "unix:/run/app.sock/", "unix:/run.app.sock"], []),
    ],
)
def test_sockets_at_some_addresses(table, family, addresses, inodes):
    rows = table.splitlines(keepends=True)
    assert [socket.inode for socket in parse_at(rows, family, set(map(parse_bind, addresses)))] == inodes


@little_endian
@pytest.mark.parametrize(("table", "family"), [(TCP, Family.INET), (TCP6, Family.INET6), (UNIX, Family.UNIX)])
def test_listening_sockets(table, family):
    rows = table.splitlines(keepends=True)
    parse = parse_unix if family is Family.UNIX else parse_inet
    assert list(parse_listening(rows, family)) == [
        Listener(socket.inode, socket.address) for socket in parse(rows) if socket.listening
    ]


@pytest.mark.parametrize("row", TCP6.splitlines()[1:] + TCP.splitlines()[1:], ids=lambda row: row[:40])
def test_a_truncated_row_is_skipped_or_complete(row):
    whole = [socket[:2] for socket in parse_inet([row])]
    for end in range(len(row)):
        assert [socket[:2] for socket in parse_inet([row[:end]])] in (whole, [])


ROWS = st.binary() | st.lists(
    st.sampled_from(TCP.split() + TCP6.split() + UNIX.split()) | st.binary(max_size=8), max_size=14
).map(b" ".join)


@given(st.lists(ROWS))
def test_any_row_is_parsed_or_skipped(rows):
    for socket in [*parse_inet(rows), *parse_unix(rows)]:
        str(socket.address).encode()
        assert socket.inode >= 0
