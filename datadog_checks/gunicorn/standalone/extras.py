"""What to tell a user whose Python lacks a package. Only the standard library, because nothing else may be there."""


def explain_missing(error: ModuleNotFoundError, extra: str) -> str:
    """Word the one line for stderr: which package is missing, and the extra that brings it.

    >>> explain_missing(ModuleNotFoundError(name="psutil"), extra="standalone")
    "datadog_checks.gunicorn: the package psutil is missing: pip install 'datadog-gunicorn[standalone]'"
    """
    return (
        f"datadog_checks.gunicorn: the package {error.name or error} is missing: "
        f"pip install 'datadog-gunicorn[{extra}]'"
    )
