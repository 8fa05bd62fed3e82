"""One instance's configuration as a value, and what is wrong with it. Pure."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datadog_checks.base import ConfigurationError

from .config_models.instance import InstanceConfig
from .config_models.shared import SharedConfig
from .sockets.addresses import Address, parse_bind
from .text import flatten

# What the Agent reads in every instance (`CommonInstanceConfig` and `commonInstanceConfig` in its source) or its base
# package does (`AgentCheck`), though no template declares it.
UNDECLARED_OPTIONS = frozenset(
    [
        "debug_metrics",
        "disable_generic_tags",
        "empty_default_hostname",
        "enable_legacy_tags_normalization",
        "loader",
        "max_returned_metrics",
        "metric_patterns",
        "min_collection_interval",
        "name",
        "namespace",
        "no_index",
        "process_isolation",
        "profile_memory",
        "service",
        "set_breakpoint",
        "tags",
        "use_agent_proxy",
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
        warnings=tuple(explain_unknown(instance, init_config)),
    )


def explain_unknown(instance: Iterable[object], init_config: Iterable[object]) -> Iterator[str]:
    """Name every option of both sections that nothing reads; they need not be valid."""
    yield from explain_unknown_options("instances", instance, InstanceConfig.model_fields)
    yield from explain_unknown_options("init_config", init_config, SharedConfig.model_fields)


class InvalidOptionError(ConfigurationError):
    """An option is wrong: in `init_config` or in `instances` (`section`); `what` names the option and what is wrong."""

    def __init__(self, section: str, what: str) -> None:
        super().__init__(f"Invalid configuration in `{section}`: {what}")
        self.section = section
        self.what = what


def parse_invalid(message: str) -> InvalidOptionError:
    r"""Parse what the base package says of a section that its model refuses.

    >>> str(parse_invalid("Detected 1 error while loading configuration model `InstanceConfig`:\nbind\n  Not one"))
    'Invalid configuration in `instances`: bind: Not one'
    """
    headline, _, details = message.partition("\n")
    section = "init_config" if "`SharedConfig`" in headline else "instances"
    return InvalidOptionError(section, flatten(details or headline).replace(": Value error, ", ": "))


def explain_unknown_options(section: str, given: Iterable[object], known: Collection[str]) -> Iterator[str]:
    """Name each option of a section that nothing reads, and the known one it is nearest to."""
    for option in map(str, given):
        # The Agent adds options of its own, which start with two underscores.
        if option not in known and option not in UNDECLARED_OPTIONS and not option.startswith("__"):
            (nearest,) = difflib.get_close_matches(option, sorted(known), n=1, cutoff=0)
            yield f"Option `{option}` in `{section}` is unknown and has no effect. Did you mean `{nearest}`?"
