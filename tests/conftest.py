"""What every test can rely on, wherever the tests run, and what every report says about its environment."""

import importlib.metadata
import os
import platform
import signal

import pytest


def pytest_configure():
    """Undo what tests and the servers they start would inherit: `nohup`, the background of a script, a umask."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)


@pytest.fixture(scope="session", autouse=True)
def _record_versions(record_testsuite_property):
    record_testsuite_property("python", platform.python_version())
    for distribution in ("gunicorn", "psutil", "datadog-checks-base"):
        record_testsuite_property(distribution, importlib.metadata.version(distribution))


@pytest.fixture(autouse=True)
def _fresh_agent(aggregator, datadog_agent):
    """Empty what the base package keeps of earlier tests."""


@pytest.fixture
def all_names_are_shown(monkeypatch):
    """However many other Gunicorns the machine has, nearer names among them."""
    monkeypatch.setattr("datadog_checks.gunicorn.diagnoses.NAMES_SHOWN", 10_000)
