"""A name stands for one thing in the whole repository."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("assets", "datadog_checks", "images", "tests")
# Python and pytest give these their names.
FIXED = {"__init__.py", "__main__.py", "conftest.py"}


def find_repeated(names):
    return [name for name, count in Counter(names).items() if count > 1]


def test_no_two_modules_have_one_name():
    names = [path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert {"check.py", "test_names.py", "loader.py", "draw.py"} <= set(names)
    assert [name for name in find_repeated(names) if name not in FIXED] == []
