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
