"""Print the table of monitors and stories: `python -m tests.assets.stories`."""

import sys

from tests.assets.test_monitors import MONITORS

from .catalogue import BEGIN, FAILURES, MINUTE, ORDINARY
from .replay import ALERT, WARN, replay


def format_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Print which monitors alerted in each story, and how many minutes after the failure began; - means silence."""
    sys.stdout.write(format_row("story", "weeks", *MONITORS) + format_row(*["---"] * (len(MONITORS) + 2)))
    for name, story in {**ORDINARY, **FAILURES}.items():
        weeks = 2 if name in ORDINARY else story.weeks
        telemetry = story.simulate(weeks)
        cells = []
        for monitor in MONITORS.values():
            changes = replay(monitor, telemetry)
            alerts = [(change.time - BEGIN) / MINUTE for change in changes if change.state == ALERT]
            warns = any(change.state == WARN for change in changes)
            cells.append(f"{alerts[0]:.0f} min" if alerts else "warns" if warns else "-")
        sys.stdout.write(format_row(name, f"{weeks:g}", *cells))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
