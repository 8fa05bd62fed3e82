"""Commands change logging, the stubs and the environment of their process: undo it after each test."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _undone(monkeypatch, tmp_path_factory):
    # A server's control socket is in the home folder.
    home = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("XDG_RUNTIME_DIR", home)
    monkeypatch.setenv("DDEV_SKIP_GENERIC_TAGS_CHECK", "")
    logger = logging.getLogger("datadog_checks")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])
