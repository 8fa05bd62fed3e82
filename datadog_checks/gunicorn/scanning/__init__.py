"""The Gunicorn servers of the whole host: finds them among all processes, for all instances together."""
