"""What every report says about the environment that it was made in."""

import importlib.metadata
import platform

import pytest


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
