"""The option `container`: which container or pod an instance watches. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from datadog_checks.gunicorn.host.cgroups import Groups, normalize_pod

_PID = re.compile(r"[0-9]{1,7}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# A pod's UID without dashes: static pods have these.
_UID = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
# A container's id or the beginning of one, and an id of ECS on Fargate.
_ID = re.compile(r"[0-9a-f]{12,64}|[0-9a-f]{32}-[0-9]+", re.IGNORECASE)


class Container(NamedTuple):
    """A container or a pod, as `given` in the configuration.

    Its servers are those in a container whose id begins with `beginning`, or in the pod `pod`. With a `pid`, the id of
    its container is still unknown.
    """

    given: str
    pid: int | None = None
    beginning: str | None = None
    pod: str | None = None

    def has(self, groups: Groups) -> bool:
        """Whether a process with these control groups runs in it."""
        return self.pod in groups.pods or bool(self.find_ids([groups]))

    def find_ids(self, all_groups: Iterable[Groups]) -> set[str]:
        """Find the ids of containers that begin with `beginning`; several if it is ambiguous."""
        beginning = self.beginning
        if beginning is None:
            return set()
        return {found for groups in all_groups for found in groups.containers if found.startswith(beginning)}


def parse_container(value: object) -> Container:
    """Parse a value of the option. Raises ValueError.

    >>> parse_container("4711").pid
    4711
    >>> parse_container("ABCDEF012345").beginning
    'abcdef012345'
    >>> parse_container("0c2d1f4e-8f3a-4b5c-9d6e-7f8091a2b3c4").pod
    '0c2d1f4e8f3a4b5c9d6e7f8091a2b3c4'
    """
    # Without quotes, YAML parses digits as a number. A Boolean is a number in Python, too.
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if _PID.fullmatch(text) and int(text) > 0:
        return Container(text, pid=int(text))
    if _UUID.fullmatch(text):
        return Container(text, pod=normalize_pod(text))
    if _UID.fullmatch(text):
        return Container(text, beginning=text.lower(), pod=text.lower())
    if _ID.fullmatch(text):
        return Container(text, beginning=text.lower())
    raise ValueError(
        f"must be a container's id (its first 12 digits or more), a pod's UID, or the pid of a process in a container, "
        f"in quotes; not {value!r}"
    )
