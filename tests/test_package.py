import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from datadog_checks.gunicorn import __version__
from tests.environment import Environment
from tests.gunicorn_server import run_gunicorn

ROOT = Path(__file__).parent.parent
PACKAGE = "datadog_checks/gunicorn"
EXAMPLE = f"{PACKAGE}/data/conf.yaml.example"
DIST_INFO = f"datadog_gunicorn-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    return folder / f"datadog_gunicorn-{__version__}-py3-none-any.whl"


@pytest.fixture
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def metadata(contents):
    return email.message_from_bytes(contents[f"{DIST_INFO}/METADATA"])


def test_the_wheel_holds_the_package_and_nothing_else(contents):
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*.py")}
    about = {f"{DIST_INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    assert contents.keys() == modules | {EXAMPLE} | about
    assert {f"{PACKAGE}/{name}.py" for name in ("__init__", "__main__", "check", "config_models/instance")} <= modules


def test_generated_files_match_the_checkout(contents):
    generated = [EXAMPLE, *(name for name in contents if name.startswith(f"{PACKAGE}/config_models/"))]
    assert len(generated) == 6
    assert all(contents[name] == (ROOT / name).read_bytes() for name in generated)


def test_requirements(metadata):
    required = {line.partition(";")[0].strip() for line in metadata.get_all("Requires-Dist") if "extra" not in line}
    assert required == {"datadog-checks-base>=37.21.0"}
    assert sorted(metadata.get_all("Provides-Extra")) == ["demo", "deps", "standalone"]
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize(
    ("extra", "requires"),
    [
        ("deps", {"psutil>=5.9.4"}),
        ("standalone", {"datadog-checks-base[deps]", "psutil>=5.9.4"}),
        ("demo", {"datadog-checks-base[deps]", "psutil>=5.9.4", "gunicorn>=25.1", "setproctitle>=1.3"}),
    ],
)
def test_requirements_of_the_extras(metadata, extra, requires):
    lines = [line.split(";") for line in metadata.get_all("Requires-Dist") if line.endswith(f"extra == '{extra}'")]
    assert {requirement.strip() for requirement, _ in lines} == requires


def test_license_and_authors(metadata, contents):
    assert (metadata["Name"], metadata["Version"]) == ("datadog-gunicorn", __version__)
    assert metadata["Author"] == "datadog-gunicorn contributors"
    assert (metadata["License-Expression"], metadata["License-File"]) == ("BSD-3-Clause", "LICENSE")
    assert contents[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_nothing_identifies_the_build_machine(contents):
    machine = [os.fsencode(path) for path in (ROOT / PACKAGE, sys.executable)]
    assert [name for name, content in contents.items() for path in machine if path in content] == []


class PackageEnvironment(Environment):
    def check(self, *arguments):
        return self.python("-m", "datadog_checks.gunicorn", *arguments)

    def assert_runs_the_check(self):
        with run_gunicorn(workers=1) as server:
            servers = self.check("servers")
            status = self.check("status", "--proc-name", server.name)
        assert server.name in servers.stdout, servers.stderr
        assert (servers.returncode, status.returncode) == (0, 0), status.stderr
        assert f"gunicorn ({__version__})" in status.stdout
        assert "[OK]" in status.stdout


@pytest.fixture
def environment(tmp_path):
    return PackageEnvironment(tmp_path / "environment")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_runs_installed_with_the_standalone_extra(wheel, environment):
    environment.install(f"{wheel}[standalone]")
    environment.assert_runs_the_check()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_runs_installed_beside_the_packages_of_an_agent(wheel, environment):
    environment.install("--no-deps", "--no-index", str(wheel))
    alone = environment.check("servers")
    assert (alone.returncode, alone.stdout) == (2, "")
    (line,) = alone.stderr.splitlines()
    assert line.endswith("pip install 'datadog-gunicorn[standalone]'")

    environment.install("datadog-checks-base[deps]", "psutil")
    assert environment.python("-m", "pip", "check").returncode == 0
    environment.assert_runs_the_check()
    (example,) = environment.folder.glob(f"lib/python*/site-packages/{EXAMPLE}")
    assert example.read_bytes() == (ROOT / EXAMPLE).read_bytes()
