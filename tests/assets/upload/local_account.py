"""The command as a user runs it, against a local API."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from assets.upload.command import main
from assets.upload.world import World

from .datadog import API_KEY, APPLICATION_KEY

ROOT = Path(__file__).parents[3]
DASHBOARD = "dashboards/gunicorn_dashboard.json"
KEPT_METRICS = ("gunicorn.connections", "gunicorn.request.duration.count", "gunicorn.workers")
ROWS = ("metric_name", *(f"{name}," for name in KEPT_METRICS))
MONITORS = sorted(path.stem for path in (ROOT / "assets/monitors").iterdir())
# The monitors, the dashboard and the pipeline.
OBJECTS = len(MONITORS) + 2
KEYS = {"DD_API_KEY": API_KEY, "DD_APP_KEY": APPLICATION_KEY}


class Outcome:
    """The exit code and the output of a run."""

    def __init__(self, code, lines):
        self.code = code
        self.lines = lines

    def line(self, start):
        """Find the only line that begins with this text, with its whitespace reduced to single blanks."""
        (found,) = (line for line in map(squeeze, self.lines) if line.startswith(start))
        return found

    def line_of(self, kind, name):
        return self.line(f"{kind} {name} ").removeprefix(f"{kind} {name} ")


def squeeze(line):
    return " ".join(line.split())


def some_widgets(dashboard):
    group = dashboard["widgets"][0]
    return [{**group, "definition": {**group["definition"], "widgets": group["definition"]["widgets"][:2]}}]


class LocalAccount:
    def __init__(self, datadog, url, folder):
        self.datadog = datadog
        self.url = url
        self.slept = []
        self.environment = dict(KEYS)
        self.timeout = (5.0, 5.0)
        self.checkout = folder / "checkout"
        shutil.copytree(ROOT / "assets", self.checkout / "assets", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "metadata.csv", self.checkout)
        self.files = {path.relative_to(self.checkout) for path in self.checkout.rglob("*")}

    def shorten_files(self):
        """Keep some metrics, each of which takes a request, and some widgets, which the library is slow to check."""
        rows = (ROOT / "metadata.csv").read_text().splitlines(keepends=True)
        (self.checkout / "metadata.csv").write_text("".join(row for row in rows if row.startswith(ROWS)))
        self.change_file(DASHBOARD, lambda dashboard: dashboard.update(widgets=some_widgets(dashboard)))

    def run(self, *arguments):
        """Run the command, and check that no key is in its output."""
        lines = []
        world = World(self.checkout, lines.append, self.slept.append, self.timeout)
        code = main([*arguments, "--api-url", self.url], self.environment, world)
        for key in KEYS.values():
            assert not any(key in line for line in lines)
        return Outcome(code, lines)

    def apply(self, *arguments):
        return self.run("--apply", *arguments)

    def remove(self, *arguments):
        return self.run("--apply", "--remove", *arguments)

    def start(self, *arguments, **environment):
        """Start the command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "assets.upload", *arguments, "--api-url", self.url],
            cwd=self.checkout,
            # The library raises a SyntaxWarning.
            env={**os.environ, **KEYS, "PYTHONWARNINGS": "ignore", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def change_file(self, path, change):
        """Change a file of the assets with a function, as a new version might."""
        file = self.checkout / "assets" / path
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
