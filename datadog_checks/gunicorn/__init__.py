"""The Gunicorn check, as the Agent imports it and `python -m datadog_checks.gunicorn` runs it."""

import sys

from .__about__ import __version__

try:
    from .check import GunicornCheck
except ModuleNotFoundError as error:
    # `python -m` imports this package before __main__, and sets sys.argv[0] to "-m" (documentation of sys.argv).
    # Only then should the user be told which package to install.
    if sys.argv[:1] != ["-m"]:
        raise
    from .standalone.extras import explain_missing

    print(explain_missing(error, extra="standalone"), file=sys.stderr)  # noqa: T201
    sys.exit(2)
except KeyboardInterrupt:
    if sys.argv[:1] != ["-m"]:
        raise
    sys.exit(130)

__all__ = ["GunicornCheck", "__version__"]
