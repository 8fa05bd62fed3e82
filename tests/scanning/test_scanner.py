import pytest

from datadog_checks.gunicorn.scanning.scanner import _may_be_master


@pytest.mark.parametrize(
    "script", ["/bin/gunicorn3", "web.pyz", "web.pex", "/c/unzipped_pexes/4/facdfa2a", "/c/venvs/4/7c6591eb/pex"]
)
def test_command_lines_that_are_parsed(script):
    assert _may_be_master(("python3", script, "app:app"))
    assert not _may_be_master(("python3", "serve.py", script))
