"""Draw what `images.record` recorded: `python -m images.draw CSV` puts the pictures beside the CSV.

One version of matplotlib draws the same files from the same CSV on every machine.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from images.record import TIMEOUT

TITLE = "CPU idle, yet no worker is free"
DESCRIPTION = (
    "Four charts of one Gunicorn over the same time. It has {workers:g} workers, and more and more clients, from 0 to "
    "{clients:g}. From second {begin:.0f} to second {end:.0f} its database hangs. Meanwhile its workers use at most "
    "{cpu_percent:.2g} % of a CPU, {connections_accepted:g} connections are accepted, one by each worker, up to "
    "{connections_queued:g} more are queued, and the oldest heartbeat reaches an age of {heartbeat_age_max:.0f} "
    f"seconds. Its timeout is {TIMEOUT} seconds."
)

# A card of its own keeps the picture legible whatever the background of the page.
CARD, BAND, FAINT, INK = "#F6F8FA", "#DDE2E8", "#59636E", "#1F2328"
# By Okabe and Ito: distinct for every kind of colour vision.
BLUE, GREEN, ORANGE, VERMILION = "#0072B2", "#009E73", "#E69F00", "#D55E00"

STYLE: dict[Any, Any] = {
    # A font that comes with matplotlib.
    "font.family": "DejaVu Sans",
    "font.size": 17,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": CARD,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.14,
    "figure.constrained_layout.w_pad": 0.16,
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
    # Derive ids from this instead of from random numbers.
    "svg.hashsalt": "saturation",
    "xtick.color": INK,
    "ytick.color": INK,
}

Rows = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Panel:
    """A chart of one column of the CSV.

    `peak` labels the largest value while the database hangs: above it, or with `beside` to the right of the hang.
    `limit` is a level and its label.
    """

    column: str
    metric: str
    title: str
    color: str
    top: float
    ticks: dict[float, str]
    peak: str
    beside: bool = False
    limit: tuple[float, str] | None = None
    steps: bool = False


PANELS = [
    Panel(
        column="cpu_percent",
        metric="gunicorn.cpu.percent",
        title="CPU says: idle",
        color=BLUE,
        top=110,
        ticks={0: "0", 50: "50", 100: "100 %"},
        peak="{:.2g} % at most",
    ),
    Panel(
        column="connections_accepted",
        metric="gunicorn.connections state:accepted",
        title="Connections say: full",
        color=GREEN,
        top=5.6,
        ticks={0: "0", 2: "2", 4: "4"},
        peak="{:g} of {workers:g} taken",
        limit=(4, "workers"),
        steps=True,
    ),
    Panel(
        column="connections_queued",
        metric="gunicorn.connections state:queued",
        title="The queue grows",
        color=ORANGE,
        top=8.4,
        ticks={0: "0", 3: "3", 6: "6"},
        peak="{:g} waiting",
        steps=True,
    ),
    Panel(
        column="heartbeat_age_max",
        metric="gunicorn.worker.heartbeat.age.max",
        title="The oldest heartbeat gets older",
        color=VERMILION,
        top=42,
        ticks={0: "0", 15: "15", 30: "30 s"},
        peak="{:.0f} s",
        beside=True,
        limit=(TIMEOUT, "timeout"),
    ),
]


@dataclass(frozen=True)
class Layout:
    """How the panels are arranged: rows and columns, width and height in inches."""

    rows: int
    columns: int
    inches: tuple[float, float]


# Legible on a phone.
COLUMN = Layout(4, 1, (7.2, 11.0))
# Datadog's catalogue requires 16:9, and 1440 pixels:
# https://docs.datadoghq.com/developers/integrations/create_a_tile/
WIDE = Layout(2, 2, (14.4, 8.1))
WIDTH = 1440


def draw(rows: Rows, layout: Layout) -> Figure:
    figure = Figure(figsize=layout.inches, layout="constrained")
    figure.suptitle(TITLE, fontsize=23, fontweight="bold")
    grid = figure.subplots(layout.rows, layout.columns, sharex=True, squeeze=False)
    for panel, axes in zip(PANELS, grid.flat, strict=True):
        draw_panel(axes, panel, rows)
        axes.set_xticks(*label_times(rows))
    begin, end = find_hang(rows)
    grid[0, 0].text((begin + end) / 2, 75, "the database\nhangs", ha="center", va="center", fontstyle="italic")
    return figure


def draw_panel(axes: Axes, panel: Panel, rows: Rows) -> None:
    seconds, values = column(rows, "second"), column(rows, panel.column)
    begin, end = find_hang(rows)
    axes.set_title(panel.title, loc="left", fontsize=20, fontweight="bold", pad=32)
    axes.text(0, 1.07, panel.metric, transform=axes.transAxes, fontsize=15, color=FAINT, family="DejaVu Sans Mono")
    axes.set(xlim=(0, seconds[-1]), ylim=(0, panel.top))
    axes.set_yticks(list(panel.ticks), list(panel.ticks.values()))
    axes.tick_params(length=0)
    axes.tick_params(axis="x", pad=8)

    axes.axvspan(begin, end, color=BAND, linewidth=0)
    if panel.limit:
        level, label = panel.limit
        axes.axhline(level, color=INK, linestyle="--", linewidth=1.5)
        axes.annotate(label, (0, level), (4, 4), textcoords="offset points")
    if panel.steps:
        # A sample stands for the second before it.
        axes.fill_between(seconds, values, step="pre", color=panel.color, alpha=0.35, linewidth=0)
    style = "steps-pre" if panel.steps else "default"
    axes.plot(seconds, values, color=panel.color, linewidth=3.5, drawstyle=style, clip_on=False)

    peak = find_peaks(rows)[panel.column]
    axes.annotate(
        panel.peak.format(peak, workers=count_workers(rows)),
        (end if panel.beside else (begin + end) / 2, peak),
        (10, -14) if panel.beside else (0, 6),
        textcoords="offset points",
        ha="left" if panel.beside else "center",
        fontweight="bold",
    )


def column(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows]


def find_hang(rows: Rows) -> tuple[float, float]:
    """Find the seconds at which the hang began and ended, each of which is the time of the sample just before."""
    hangs = [index for index, row in enumerate(rows) if row["database_hangs"]]
    return rows[hangs[0] - 1]["second"], rows[hangs[-1]]["second"]


def find_peaks(rows: Rows) -> dict[str, float]:
    """Find the largest value of each column while the database hung."""
    return {name: max(row[name] for row in rows if row["database_hangs"]) for name in rows[0]}


def count_workers(rows: Rows) -> float:
    return max(row["workers_idle"] + row["workers_working"] for row in rows)


def label_times(rows: Rows) -> tuple[list[float], list[str]]:
    labelled = [row for row in rows if row["second"] % 20 == 0]
    return column(labelled, "second"), [f"{row['second']:g} s\n{row['clients']:g} clients" for row in labelled]


def describe(rows: Rows) -> str:
    begin, end = find_hang(rows)
    return DESCRIPTION.format(**find_peaks(rows), begin=begin, end=end, workers=count_workers(rows))


def format_svg(figure: Figure, description: str) -> str:
    """Format the picture as SVG with a title and a description, without a date."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Title": TITLE, "Date": None, "Creator": None})
    return svg.getvalue().replace("</title>", f"</title>\n <desc>{description}</desc>", 1)


def save_png(figure: Figure, path: Path) -> None:
    """Save the picture as a PNG that is WIDTH pixels wide, without an alpha channel."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=WIDTH / figure.get_figwidth())
    Image.open(png).convert("RGB").save(path, optimize=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m images.draw", description="Draw a recording.")
    parser.add_argument("csv", type=Path, help="the recording")
    path = parser.parse_args(arguments).csv
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    with mpl.rc_context(STYLE):
        path.with_suffix(".svg").write_text(format_svg(draw(rows, COLUMN), describe(rows)))
        save_png(draw(rows, COLUMN), path.with_suffix(".png"))
        save_png(draw(rows, WIDE), path.with_name(f"{path.stem}_wide.png"))


if __name__ == "__main__":
    main(sys.argv[1:])
