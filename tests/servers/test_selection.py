import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.cgroups import NO_GROUPS, Groups
from datadog_checks.gunicorn.servers.containers import parse_container
from datadog_checks.gunicorn.servers.selection import Discovery, Selection, parse_patterns
from tests.host.test_cgroups import OUTER, OWN

NAMES = ["Web", "api", "web", "web-admin", "web.2"]


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        pytest.param([], [], NAMES, id="no patterns: all"),
        pytest.param(["web"], [], ["web", "web-admin", "web.2"], id="searched, not matched"),
        pytest.param(["eb"], [], ["Web", "web", "web-admin", "web.2"], id="anywhere"),
        pytest.param(["^web$"], [], ["web"], id="anchors"),
        pytest.param(["admin", "api"], [], ["api", "web-admin"], id="any of several"),
        pytest.param(["nothing"], [], [], id="nothing matches"),
        pytest.param([], ["web"], ["Web", "api"], id="exclude alone"),
        pytest.param(["web"], ["admin"], ["web", "web.2"], id="exclude wins"),
        pytest.param(["web"], ["web"], [], id="the same pattern in both"),
        pytest.param(["(?i)WEB$"], [], ["Web", "web"], id="a flag"),
        pytest.param(["api", "(?i)WEB$"], [], ["Web", "api", "web"], id="a flag in the second pattern of include"),
        pytest.param([], ["api", "(?i)^WEB$"], ["web-admin", "web.2"], id="a flag in the second pattern of exclude"),
        pytest.param([], ["(?i)^WEB$", "API"], ["api", "web-admin", "web.2"], id="a flag counts for its own pattern"),
        pytest.param([], ["a|W", "^$"], ["web", "web.2"], id="alternatives"),
        pytest.param([""], [], NAMES, id="an empty pattern matches all"),
        pytest.param([], [""], [], id="an empty pattern excludes all"),
        pytest.param(["web", "web"], [], ["web", "web-admin", "web.2"], id="a pattern that is given twice"),
    ],
)
def test_include_and_exclude(include, exclude, selected):
    assert Discovery(tuple(include), tuple(exclude)).select(NAMES) == set(selected)


patterns = st.lists(st.sampled_from(["", "a", "^b", "(?i)B", "c$", "a|c", r"\x1b"]), max_size=3)


@given(patterns, patterns, st.lists(st.text("abcB\x1b\udce9")))
def test_selects_what_a_search_for_each_pattern_finds(include, exclude, names):
    def is_any(patterns, name):
        return any(re.search(pattern, name) for pattern in patterns)

    expected = {name for name in names if (not include or is_any(include, name)) and not is_any(exclude, name)}
    assert Discovery(tuple(include), tuple(exclude)).select(names) == expected


@pytest.mark.parametrize(
    ("value", "parsed"),
    [(None, ()), ([], ()), ((), ()), (["^web"], ("^web",)), (("a", "(?i)b"), ("a", "(?i)b"))],
)
def test_patterns(value, parsed):
    assert parse_patterns(value) == parsed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("web", "must be a list of regular expressions, such as `['^web']`; not 'web'"),
        (5, "must be a list of regular expressions, such as `['^web']`; not 5"),
        (True, "must be a list of regular expressions, such as `['^web']`; not True"),
        ({"web": None}, "must be a list of regular expressions, such as `['^web']`; not {'web': None}"),
        ([5], "must be a list of regular expressions, each in quotes; not 5"),
        (["web", None], "must be a list of regular expressions, each in quotes; not None"),
        ([["web"]], "must be a list of regular expressions, each in quotes; not ['web']"),
        (["web", "("], "must be a list of regular expressions; '(' is not one: missing ), unterminated subpattern"),
        (["*"], "must be a list of regular expressions; '*' is not one: nothing to repeat"),
        (["a(?i)"], "must be a list of regular expressions; 'a(?i)' is not one: global flags not at the start"),
        (["a{99999999999999999999}"], "is not one: the repetition number is too large"),
    ],
)
def test_anything_but_a_list_of_patterns_is_rejected_with_advice(value, message):
    with pytest.raises(ValueError, match=f"^must be .*{re.escape(message[8:])}"):
        parse_patterns(value)


# Python warns of sets within sets, which it may support one day.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.text("()[]{}?*+|\\^$,0aP<>=!-", max_size=12))
def test_a_pattern_is_usable_or_an_error(pattern):
    try:
        parsed = parse_patterns([pattern])
    except ValueError:
        return
    Discovery(include=parsed, exclude=parsed).select(["aa", "0"])


HERE, ELSEWHERE = Groups((OUTER, OWN)), Groups((OUTER,))


@pytest.mark.parametrize(
    ("selection", "name", "groups", "is_selected"),
    [
        (Selection("web"), "web", NO_GROUPS, True),
        (Selection("web"), "web", HERE, True),
        (Selection("web"), "web2", NO_GROUPS, False),
        (Selection("web"), None, NO_GROUPS, False),
        (Selection(container=parse_container(OWN)), "web", HERE, True),
        (Selection(container=parse_container(OWN)), "web", ELSEWHERE, False),
        (Selection(container=parse_container(OWN)), "web", NO_GROUPS, False),
        (Selection("web", parse_container(OWN)), "web", HERE, True),
        (Selection("web", parse_container(OWN)), "api", HERE, False),
        (Selection("web", parse_container(OWN)), "web", ELSEWHERE, False),
        # Discovery selects by name later, among all names at once.
        (Selection(discovery=Discovery(include=("api",))), "web", HERE, True),
    ],
)
def test_which_servers_are_selected(selection, name, groups, is_selected):
    assert selection.has(name, groups) is is_selected


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection("web"), "Found no master process with name: gunicorn: master [web]"),
        (Selection("web", parse_container("4711")), "Found no master process with name: gunicorn: master [web]"),
        (Selection(container=parse_container(f" {OWN[:12]}")), f"Found no master process in container {OWN[:12]}"),
    ],
)
def test_the_message_when_nothing_is_found(selection, message):
    assert selection.absence == message


def test_only_a_configured_name_is_not_escaped_in_its_tag():
    long = "a,b|\n" + "x" * 300

    assert Selection(long).format_tag(long) == f"app:{long}"
    assert Selection(container=parse_container(OWN)).format_tag("a,b|\n") == r"app:a\x2cb\x7c\n"
    tag = Selection(discovery=Discovery()).format_tag(long)
    assert tag.startswith(r"app:a\x2cb\x7c\nxxx")
    assert len(tag) == 200
