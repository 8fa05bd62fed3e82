"""The addresses that a server's arguments give. Pure."""

import contextlib
from typing import NamedTuple

from datadog_checks.gunicorn.servers.arguments import parse_arguments

from .addresses import Address, parse_bind


class Binds(NamedTuple):
    """The addresses in a server's arguments.

    `complete` is true if the server listens on no others, `inherited` if it listens on descriptors instead.
    """

    addresses: tuple[Address, ...]
    complete: bool
    inherited: bool = False


def parse_binds(arguments: tuple[str, ...]) -> Binds:
    """Parse the addresses in a server's arguments, skipping those that `parse_bind` rejects.

    With a descriptor among them, Gunicorn ignores the addresses (`gunicorn.sock.create_sockets`, 20.1 to 27.0).

    >>> binds = parse_binds(("-b", ":8000", "--bind=:0", "app:app"))
    >>> [str(address) for address in binds.addresses], binds.complete
    (['0.0.0.0:8000'], False)
    """
    given = parse_arguments(arguments)
    binds = given.binds if given else ()
    if any(text.strip().startswith("fd://") for text in binds):
        return Binds((), complete=False, inherited=True)
    addresses = []
    for text in binds:
        with contextlib.suppress(ValueError):
            addresses.append(parse_bind(text))
    return Binds(tuple(addresses), complete=bool(addresses) and len(addresses) == len(binds))
