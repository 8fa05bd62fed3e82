import sys

try:
    from .command import main
except ModuleNotFoundError as error:
    print(f"{error.name} is not installed: run `make assets`, which installs it", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
