"""An application that starts processes of its own when it is loaded: with --preload they are the master's children."""

import multiprocessing
import subprocess

from app import app

manager = multiprocessing.get_context("fork").Manager()
sleeper = subprocess.Popen(["sleep", "301"])

__all__ = ["app"]
