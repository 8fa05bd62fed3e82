import socket

import pytest

from datadog_checks.gunicorn.standalone.dogstatsd import Sample, format_samples, open_receiver, parse_datagram


@pytest.mark.parametrize(
    ("datagram", "samples"),
    [
        pytest.param(
            b"gunicorn.requests:1|c|@1.0|#app:web,env:prod",
            [Sample("gunicorn.requests", "c", "1", ("app:web", "env:prod"))],
            id="sample rate and tags",
        ),
        pytest.param(b"gunicorn.workers:4|g", [Sample("gunicorn.workers", "g", "4", ())], id="no tags"),
        pytest.param(b"a:1|c\nb:2|ms\n", [Sample("a", "c", "1", ()), Sample("b", "ms", "2", ())], id="two lines"),
        pytest.param(b"", [], id="empty"),
        pytest.param(b"noise\n:|\n1|c\na:1\n\xff\xfe", [], id="noise"),
    ],
)
def test_parse_datagram(datagram, samples):
    assert list(parse_datagram(datagram)) == samples


def test_format_samples():
    samples = [
        Sample("gunicorn.workers", "g", "4", ("app:web",)),
        Sample("gunicorn.requests", "c", "1", ("app:web",)),
        Sample("gunicorn.workers", "g", "3", ("app:web",)),
        Sample("gunicorn.workers", "g", "\x1b", ()),
    ]

    assert format_samples(samples) == [
        "  name               type  lines  last value  tags",
        "  gunicorn.requests  c     1      1           app:web",
        r"  gunicorn.workers   g     1      \x1b",
        "  gunicorn.workers   g     2      3           app:web",
    ]


def test_the_receiver_takes_what_was_sent():
    with open_receiver() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        host, port = receiver.address.split(":")
        receiver.take()
        assert receiver.samples == []

        sender.sendto(b"a:1|c", (host, int(port)))
        sender.sendto(b"b:1|c", (host, int(port)))
        receiver.take()

    assert [sample.name for sample in receiver.samples] == ["a", "b"]
