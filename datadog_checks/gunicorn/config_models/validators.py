"""Validators of single options, called by the generated models."""

from typing import Any

from datadog_checks.gunicorn.servers.containers import parse_container
from datadog_checks.gunicorn.servers.selection import LIMIT, parse_patterns
from datadog_checks.gunicorn.sockets.addresses import parse_bind


def instance_proc_name(value: object, field: object) -> object:
    if isinstance(value, str) and value.strip():
        # Gunicorn strips the name before it sets the title.
        return value.strip()
    raise ValueError(f"must be the NAME in `gunicorn: master [NAME]`, a non-empty string; not {value!r}")


def instance_gunicorn(value: object, field: object) -> object:
    if value is None or (isinstance(value, str) and value.split()):
        return value
    raise ValueError(f"must be a program with optional arguments, such as `/venv/bin/gunicorn`; not {value!r}")


def instance_bind(value: object, field: object) -> object:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"must be a list of addresses, such as `['127.0.0.1:8000']`; not {value!r}")
    for text in value or ():
        if not isinstance(text, str):
            raise ValueError(f"must be a list of addresses, each in quotes; not {text!r}")
        parse_bind(text)
    return value


def instance_container(value: object, field: object) -> object:
    parse_container(value)
    return str(value)


def instance_discovery(value: object, field: object) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping, `{{}}` for every server of the host; not {value!r}")
    for option in ("include", "exclude"):
        try:
            parse_patterns(value.get(option))
        except ValueError as error:
            raise ValueError(f"{option} {error}") from error
    limit = LIMIT if value.get("limit") is None else value["limit"]
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"limit must be a whole number of applications, at least 1; not {limit!r}")
    return value


_WAYS = (
    "proc_name (the servers of one name), container (those of one container or pod) or discovery (every server of the "
    "host)"
)


def check_instance(model: Any) -> Any:
    if model.discovery is None:
        if model.proc_name is None and model.container is None:
            raise ValueError(f"{_WAYS} is required")
        return model
    for option in ("proc_name", "container", "bind"):
        if getattr(model, option) is not None:
            raise ValueError(f"{option} cannot be combined with discovery; an instance takes either {_WAYS}")
    return model


shared_gunicorn = instance_gunicorn
