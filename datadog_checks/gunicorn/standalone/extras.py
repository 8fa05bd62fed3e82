"""The error message for a missing package. Imports only the standard library, which is always installed."""


def explain_missing(error: ModuleNotFoundError, extra: str) -> str:
    """Format one line for stderr that names the missing package and the extra that installs it.

    >>> explain_missing(ModuleNotFoundError(name="psutil"), extra="standalone")
    "datadog_checks.gunicorn: the package psutil is missing: pip install 'datadog-gunicorn[standalone]'"
    """
    return (
        f"datadog_checks.gunicorn: the package {error.name or error} is missing: "
        f"pip install 'datadog-gunicorn[{extra}]'"
    )
