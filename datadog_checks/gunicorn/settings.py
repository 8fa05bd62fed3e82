"""One instance's configuration as a value, and its errors. Pure."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datadog_checks.base import ConfigurationError

from .config_models.instance import Discovery as DiscoveryConfig
from .config_models.instance import InstanceConfig
from .config_models.shared import SharedConfig
from .servers.containers import parse_container
from .servers.selection import LIMIT as DISCOVERY_LIMIT
from .servers.selection import Discovery, Selection
from .sockets.addresses import Address, parse_bind
from .text import flatten

# Options that the Agent (`CommonInstanceConfig` and `commonInstanceConfig` in its source) or its base package
# (`AgentCheck`) reads from every instance, although no template declares them.
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
    """The settings of an instance.

    `selection` says which servers it watches. `bind` lists the addresses of servers whose listeners cannot be found.
    `command` is the program, with its arguments, that prints the version; `command_given` is false if it is the
    default. `tags` are on every submission. `warnings` name the unknown options.
    """

    selection: Selection
    bind: tuple[Address, ...]
    collect_connections: bool
    command: tuple[str, ...]
    command_given: bool
    tags: tuple[str, ...]
    warnings: tuple[str, ...]


def build_settings(
    instance: Mapping[str, Any], model: InstanceConfig, init_config: Mapping[str, Any], shared: SharedConfig
) -> Settings:
    """Build an instance's settings from its sections, as written and as validated by the models."""
    given = model.gunicorn or shared.gunicorn
    return Settings(
        selection=_build_selection(model),
        bind=tuple(map(parse_bind, model.bind or ())),
        collect_connections=model.collect_connections is not False,
        command=tuple((given or "gunicorn").split()),
        command_given=bool(instance.get("gunicorn") or init_config.get("gunicorn")),
        tags=model.tags or (),
        warnings=tuple(explain_unknown(instance, init_config)),
    )


def _build_selection(model: InstanceConfig) -> Selection:
    given = model.discovery
    limit = DISCOVERY_LIMIT if given is None or given.limit is None else given.limit
    return Selection(
        proc_name=model.proc_name,
        container=None if model.container is None else parse_container(model.container),
        discovery=None if given is None else Discovery(given.include or (), given.exclude or (), limit),
    )


def explain_unknown(instance: Mapping[str, Any], init_config: Iterable[object]) -> Iterator[str]:
    """Warn of each unknown option of both sections, which may be invalid."""
    yield from explain_unknown_options("instances", instance, InstanceConfig.model_fields)
    if isinstance(instance.get("discovery"), Mapping):
        # The Agent has no options of its own in there.
        yield from explain_unknown_options("discovery", instance["discovery"], DiscoveryConfig.model_fields, ())
    yield from explain_unknown_options("init_config", init_config, SharedConfig.model_fields)


class InvalidOptionError(ConfigurationError):
    """An invalid option. `section` is `init_config` or `instances`; `what` names the option and the error."""

    def __init__(self, section: str, what: str) -> None:
        super().__init__(f"Invalid configuration in `{section}`: {what}")
        self.section = section
        self.what = what


def parse_invalid(message: str) -> InvalidOptionError:
    r"""Parse the base package's message about a section that its model rejects.

    >>> str(parse_invalid("Detected 1 error while loading configuration model `InstanceConfig`:\nbind\n  Not one"))
    'Invalid configuration in `instances`: bind: Not one'
    """
    headline, _, details = message.partition("\n")
    section = "init_config" if "`SharedConfig`" in headline else "instances"
    return InvalidOptionError(section, flatten(details or headline).replace("Value error, ", ""))


def explain_unknown_options(
    section: str, given: Iterable[object], known: Collection[str], undeclared: Collection[str] = UNDECLARED_OPTIONS
) -> Iterator[str]:
    """Warn of each unknown option of a section, and suggest the most similar known one."""
    for option in map(str, given):
        # The Agent adds options that start with two underscores.
        if option not in known and option not in undeclared and not option.startswith("__"):
            (nearest,) = difflib.get_close_matches(option, sorted(known), n=1, cutoff=0)
            yield f"Option `{option}` in `{section}` is unknown and has no effect. Did you mean `{nearest}`?"
