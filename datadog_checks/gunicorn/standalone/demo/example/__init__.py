"""The application and the configuration of the demo's Gunicorn, which loads both by path."""
