"""Run `python -m datadog_checks.gunicorn` in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import datadog_checks.gunicorn

ROOT = Path(datadog_checks.gunicorn.__file__).parents[2]


def start(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the command with `cwd` as its current and its home directory."""
    # Programs that a shell starts in the background ignore SIGINT, and the command would inherit this.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "datadog_checks.gunicorn", *arguments],
            cwd=cwd,
            env={
                **os.environ,
                "HOME": str(cwd),
                "XDG_RUNTIME_DIR": str(cwd),
                "TMPDIR": str(cwd),
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(env or {}),
            },
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, former)


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    with start(*arguments, cwd=cwd, env=env) as process:
        try:
            stdout, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
