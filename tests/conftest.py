"""A uniform environment for all tests, and its description in every report."""

import compileall
import importlib.metadata
import importlib.util
import os
import platform
import signal

import pytest
from _pytest.junitxml import xml_key


def pytest_configure(config):
    """Reset what tests and their servers would inherit from `nohup`, a background job or a umask."""
    if not hasattr(config, "workerinput"):
        # The servers write no bytecode, and without any, each of the hundreds of them takes two thirds longer to start.
        # Gunicorn 20.1 imports pkg_resources.
        for package in ("gunicorn", "pkg_resources", "setuptools"):
            found = importlib.util.find_spec(package)
            if found:
                compileall.compile_dir(found.submodule_search_locations[0], quiet=2)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    # It would hide output that Python has to flush at exit.
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
    """Reset the state that the base package keeps between tests."""


@pytest.fixture
def all_names_are_shown(monkeypatch):
    """Show all names, even if other servers on the machine have more similar ones."""
    monkeypatch.setattr("datadog_checks.gunicorn.diagnoses.findings.NAMES_SHOWN", 10_000)
