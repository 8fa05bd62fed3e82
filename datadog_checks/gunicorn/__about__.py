"""The version of this package: the status page shows it, the wheel is named by it."""

__version__ = "5.1.0"
