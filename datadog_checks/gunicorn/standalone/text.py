"""Text for a terminal. Pure."""

from collections.abc import Iterable, Sequence

from datadog_checks.gunicorn.text import escape


def flatten(text: str) -> str:
    r"""Put a message of several lines on one; an indented line explains the one before it.

    >>> flatten("2 errors:\nproc_name\n  Field required\ntags\n  Not a list")
    '2 errors: proc_name: Field required; tags: Not a list'
    """
    flat = ""
    for line in filter(str.strip, text.splitlines()):
        if not flat:
            separator = ""
        elif flat.endswith(":"):
            separator = " "
        else:
            separator = ": " if line[0].isspace() else "; "
        flat += separator + line.strip()
    return flat


def format_table(rows: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """Align the columns of rows of one length, and escape the cells; a column without a word is left out."""
    table = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in table
    ]
