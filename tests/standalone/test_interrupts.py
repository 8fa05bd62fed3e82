import os
import signal
import threading
import time

import pytest

from datadog_checks.gunicorn.standalone.interrupts import InterruptError, noted_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded_until_it_is_checked(number):
    with noted_interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)

        with pytest.raises(InterruptError) as raised:
            interrupts.check()

    assert raised.value.exit_code == 128 + number


def test_the_first_signal_counts():
    with noted_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(InterruptError, match="SIGINT"):
            interrupts.check()


def test_a_signal_ends_a_pause():
    began = time.monotonic()
    with noted_interrupts() as interrupts:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()

        with pytest.raises(InterruptError):
            interrupts.pause(30)

    assert time.monotonic() - began < 10


def test_a_pause_lasts_as_long_as_requested():
    began = time.monotonic()
    with noted_interrupts() as interrupts:
        interrupts.pause(0.2)

    assert time.monotonic() - began >= 0.2


def test_the_previous_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with noted_interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_nohup_keeps_sighup_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            interrupts.check()
    finally:
        signal.signal(signal.SIGHUP, former)
