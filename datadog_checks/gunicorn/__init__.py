"""The Gunicorn check: what the Agent imports, and what `python -m datadog_checks.gunicorn` runs."""

import sys

from .__about__ import __version__

try:
    from .check import GunicornCheck
except ModuleNotFoundError as error:
    # `python -m` imports this package before __main__ can say a word, and gives itself away by this argv[0]
    # (the documentation of sys.argv): only there is a missing package the user's to install.
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
