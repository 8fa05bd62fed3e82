import math

import pytest

from datadog_checks.gunicorn.standalone.pages.subjects import (
    find_subject,
    format_bytes,
    format_percent,
    format_seconds,
    place_on_page,
)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("gunicorn.workers", "Workers"),
        ("gunicorn.dirty_workers", "Workers"),
        ("gunicorn.connections", "Connections"),
        ("gunicorn.workers.started", "Churn and age"),
        ("gunicorn.workers.exited", "Churn and age"),
        ("gunicorn.worker.age.min", "Churn and age"),
        ("gunicorn.uptime", "Churn and age"),
        ("gunicorn.cpu.percent", "Resources"),
        ("gunicorn.memory.rss", "Resources"),
        ("gunicorn.memory.rss.max", "Resources"),
        ("gunicorn.threads", "Resources"),
        ("gunicorn.threadsafe", "Other metrics"),
        ("gunicorn", "Other metrics"),
        ("web.gunicorn.workers", "Other metrics"),
        ("", "Other metrics"),
    ],
)
def test_the_group_of_a_name(name, group):
    assert find_subject(name).group == group


def test_places_follow_the_groups():
    names = ["x", "gunicorn.threads", "gunicorn.workers.exited", "gunicorn.connections", "gunicorn.workers"]

    assert sorted(names, key=place_on_page) == names[::-1]


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
