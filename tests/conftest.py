"""What every test can rely on, wherever the tests run, and what every report says about its environment."""

import importlib.metadata
import os
import platform
import signal

import pytest
from _pytest.junitxml import xml_key


def pytest_configure():
    """Undo what tests and the servers they start would inherit: `nohup`, the background of a script, a umask."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    # It would hide what the command leaves for Python to flush as it exits.
    os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_sessionstart(session):
    """Record the versions under test in the report.

    The fixture record_testsuite_property does the same, but not in the process that writes the report of pytest-xdist.
    """
    report = session.config.stash.get(xml_key, None)
    if report:
        report.add_global_property("python", platform.python_version())
        for distribution in ("gunicorn", "psutil", "datadog-checks-base"):
            report.add_global_property(distribution, importlib.metadata.version(distribution))


@pytest.fixture(autouse=True)
def _fresh_agent(aggregator, datadog_agent):
    """Empty what the base package keeps of earlier tests."""


@pytest.fixture
def all_names_are_shown(monkeypatch):
    """However many other Gunicorns the machine has, nearer names among them."""
    monkeypatch.setattr("datadog_checks.gunicorn.diagnoses.NAMES_SHOWN", 10_000)
