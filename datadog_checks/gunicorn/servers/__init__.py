"""Which processes are Gunicorn, their roles, and the applications that they serve. Pure."""
