"""Shadows the real setproctitle, so that Gunicorn cannot import it."""

raise ImportError("not installed, as far as this server is to know")
