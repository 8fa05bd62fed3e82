"""Format text for terminals, logs and the status page: escape, truncate, put on one line. Pure."""


def escape(text: str) -> str:
    r"""Escape characters that could move the cursor, or reorder or break the line.

    >>> print(escape("web\x1b[2J\n\u202e"))
    web\x1b[2J\n\u202e
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


# Datadog truncates longer tags.
TAG_CHARACTERS = 200


def format_tag(key: str, value: str) -> str:
    r"""Format a tag whose value comes from another process: escaped, and cut off where it is too long.

    >>> print(format_tag("app", "a,b|\n"))
    app:a\x2cb\x7c\n
    """
    tag = f"{key}:"
    for char in value[:TAG_CHARACTERS]:
        escaped = f"\\x{ord(char):02x}" if char in ",|" else escape(char)
        if len(tag) + len(escaped) > TAG_CHARACTERS:
            break
        tag += escaped
    return tag


def shorten(text: str, limit: int = 64) -> str:
    """Escape a text, then truncate it to `limit` characters.

    >>> shorten("gunicorn", limit=4)
    'guni...'
    """
    escaped = escape(text)
    return escaped if len(escaped) <= limit else f"{escaped[:limit]}..."


def quote(name: str) -> str:
    """Escape, truncate and quote a name.

    >>> quote("web")
    '`web`'
    """
    return f"`{shorten(name)}`"


def flatten(text: str) -> str:
    r"""Join the lines of a message; an indented line explains the line before it.

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
