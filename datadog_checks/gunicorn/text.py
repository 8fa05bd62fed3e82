"""Text that belongs to other processes, made fit for a terminal, a log and a status page. Pure."""


def escape(text: str) -> str:
    r"""Escape what could move the cursor, reorder the line or break it.

    >>> print(escape("web\x1b[2J\n\u202e"))
    web\x1b[2J\n\u202e
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def shorten(text: str, limit: int = 64) -> str:
    """Escape a text, and cut it where it is longer than `limit` characters then.

    >>> shorten("gunicorn", limit=4)
    'guni...'
    """
    escaped = escape(text)
    return escaped if len(escaped) <= limit else f"{escaped[:limit]}..."


def quote(name: str) -> str:
    """Quote a name, escaped and cut.

    >>> quote("web")
    '`web`'
    """
    return f"`{shorten(name)}`"
