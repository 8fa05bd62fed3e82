"""An application that starts processes when it is imported: with --preload they are children of the master."""

import multiprocessing
import subprocess

from app import app

manager = multiprocessing.get_context("fork").Manager()
sleeper = subprocess.Popen(["sleep", "301"])

__all__ = ["app"]
