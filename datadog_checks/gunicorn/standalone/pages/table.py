"""Tables for a terminal. Pure."""

from collections.abc import Iterable, Sequence

from datadog_checks.gunicorn.text import escape


def format_table(rows: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """Escape the cells and align the columns; skips columns that are empty."""
    table = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in table
    ]
