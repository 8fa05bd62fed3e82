import pytest

from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.pool.usage import Usage, compute_cpu_percent

OLD, OTHER, NEW = Identity(1, 10.0), Identity(2, 10.0), Identity(3, 105.0)


def used(**seconds):
    names = {"old": OLD, "other": OTHER, "new": NEW}
    return {names[name]: Usage(cpu, rss=1, threads=1) for name, cpu in seconds.items()}


@pytest.mark.parametrize(
    ("what", "before", "now", "percent"),
    [
        ("one that was idle", used(old=5), used(old=5), 0),
        ("one that was busy half of the time", used(old=5), used(old=10), 50),
        ("several together", used(old=5, other=1), used(old=15, other=11), 200),
        ("one that has started counts since then", used(old=5), used(old=5, new=2), 20),
        ("one that has gone no longer counts", used(old=5, other=90), used(old=6), 10),
        ("one that took the place of another", used(other=90), used(new=1), 10),
        ("one that was there before and had not been read", used(old=5), used(old=5, other=90), None),
        ("no process", used(old=5), {}, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_cpu_percent(what, before, now, percent):
    assert compute_cpu_percent(before, now, since=100.0, until=110.0) == percent


def test_no_time_has_passed():
    assert compute_cpu_percent(used(old=5), used(old=5), since=100.0, until=100.0) is None
