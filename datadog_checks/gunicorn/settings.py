"""One instance's configuration as values, and what it says that nothing reads. Pure."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .addresses import Address, parse_bind
from .config_models.instance import InstanceConfig
from .config_models.shared import SharedConfig

# Read by the Agent or by its base package in every check, though no template declares them.
UNDECLARED_OPTIONS = frozenset(
    [
        "debug_metrics",
        "loader",
        "max_returned_metrics",
        "process_isolation",
        "profile_memory",
        "set_breakpoint",
    ]
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an instance is to do.

    `bind` are the addresses to take for the servers' where nothing else tells them. `command` is the program that is
    asked for its version, with its arguments; `command_given` whether it was configured at all. `tags` go with every
    submission. `warnings` name the options that nothing reads.
    """

    proc_name: str
    bind: tuple[Address, ...]
    collect_connections: bool
    command: tuple[str, ...]
    command_given: bool
    tags: tuple[str, ...]
    warnings: tuple[str, ...]


def build_settings(
    instance: Mapping[str, Any], model: InstanceConfig, init_config: Mapping[str, Any], shared: SharedConfig
) -> Settings:
    """Build an instance's settings from its sections as they were written and as the models validated them."""
    given = model.gunicorn or shared.gunicorn
    return Settings(
        proc_name=model.proc_name,
        bind=tuple(map(parse_bind, model.bind or ())),
        collect_connections=model.collect_connections is not False,
        command=tuple((given or "gunicorn").split()),
        command_given=bool(instance.get("gunicorn") or init_config.get("gunicorn")),
        tags=(f"app:{model.proc_name}", *(model.tags or ())),
        warnings=(
            *explain_unknown_options("instances", instance, InstanceConfig.model_fields),
            *explain_unknown_options("init_config", init_config, SharedConfig.model_fields),
        ),
    )


def explain_unknown_options(section: str, given: Iterable[object], known: Collection[str]) -> Iterator[str]:
    """Name each option of a section that nothing reads, and the known one it is nearest to."""
    for option in map(str, given):
        # The Agent adds options of its own, which start with two underscores.
        if option not in known and option not in UNDECLARED_OPTIONS and not option.startswith("__"):
            (nearest,) = difflib.get_close_matches(option, sorted(known), n=1, cutoff=0)
            yield f"Option `{option}` in `{section}` is unknown and has no effect. Did you mean `{nearest}`?"
