"""Why the listeners of a server remain unknown, above all those that its control group may show. Pure.

The kernel shows any user the control group that a TCP socket was made in. That is no proof: other programs can listen
in the group, and the server may listen elsewhere. So every condition here has to hold.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from .addresses import Address, Family, Listener

# UNIX sockets of Gunicorn that are not for requests: the control socket (25.1 and later), by default, and those of the
# dirty arbiter and its workers (25.0 and later).
_INTERNAL = re.compile(r".*/(gunicorn\.ctl|gunicorn-dirty-[^/]+/(arbiter|worker-\d+)\.sock)", re.DOTALL)


class Reason(StrEnum):
    """Why a server's listeners are unknown, as a sentence with a place for the details of an obstacle."""

    # The addresses.
    UNCLEAR = "All its workers listen on {}, and some of these may be the application's own."
    SHARED_NAME = "Several servers listen on {}, and their connections cannot be told apart."
    DESCRIPTOR = "Its arguments name a descriptor (`fd://`), whose socket another program made."
    CONTAINER = (
        "The Agent runs in a container, or `procfs_path` is not `/proc`: it does not see the host's "
        "control groups as the host does."
    )
    # sock_diag shows only our own network namespace.
    NETWORK = "The server is in another network namespace than the Agent."
    CGROUP_V1 = "The host has no cgroup v2, the version that shows the control groups of sockets."
    ROOT_GROUP = "The server is in the root control group, as are other programs."
    UNREADABLE = "The control group of the server could not be read."
    KERNEL = (
        "The kernel does not show the control groups of sockets (since Linux 5.9) or their users (since Linux 5.3)."
    )
    # The pids of their masters.
    OTHER_SERVER = "Another Gunicorn server is in its control group, with the master process {}."
    # Their pids.
    STRANGER = "Processes that do not belong to the server are in its control group: {}."
    NO_LISTENER = (
        "No TCP socket that listens was made in its control group: the server listens on a UNIX socket, or another "
        "program made the socket, such as systemd for socket activation."
    )
    # The addresses.
    SEVERAL_LISTENERS = "Its control group listens on {}, and some of these may be another program's."
    SHARED_ADDRESS = "Another control group listens on {} as well."
    LIMIT = "The accept queue of {} has another limit than Gunicorn sets by default: another program may listen there."
    UNIX_SOCKET = "The user of the server listens on UNIX sockets, one of which may be the server's: {}."


class Obstacle(NamedTuple):
    """A reason, with the pids or addresses that it is about."""

    reason: Reason
    details: tuple[str, ...] = ()


class Member(NamedTuple):
    """A process of a control group. `is_master` if it looks like a master, `forked` as in `Stat`."""

    parent: int
    forked: bool | None = None
    is_master: bool = False


def judge_place(path: str | None, *, own_procfs: bool, own_network: bool) -> list[Obstacle]:
    """Find the reasons why a server's control group cannot show its listeners.

    `path` is that of its control group, None without cgroup v2. `own_procfs` is true if /proc shows the server,
    `own_network` if the server is in our own network namespace.
    """
    reasons = []
    if not own_procfs or (path and ".." in path.split("/")):
        # A path with `..` leads out of our own cgroup namespace.
        reasons.append(Reason.CONTAINER)
    if not own_network:
        reasons.append(Reason.NETWORK)
    if path is None:
        reasons.append(Reason.CGROUP_V1)
    if path == "/":
        reasons.append(Reason.ROOT_GROUP)
    return list(map(Obstacle, reasons))


def judge_members(
    members: Mapping[int, Member | None], masters: Collection[int], parents: Mapping[int, int]
) -> Iterator[Obstacle]:
    """Find the processes of a group that are not the server's, among those that are neither masters nor workers.

    The descendants of its `masters` and the ancestors of these belong to the server. `parents` holds the parents of all
    these processes. A member that could not be read is None.
    """
    ancestors = {ancestor for master in masters for ancestor in _walk_up(master, parents)}
    servers, strangers = set(), set()
    for pid, member in members.items():
        if member and member.is_master and not (member.forked and member.parent in masters):
            # A fork of a master has its title for some milliseconds.
            servers.add(pid)
        elif not member or (pid not in ancestors and not any(above in masters for above in _walk_up(pid, parents))):
            strangers.add(pid)
    for reason, pids in ((Reason.OTHER_SERVER, servers), (Reason.STRANGER, strangers)):
        if pids:
            yield Obstacle(reason, tuple(map(str, sorted(pids))))


def _walk_up(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    seen = {pid}
    while (pid := parents.get(pid, 0)) and pid not in seen:
        seen.add(pid)
        yield pid


def judge_listeners(
    group: int, listeners: Collection[Listener], uids: Collection[int], default_limit: int | None
) -> Iterator[Obstacle]:
    """Find the reasons why the listener in a group may not be the server's.

    `listeners` are all those of the network namespace, `uids` the user ids of the server's masters.
    """
    tcp = [listener for listener in listeners if listener.address.family is not Family.UNIX]
    unix = [listener for listener in listeners if listener.address.family is Family.UNIX]
    if any(listener.group is None for listener in tcp) or any(listener.uid is None for listener in unix):
        yield Obstacle(Reason.KERNEL)
        return
    inside = [listener for listener in tcp if listener.group == group]
    addresses = {listener.address for listener in inside}
    match len(addresses):
        case 0:
            yield Obstacle(Reason.NO_LISTENER)
        case 1:
            if any(listener.address in addresses and listener.group != group for listener in tcp):
                yield _name(Reason.SHARED_ADDRESS, addresses)
            if default_limit is None or any(listener.limit != default_limit for listener in inside):
                yield _name(Reason.LIMIT, addresses)
        case _:
            yield _name(Reason.SEVERAL_LISTENERS, addresses)
    of_user = {each.address for each in unix if each.uid in uids and not _INTERNAL.fullmatch(each.address.host)}
    if of_user:
        yield _name(Reason.UNIX_SOCKET, of_user)


def name_unclear(addresses: Iterable[Address]) -> Obstacle:
    """Name the addresses that may be the server's or an application's own."""
    return _name(Reason.UNCLEAR, addresses)


def name_shared(addresses: Iterable[Address]) -> Obstacle:
    """Name the addresses that several servers listen on."""
    return _name(Reason.SHARED_NAME, addresses)


def _name(reason: Reason, addresses: Iterable[Address]) -> Obstacle:
    return Obstacle(reason, tuple(map(str, sorted(addresses))))
