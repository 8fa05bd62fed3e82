import pytest

from datadog_checks.gunicorn.standalone.extras import explain_missing
from tests.standalone.command_process import ROOT, run


def test_explain_missing():
    assert explain_missing(ModuleNotFoundError(name="psutil"), extra="standalone") == (
        "datadog_checks.gunicorn: the package psutil is missing: pip install 'datadog-gunicorn[standalone]'"
    )


def test_explain_missing_when_the_error_names_no_package():
    assert "the package lost is missing" in explain_missing(ModuleNotFoundError("lost"), extra="demo")


@pytest.mark.parametrize("package", ["psutil", "lazy_loader"])
def test_without_the_packages_of_the_extra(tmp_path, package):
    # Python imports sitecustomize at its start. With this finder, it does not find the package.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {package!r}:\n"
        f"            raise ModuleNotFoundError(name={package!r})\n"
        "sys.meta_path.insert(0, Missing())\n"
    )

    ended = run("status", cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == explain_missing(ModuleNotFoundError(name=package), extra="standalone") + "\n"
