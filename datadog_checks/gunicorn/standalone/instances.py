"""The instances to run: read from a conf.d as the Agent reads it, or built from names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# The files of a conf.d, in the order in which they are tried.
CONF_FILES = ("gunicorn.d/conf.yaml", "gunicorn.yaml")


class UsageError(Exception):
    """Wrong usage or configuration. The message is one line that names the error and its place."""


@dataclass(frozen=True)
class Instance:
    """One instance as it was configured, not validated.

    `source` names it on the status page, `where` in an error message.
    """

    source: str
    where: str
    options: Mapping[str, Any]
    init_config: Mapping[str, Any] = field(default_factory=dict)
    init_config_where: str = ""


def build_instances(names: Iterable[str]) -> list[Instance]:
    """Build an instance for each `--proc-name`."""
    return [
        Instance(source=f"command line: --proc-name {name}", where=f"--proc-name {name!r}", options={"proc_name": name})
        for name in names
    ]


def read_instances(confds: Sequence[Path]) -> list[Instance]:
    """Read the first configuration file found in these directories.

    Raises UsageError if there is no file, or if it cannot be read or is invalid.
    """
    paths = [confd.absolute() / name for confd in confds for name in CONF_FILES]
    for path in paths:
        content = _read_if_there(path)
        if content is not None:
            return parse_instances(content, path)
    if len(confds) == 1 and not confds[0].is_dir():
        raise UsageError(f"{confds[0].absolute()}: no such directory")
    raise UsageError(f"no configuration found, tried {', '.join(map(str, paths))}; use --confd DIR or --proc-name NAME")


def _read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def parse_instances(content: bytes, path: Path) -> list[Instance]:
    """Split a conf.yaml into its instances.

    Raises UsageError if it is not YAML, or not shaped like a check's configuration.

    >>> [instance.options for instance in parse_instances(b"instances: [{proc_name: web}]", Path("conf.yaml"))]
    [{'proc_name': 'web'}]
    """
    configuration = parse_yaml(content, path)
    if not isinstance(configuration, dict):
        raise UsageError(f"{path}: must be a mapping with a list of `instances`, is {_kind(configuration)}")
    init_config = configuration.get("init_config") or {}
    if not isinstance(init_config, dict):
        raise UsageError(f"{path}: `init_config` must be a mapping, is {_kind(init_config)}")
    if not configuration.get("instances"):
        raise UsageError(f"{path}: has no `instances`")
    instances = configuration["instances"]
    if not isinstance(instances, list):
        raise UsageError(f"{path}: `instances` must be a list, is {_kind(instances)}")
    return [
        Instance(
            source=f"file:{path}[{index}]",
            where=f"{path}: instance {index + 1} of {len(instances)}",
            options=_mapping(options, f"{path}: instance {index + 1} of {len(instances)}"),
            init_config=init_config,
            init_config_where=f"{path}: init_config",
        )
        for index, options in enumerate(instances)
    ]


def parse_yaml(content: bytes, path: Path) -> object:
    """Parse YAML in UTF-8. Raises UsageError, with line and column if they are known.

    >>> parse_yaml(b"instances: [{proc_name: web}]", Path("conf.yaml"))
    {'instances': [{'proc_name': 'web'}]}
    """
    try:
        return yaml.safe_load(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}: line {line}: not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{path}: {where}invalid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a scalar that looks like a date or a number but is invalid, such as 2026-02-30.
        raise UsageError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from error


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: must be a mapping, is {_kind(value)}")
    return value


def _kind(value: object) -> str:
    kinds = {type(None): "empty", dict: "a mapping", list: "a list", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
