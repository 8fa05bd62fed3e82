"""What prevents an instance from collecting its metrics, and how to fix it."""
