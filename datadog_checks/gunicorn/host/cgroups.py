r"""Containers and pods of processes, from the paths of their control groups (cgroups(7)). Pure.

The forms of the paths are those of Docker, containerd, CRI-O, podman and ECS, with cgroup v1 and v2, with and without
systemd. The kernel shows them relative to the reader's own cgroup namespace.
"""

import re
from typing import NamedTuple

# The id of a container; ECS on Fargate has its own form. Not part of a longer number.
_ID = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{64}|[0-9a-f]{32}-[0-9]+)(?![0-9a-f])")
# systemd's slices write the dashes of a pod's UID as underscores; the UIDs of static pods have none.
_POD = re.compile(r"pod([0-9a-f]{8}([-_]?)[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12})(?![0-9a-f])")

# How many digits of an id Docker and Kubernetes show.
_SHORT = 12


def shorten_id(container: str) -> str:
    """Return the beginning of a container's id, as `docker ps` shows it."""
    return container[:_SHORT]


class Groups(NamedTuple):
    """Where a process runs, according to its control groups.

    `containers` are the ids of the containers around it, the outermost first; `pods` are the UIDs of its pods, 32
    hexadecimal digits each.
    """

    containers: tuple[str, ...] = ()
    pods: frozenset[str] = frozenset()

    @property
    def container(self) -> str | None:
        """The id of its own container, the innermost one; None if it runs in none that is visible from here."""
        return self.containers[-1] if self.containers else None


NO_GROUPS = Groups()


def parse_groups(text: str) -> Groups:
    """Parse /proc/PID/cgroup.

    >>> parse_groups("0::/docker/" + 64 * "a").container == 64 * "a"
    True
    """
    # Paths may contain colons: `.../kubepods-pod1.slice:cri-containerd:1234`.
    paths = [fields[2] for line in text.splitlines() if len(fields := line.split(":", 2)) == 3]  # noqa: PLR2004
    # With cgroup v1, some controllers may not know a nested container.
    containers = max((tuple(_ID.findall(path)) for path in paths), key=len, default=())
    pods = frozenset(normalize_pod(uid) for path in paths for uid, _ in _POD.findall(path))
    return Groups(containers, pods) if containers or pods else NO_GROUPS


def normalize_pod(uid: str) -> str:
    """Remove the separators of a pod's UID.

    >>> normalize_pod("0C2D1F4E-8F3A-4b5c-9d6e-7f8091a2b3c4")
    '0c2d1f4e8f3a4b5c9d6e7f8091a2b3c4'
    """
    return re.sub("[-_]", "", uid).lower()
