"""The examples in docstrings."""

import doctest
import importlib
from pathlib import Path

import pytest

import datadog_checks.gunicorn

PACKAGE = Path(datadog_checks.gunicorn.__file__).parent
MODULES = [
    ".".join(["datadog_checks.gunicorn", *path.relative_to(PACKAGE).with_suffix("").parts])
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
