import sys

try:
    from .standalone.cli import main

    code = main()
except KeyboardInterrupt:
    # Before `main` could do anything about it.
    code = 130
sys.exit(code)
