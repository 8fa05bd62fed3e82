import math

import pytest

from datadog_checks.gunicorn.standalone.pages.units import (
    format_bytes,
    format_in_unit,
    format_percent,
    format_seconds,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 KiB"),
        (1000, "1.0 KiB"),
        (2**20 - 1, "1024.0 KiB"),
        (2**20, "1.0 MiB"),
        (46242202, "44.1 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5 * 2**40, "5120.0 GiB"),
        (math.nan, "nan KiB"),
    ],
)
def test_format_bytes(value, text):
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0s"),
        (-3.21, "-3.2s"),
        (59.94, "59.9s"),
        (60, "1m 0s"),
        (119.9, "1m 59s"),
        (3600, "1h 0m"),
        (3783.2, "1h 3m"),
        (86399, "23h 59m"),
        (86400, "1d 0h"),
        (40 * 86400 + 5 * 3600, "40d 5h"),
        (math.inf, "infs"),
        (math.nan, "nans"),
    ],
)
def test_format_seconds(value, text):
    assert format_seconds(value) == text


def test_format_percent():
    assert [format_percent(value) for value in [0, 95.654, 191.3085]] == ["0.0%", "95.7%", "191.3%"]


def test_plain_numbers_have_no_unit():
    assert [format_in_unit(5, unit) for unit in ("worker", "thread", "connection", "")] == [""] * 4
    assert [format_in_unit(5, unit) for unit in ("second", "percent", "byte")] == ["5.0s", "5.0%", "0.0 KiB"]
