"""`make assets`: the options that its variables become."""

import os
import shutil
import subprocess

import pytest

from .local_account import KEYS, ROOT

pytestmark = [
    pytest.mark.loader,
    pytest.mark.skipif(not shutil.which("make"), reason="needs make"),
]
OPTIONS = ("--apply", "--remove", "--overwrite", "--only")


def make(folder, *arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "MAKE"))}
    return subprocess.run(
        ["make", "assets", *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path):
    """A checkout with what the Makefile reads."""
    for name in ("Makefile", ".ci/venv", ".ci/pythons", "datadog_checks/gunicorn/__about__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        # Older than the environment, so that make does not build that again.
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


@pytest.fixture
def ready(checkout):
    """A checkout in which the command is `echo`, which shows the options."""
    environment = checkout / ".venv/assets"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(shutil.which("echo"))
    (environment / "ready").touch()
    return checkout


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ([], []),
        (["APPLY=1"], ["--apply"]),
        (["APPLY=1", "REMOVE=1", "OVERWRITE=1"], ["--apply", "--remove", "--overwrite"]),
        (["APPLY=", "REMOVE=0", "OVERWRITE=no"], []),
        (["ONLY=crash_loop gunicorn.workers"], ["--only", "crash_loop", "--only", "gunicorn.workers"]),
    ],
    ids=str,
)
def test_variables_become_options(ready, variables, options):
    result = make(ready, *variables, **KEYS)
    assert (result.stdout.split(), result.stderr) == (["-m", "assets.upload", *options], "")


@pytest.mark.parametrize("value", ["false", "off", "No", "yes", "true", "2"])
@pytest.mark.parametrize("name", ["APPLY", "REMOVE", "OVERWRITE"])
def test_other_values_are_errors(ready, name, value):
    result = make(ready, f"{name}={value}", **KEYS)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{name}={value}: use {name}=1." in result.stderr


def test_variables_in_the_environment_are_ignored(ready):
    result = make(ready, APPLY="1", REMOVE="1", OVERWRITE="1", ONLY="crash_loop", **KEYS)
    assert result.stdout.split() == ["-m", "assets.upload"]


@pytest.mark.parametrize("keys", [{}, {"DD_API_KEY": KEYS["DD_API_KEY"]}], ids=len)
def test_without_keys_nothing_is_installed(checkout, keys):
    result = make(checkout, **keys)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("DD_API_KEY or DD_APP_KEY: not set. Create keys in Datadog")
    assert not (checkout / ".venv").exists()
