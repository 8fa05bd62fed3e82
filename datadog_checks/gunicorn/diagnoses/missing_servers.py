"""Why no server was found: what runs instead, and what could not be seen. Pure."""

from collections.abc import Collection, Iterable, Iterator

from datadog_checks.gunicorn.host.cgroups import Groups
from datadog_checks.gunicorn.servers.applications import Assignment, Hint, Scan
from datadog_checks.gunicorn.servers.arguments import parse_arguments
from datadog_checks.gunicorn.servers.selection import Selection
from datadog_checks.gunicorn.text import quote

from .findings import Finding, list_first, list_names, sort_by_likeness

_OWN_CONTROL_GROUPS = Finding(
    "control groups",
    "The Agent runs in a cgroup namespace of its own, where the other containers of its own pod show no pod. "
    "The server may be in one of them.",
    "Set `container` to the id of the container.",
)


def explain_absence(selection: Selection, scan: Scan, masters: Iterable[Assignment]) -> Iterator[Finding]:
    """Report which Gunicorn processes a scan found where a server is missing: on the host or in the container."""
    container = selection.container
    where = f"in container {container.given}" if container else "on this host"

    def is_there(groups: Groups) -> bool:
        return container is None or container.has(groups)

    yield from _explain_others(
        selection.proc_name or "", where, [master for master in masters if is_there(master.candidate.groups)]
    )
    yield from _explain_hints(
        [hint for hint in scan.embedded if is_there(hint.groups)],
        [hint for hint in scan.mentions if is_there(hint.groups)],
    )
    if container and container.pod and scan.has_own_groups:
        yield _OWN_CONTROL_GROUPS
    yield from explain_hidden(scan)


def _explain_others(proc_name: str, where: str, masters: Iterable[Assignment]) -> Iterator[Finding]:
    others = [master for master in masters if master.application != proc_name]
    nameless = {str(master.application) for master in others if _is_nameless(master)}
    named = {str(master.application) for master in others if not _is_nameless(master)}
    if nameless:
        # The name may come from a configuration file. Servers with an explicit name are listed below.
        names = sort_by_likeness(proc_name, nameless)
        yield Finding(
            "setproctitle",
            f"Gunicorn runs {where} without a process title, as {list_first(names)}.",
            f"Install setproctitle for it and restart it, or set `proc_name` to {quote(names[0])}.",
        )
    if named:
        names = sort_by_likeness(proc_name, named)
        yield Finding(
            "other names",
            f"Gunicorn runs {where} under {list_first(names)}.",
            f"If {quote(names[0])} was meant, set `proc_name` to it.",
        )


def _is_nameless(master: Assignment) -> bool:
    arguments = master.candidate.arguments
    parsed = arguments and parse_arguments(arguments)
    return arguments is not None and not (parsed and parsed.is_named)


def _explain_hints(embedded: Collection[Hint], mentions: Collection[Hint]) -> Iterator[Finding]:
    if embedded:
        yield Finding(
            "embedded",
            f"Python programs run Gunicorn without a process title: {list_names([hint.text for hint in embedded])}.",
            "Install setproctitle for them and restart them: without a title, their name is unknown.",
        )
    if mentions:
        listed = list_names([hint.text for hint in mentions])
        yield Finding(
            "not recognized",
            f"Processes mention gunicorn but were not recognized as servers: {listed}.",
            "If one of them is the server, install setproctitle for it and restart it.",
        )


def explain_hidden(scan: Scan) -> Iterator[Finding]:
    """Report which processes a scan could not see."""
    if scan.unreadable:
        yield Finding(
            "unreadable processes",
            f"Processes of this host could not be read: {scan.unreadable}.",
            "Mount /proc without hidepid=1, or with gid= set to a group of the Agent's user.",
        )
    if scan.hides_others:
        yield Finding(
            "hidden processes",
            "Processes of other users are hidden from the Agent.",
            "Mount /proc without hidepid=2, or with gid= set to a group of the Agent's user.",
        )
    if scan.of_container:
        yield Finding(
            "container",
            "The Agent runs in a container and sees only the processes of that container.",
            "Use the host's pid namespace (`--pid host`, `hostPID: true`), or set `procfs_path` to the host's /proc.",
        )
