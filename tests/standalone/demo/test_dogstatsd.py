import socket

import pytest

from datadog_checks.gunicorn.standalone.demo.dogstatsd import (
    Received,
    SentMetric,
    format_received,
    open_receiver,
    parse_datagram,
)


@pytest.mark.parametrize(
    ("datagram", "received"),
    [
        pytest.param(
            b"gunicorn.requests:1|c|@1.0|#app:web,env:prod",
            [(SentMetric("gunicorn.requests", "c", ("app:web", "env:prod")), "1")],
            id="sample rate and tags",
        ),
        pytest.param(b"gunicorn.workers:4|g", [(SentMetric("gunicorn.workers", "g", ()), "4")], id="no tags"),
        pytest.param(
            b"a:1|c\nb:2|ms\n", [(SentMetric("a", "c", ()), "1"), (SentMetric("b", "ms", ()), "2")], id="two lines"
        ),
        pytest.param(b"", [], id="empty"),
        pytest.param(b"noise\n:|\n1|c\na:1\n\xff\xfe", [], id="noise"),
    ],
)
def test_parse_datagram(datagram, received):
    assert list(parse_datagram(datagram)) == received


def test_format_received():
    received = {
        SentMetric("gunicorn.workers", "g", ("app:web",)): Received(2, "3"),
        SentMetric("gunicorn.requests", "c", ("app:web",)): Received(1, "1"),
        SentMetric("gunicorn.workers", "g", ()): Received(1, "\x1b"),
    }

    assert format_received(received) == [
        "  name               type  lines  last value  tags",
        "  gunicorn.requests  c     1      1           app:web",
        r"  gunicorn.workers   g     1      \x1b",
        "  gunicorn.workers   g     2      3           app:web",
    ]


def test_the_receiver_receives_what_was_sent():
    with open_receiver() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        host, port = receiver.address.split(":")
        receiver.take()
        assert receiver.received == {}

        sender.sendto(b"a:1|c", (host, int(port)))
        sender.sendto(b"b:4|g|#x:y\nb:3|g|#x:y", (host, int(port)))
        receiver.take()
        sender.sendto(b"a:2|c", (host, int(port)))
        receiver.take()

    assert receiver.received == {
        SentMetric("a", "c", ()): Received(2, "2"),
        SentMetric("b", "g", ("x:y",)): Received(2, "3"),
    }
