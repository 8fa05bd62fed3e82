"""The command `demo`: a real Gunicorn, some load, and what the check says of it."""
