"""Validators of single options, called by the generated models."""

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


shared_gunicorn = instance_gunicorn
