"""Shadows the real setproctitle, so that Gunicorn cannot import it."""

raise ImportError("hidden, so that this server sets no titles")
