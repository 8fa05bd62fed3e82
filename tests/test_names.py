"""Names say what they promise: one thing in the whole repository, and whether a module is pure."""

import ast
import tomllib
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


def test_pure_modules_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["name"] == "Pure modules import no I/O"]
    package = ROOT / "datadog_checks/gunicorn"
    pure = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    # A pure package stands for its modules.
    of_packages = {module for module in pure if module.rpartition(".")[0] in pure}
    assert set(contract["source_modules"]) == pure - of_packages
