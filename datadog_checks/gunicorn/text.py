"""Text that belongs to other processes, made fit for a terminal, a log and a status page. Pure."""


def escape(text: str) -> str:
    r"""Escape what could move the cursor, reorder the line or break it.

    >>> print(escape("web\x1b[2J\n\u202e"))
    web\x1b[2J\n\u202e
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def quote(name: str, limit: int = 64) -> str:
    """Quote a name, escaped, and cut where it is longer than `limit` characters.

    >>> quote("web")
    '`web`'
    """
    escaped = escape(name)
    return f"`{escaped}`" if len(escaped) <= limit else f"`{escaped[:limit]}...`"
