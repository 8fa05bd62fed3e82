"""What the generated models cannot say: called by them with each option that is configured."""


def instance_proc_name(value: object, field: object) -> object:
    if isinstance(value, str) and value.strip():
        # Gunicorn strips the name before it goes into the title.
        return value.strip()
    raise ValueError(f"must be the NAME of `gunicorn: master [NAME]`, a string that is not empty; not {value!r}")


def instance_gunicorn(value: object, field: object) -> object:
    if value is None or (isinstance(value, str) and value.split()):
        return value
    raise ValueError(f"must be a program with optional arguments, such as `/venv/bin/gunicorn`; not {value!r}")


shared_gunicorn = instance_gunicorn
