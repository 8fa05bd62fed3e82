"""Which processes are Gunicorn, what each is to its server, and which application it serves. Pure."""
