"""Stands before the real setproctitle: to Gunicorn it is as if none were installed."""

raise ImportError("not installed, as far as this server is to know")
