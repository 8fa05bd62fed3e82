import signal
import sys


def run() -> int:
    # SIGTERM, as from a CI job that is cancelled, ends the run as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # This takes long enough to be interrupted.
        from .command import main  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: run `make assets`, which installs it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("INTERRUPTED before the first request.", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
