"""What the demo's Gunicorn serves, and its configuration. Gunicorn loads both by path."""
