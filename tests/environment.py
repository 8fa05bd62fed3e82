"""Virtual environments for tests that need other packages than those that are installed for the tests."""

import os
import subprocess
import sys
from pathlib import Path


class Environment:
    """An empty virtual environment whose commands cannot import from the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self.folder / "bin/python", *arguments],
            cwd=self.folder,
            env=inherited,
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, *arguments: str) -> None:
        ended = self.python("-m", "pip", "install", "--quiet", *arguments)
        assert ended.returncode == 0, ended.stderr
