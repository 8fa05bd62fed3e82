import sys

try:
    from .standalone.cli import main

    code = main()
except KeyboardInterrupt:
    # Interrupted before `main` could handle it.
    code = 130
sys.exit(code)
