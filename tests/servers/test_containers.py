import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.cgroups import NO_GROUPS, Groups
from datadog_checks.gunicorn.servers.containers import Container, parse_container
from tests.host.test_cgroups import FARGATE, OUTER, OWN, POD, STATIC, TASK, UID


@pytest.mark.parametrize(
    ("value", "container"),
    [
        pytest.param("1", Container("1", pid=1), id="the first pid"),
        pytest.param("4711", Container("4711", pid=4711), id="a pid"),
        pytest.param("4194304", Container("4194304", pid=4194304), id="the highest pid"),
        pytest.param("0047", Container("0047", pid=47), id="a pid with leading zeros"),
        pytest.param(4711, Container("4711", pid=4711), id="a pid without quotes"),
        pytest.param(" 4711\n", Container("4711", pid=4711), id="blanks around it"),
        pytest.param(UID, Container(UID, pod=POD), id="a pod"),
        pytest.param(UID.upper(), Container(UID.upper(), pod=POD), id="a pod in upper case"),
        pytest.param(STATIC, Container(STATIC, beginning=STATIC, pod=STATIC), id="a static pod, or an id's beginning"),
        pytest.param(STATIC.upper(), Container(STATIC.upper(), beginning=STATIC, pod=STATIC), id="in upper case"),
        pytest.param(OWN, Container(OWN, beginning=OWN), id="an id"),
        pytest.param(OWN.upper(), Container(OWN.upper(), beginning=OWN), id="an id in upper case"),
        pytest.param(OWN[:12], Container(OWN[:12], beginning=OWN[:12]), id="12 digits of an id"),
        pytest.param(OWN[:31], Container(OWN[:31], beginning=OWN[:31]), id="31 digits of an id"),
        pytest.param(OWN[:33], Container(OWN[:33], beginning=OWN[:33]), id="33 digits of an id"),
        pytest.param(123456789012, Container("123456789012", beginning="123456789012"), id="12 digits without quotes"),
        pytest.param(FARGATE, Container(FARGATE, beginning=FARGATE), id="ECS on Fargate"),
    ],
)
def test_forms_of_the_option(value, container):
    assert parse_container(value) == container


@pytest.mark.parametrize(
    "value",
    [
        *("0", "0000000", 0, -1, -4711, "-4711", "+4711"),
        *("12345678", "12345678901", 12345678, 12345678901, "abcdef01234", "abcdef0"),
        *(
            f"{OWN}0",
            OWN[:64] + "-1",
            f"{TASK}-",
            f"{TASK}-x",
            f"0{FARGATE}",
            f"{UID}0",
            UID[:-1],
            UID.replace("-", "_"),
        ),
        *(4711.0, 1e12, float("nan"), True, False, None, [], ["4711"], {}, {"id": OWN}, OWN.encode()),
        *("", " ", "web", "%%pid%%", "0x1267", "1_000", "4711 4712", "\u0664\u0667", "4711\0"),
        *(f"docker://{OWN}", f"containerd://{OWN}", f"sha256:{OWN}", f"/docker/{OWN}", f"pod{UID}"),
    ],
    ids=repr,
)
def test_anything_else_is_rejected_with_advice(value):
    with pytest.raises(ValueError, match=r"^must be a container's id .* a pod's UID, or the pid .*, in quotes; not "):
        parse_container(value)


@given(st.text() | st.from_regex(r"[0-9a-fA-F-]{1,70}", fullmatch=True) | st.integers() | st.none() | st.floats())
def test_a_value_is_exactly_one_form_or_an_error(value):
    try:
        container = parse_container(value)
    except ValueError:
        return
    assert container.given == str(value).strip()
    assert (container.pid is None) != (container.beginning is None and container.pod is None)
    # A run keeps the value as it was given, and parses it again.
    assert parse_container(container.given) == container


@pytest.mark.parametrize(
    ("text", "container"),
    [
        ("4711", Container("4711", pid=4711)),
        ("'4711'", Container("4711", pid=4711)),
        ("123456789012", Container("123456789012", beginning="123456789012")),
        (OWN, Container(OWN, beginning=OWN)),
        (UID, Container(UID, pod=POD)),
    ],
)
def test_values_as_yaml_reads_them(text, container):
    assert parse_container(yaml.safe_load(f"container: {text}")["container"]) == container


IN_POD = Groups((OWN,), frozenset([POD]))
NESTED = Groups((OUTER, OWN))


@pytest.mark.parametrize(
    ("value", "groups", "is_in"),
    [
        (OWN, Groups((OWN,)), True),
        (OWN[:12], Groups((OWN,)), True),
        (OWN[1:13], Groups((OWN,)), False),
        (OWN, Groups((OUTER,)), False),
        (OWN, NO_GROUPS, False),
        # Anywhere on the path.
        (OUTER[:12], NESTED, True),
        (OWN[:12], NESTED, True),
        (UID, IN_POD, True),
        (UID, Groups((OWN,)), False),
        (OWN, IN_POD, True),
        # Either a static pod or the beginning of an id.
        (STATIC, Groups((OWN,), frozenset([STATIC])), True),
        (STATIC, Groups((STATIC + 32 * "0",)), True),
        (STATIC, IN_POD, False),
        # All containers of a task.
        (TASK, Groups((FARGATE,)), True),
        (FARGATE, Groups((FARGATE,)), True),
        (FARGATE, Groups((f"{TASK}-1",)), False),
        # Its container is still unknown.
        ("4711", Groups(("4711" + 60 * "0",)), False),
        ("4711", NO_GROUPS, False),
    ],
)
def test_whether_a_process_is_in_the_container(value, groups, is_in):
    assert parse_container(value).has(groups) is is_in


def test_an_ambiguous_beginning_has_several_ids():
    beginning = OWN[:12]
    other = beginning + 52 * "f"
    everyone = [Groups((OWN,)), Groups((OUTER, other)), Groups((OWN,)), Groups((OUTER,)), NO_GROUPS]

    assert parse_container(beginning).find_ids(everyone) == {OWN, other}
    assert parse_container(OWN).find_ids(everyone) == {OWN}
    assert parse_container(UID).find_ids(everyone) == set()
    assert parse_container("4711").find_ids(everyone) == set()
