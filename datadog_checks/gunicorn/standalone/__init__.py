"""The check without an Agent: `python -m datadog_checks.gunicorn`."""
