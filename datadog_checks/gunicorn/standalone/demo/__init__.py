"""The command `demo`: a real Gunicorn, some load, and the results of the check."""
