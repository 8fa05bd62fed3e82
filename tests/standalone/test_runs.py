import json

import pytest

from datadog_checks.gunicorn.standalone.runs import RunError, parse_error


@pytest.mark.parametrize(
    ("message", "last_line", "is_expected"),
    [
        ("no", "datadog_checks.base.errors.ConfigurationError: no", True),
        ("two\nlines", "datadog_checks.gunicorn.check.MasterNotFoundError: two\nlines", True),
        ("datadog_checks.x: no", "ValueError: datadog_checks.x: no", False),
        ("x\ndatadog_checks.base: no", "ValueError: x\ndatadog_checks.base: no", False),
        ("no", "psutil.AccessDenied: no", False),
    ],
)
def test_parse_error(message, last_line, is_expected):
    traceback = f'Traceback (most recent call last):\n  File "/datadog_checks/x.py", line 1\n{last_line}\n'

    error = parse_error(json.dumps([{"message": message, "traceback": traceback}]))

    assert error == RunError(message, "" if is_expected else traceback)


def test_parse_no_error():
    assert parse_error("") is None
