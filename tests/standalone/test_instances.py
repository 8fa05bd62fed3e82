import os
from pathlib import Path

import pytest

from datadog_checks.gunicorn.standalone.instances import (
    Instance,
    UsageError,
    build_instances,
    parse_instances,
    read_instances,
)

PATH = Path("/conf.d/gunicorn.d/conf.yaml")


def test_build_instances():
    assert build_instances(["web", "my api"]) == [
        Instance("command line: --proc-name web", "--proc-name 'web'", {"proc_name": "web"}),
        Instance("command line: --proc-name my api", "--proc-name 'my api'", {"proc_name": "my api"}),
    ]


def test_parse_instances():
    content = (
        b"init_config: {gunicorn: /g}\ninstances:\n  - proc_name: web\n  - {proc_name: api, tags: [a]}\nlogs: []\n"
    )

    assert parse_instances(content, PATH) == [
        Instance(
            source=f"file:{PATH}[0]",
            where=f"{PATH}: instance 1 of 2",
            options={"proc_name": "web"},
            init_config={"gunicorn": "/g"},
            init_config_where=f"{PATH}: init_config",
        ),
        Instance(
            source=f"file:{PATH}[1]",
            where=f"{PATH}: instance 2 of 2",
            options={"proc_name": "api", "tags": ["a"]},
            init_config={"gunicorn": "/g"},
            init_config_where=f"{PATH}: init_config",
        ),
    ]


def test_the_empty_init_config_of_the_template():
    (instance,) = parse_instances(b"init_config:\n\ninstances:\n  - proc_name: web\n", PATH)

    assert instance.init_config == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"a: [1", "line 1, column 6: invalid YAML: expected ',' or ']', but got '<stream end>'", id="unclosed"
        ),
        pytest.param(b"a: 1\n\tb: 2", "line 2, column 1: invalid YAML: found character", id="tab"),
        pytest.param(b"a: !!python/object:os.x {}", "line 1, column 4: invalid YAML: could not", id="Python object"),
        pytest.param(
            b"a: 1\n---\nb: 1", "line 2, column 1: invalid YAML: but found another document", id="two documents"
        ),
        pytest.param(b"a: {{ x }}", "line 1, column 5: invalid YAML: found unhashable key", id="template"),
        pytest.param(b"a: 2026-02-30", "invalid YAML: day is out of range", id="not a date"),
        pytest.param(b"a: \x01", "invalid YAML: unacceptable character #x0001", id="control character"),
        pytest.param(b"[" * 10_000, "invalid YAML: maximum recursion depth exceeded", id="too deep"),
        pytest.param(b"a: 1\nb: \xff", "line 2: not UTF-8", id="not UTF-8"),
        pytest.param(b"", "must be a mapping with a list of `instances`, is empty", id="empty"),
        pytest.param(b"# nothing\n", "must be a mapping with a list of `instances`, is empty", id="comments only"),
        pytest.param(b"[1]", "must be a mapping with a list of `instances`, is a list", id="a list"),
        pytest.param(b"5.0", "must be a mapping with a list of `instances`, is a number", id="a number"),
        pytest.param(b"init_config:\n", "has no `instances`", id="no instances"),
        pytest.param(b"instances:\n", "has no `instances`", id="instances null"),
        pytest.param(b"instances: []\n", "has no `instances`", id="instances empty"),
        pytest.param(b"instances: {a: 1}\n", "`instances` must be a list, is a mapping", id="instances a mapping"),
        pytest.param(b"instances: web\n", "`instances` must be a list, is a string", id="instances a string"),
        pytest.param(
            b"instances: [{}, web]\n", "instance 2 of 2: must be a mapping, is a string", id="instance a string"
        ),
        pytest.param(b"instances: [null]\n", "instance 1 of 1: must be a mapping, is empty", id="instance null"),
        pytest.param(
            b"init_config: [1]\ninstances: [{}]", "`init_config` must be a mapping, is a list", id="init_config"
        ),
        pytest.param(
            b"init_config: yes\ninstances: [{}]", "`init_config` must be a mapping, is a boolean", id="boolean"
        ),
        pytest.param(b"instances: [2026-11-20]\n", "instance 1 of 1: must be a mapping, is a date", id="date"),
    ],
)
def test_invalid_configurations(content, message):
    with pytest.raises(UsageError) as raised:
        parse_instances(content, PATH)

    assert str(raised.value).startswith(f"{PATH}: {message}")
    assert "\n" not in str(raised.value)


def write(path, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"instances: [{{proc_name: {name}}}]")


def test_the_first_file_of_the_first_conf_d_is_read(tmp_path):
    for name in ["a/gunicorn.d/conf.yaml", "a/gunicorn.yaml", "b/gunicorn.yaml"]:
        write(tmp_path / name, name)
    confds = [tmp_path / "none", tmp_path / "a", tmp_path / "b"]

    def found():
        return [instance.source for instance in read_instances(confds)]

    assert found() == [f"file:{tmp_path}/a/gunicorn.d/conf.yaml[0]"]
    (tmp_path / "a/gunicorn.d/conf.yaml").unlink()
    assert found() == [f"file:{tmp_path}/a/gunicorn.yaml[0]"]
    (tmp_path / "a/gunicorn.yaml").unlink()
    assert found() == [f"file:{tmp_path}/b/gunicorn.yaml[0]"]


def test_the_source_is_an_absolute_path(tmp_path, monkeypatch):
    write(tmp_path / "conf.d/gunicorn.yaml", "web")
    monkeypatch.chdir(tmp_path)

    assert read_instances([Path("conf.d")])[0].source == f"file:{tmp_path}/conf.d/gunicorn.yaml[0]"


def test_a_conf_d_without_configuration(tmp_path):
    with pytest.raises(UsageError) as raised:
        read_instances([tmp_path])

    assert str(raised.value) == (
        f"no configuration found, tried {tmp_path}/gunicorn.d/conf.yaml, {tmp_path}/gunicorn.yaml; "
        "use --confd DIR or --proc-name NAME"
    )


@pytest.mark.parametrize("name", ["none", "file", "file/below"])
def test_a_conf_d_that_does_not_exist(tmp_path, name):
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=f"^{tmp_path / name}: no such directory$"):
        read_instances([tmp_path / name])


def test_a_directory_instead_of_the_file(tmp_path):
    (tmp_path / "gunicorn.yaml").mkdir()

    with pytest.raises(UsageError, match=r"gunicorn\.yaml: Is a directory$"):
        read_instances([tmp_path])


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user who is not root")
def test_an_unreadable_file(tmp_path):
    write(tmp_path / "gunicorn.yaml", "web")
    (tmp_path / "gunicorn.yaml").chmod(0)

    with pytest.raises(UsageError, match=r"gunicorn\.yaml: Permission denied$"):
        read_instances([tmp_path])
