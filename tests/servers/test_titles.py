import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.servers.titles import Role, Title, parse_title, upgraded

# Possible names: Gunicorn strips them, and arguments cannot hold a NUL.
names = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
)


@pytest.mark.parametrize(
    ("cmdline", "title"),
    [
        (["gunicorn: master [web]"], Title(Role.MASTER, "web")),
        (["gunicorn: master [web]", "", "", ""], Title(Role.MASTER, "web")),
        (["gunicorn:", "master", "[web]"], Title(Role.MASTER, "web")),
        (["gunicorn:", "master", "[two", "", "blanks]"], Title(Role.MASTER, "two  blanks")),
        (["gunicorn: master [web.2]"], Title(Role.MASTER, "web.2")),
        (["gunicorn: master [[a] [b]]"], Title(Role.MASTER, "[a] [b]")),
        (["gunicorn: master [/srv/app:main()]"], Title(Role.MASTER, "/srv/app:main()")),
        (["gunicorn: worker [web]", ""], Title(Role.WORKER, "web")),
        (["[ready] gunicorn: worker [airflow-webserver]"], Title(Role.WORKER, "airflow-webserver")),
        (["gunicorn: dirty-arbiter", ""], Title(Role.DIRTY_ARBITER, None)),
        (["gunicorn: dirty-worker [web]"], Title(Role.DIRTY_WORKER, "web")),
        (["gunicorn: master [my_we"], Title(Role.MASTER, None)),
    ],
)
def test_a_title_holds_role_and_name(cmdline, title):
    assert parse_title(tuple(cmdline)) == title


@pytest.mark.parametrize(
    "cmdline",
    [
        [],
        [""],
        ["gunicorn"],
        ["gunicorn: "],
        ["gunicorn: mast"],
        ["gunicorn: masterpiece [web]"],
        ["[ready] gunicorn: master [web]"],
        ["/usr/bin/python3", "/usr/bin/gunicorn", "-n", "web", "app:app"],
        ["vi", "gunicorn: master [web]"],
        ["sh", "-c", "gunicorn: master [web]"],
        [" gunicorn: master [web]"],
    ],
)
def test_anything_else_is_not_a_title(cmdline):
    assert parse_title(tuple(cmdline)) is None


@given(names, st.sampled_from([Role.MASTER, Role.WORKER, Role.DIRTY_WORKER]), st.integers(0, 5))
def test_any_name_is_parsed_however_psutil_splits_it(name, role, blanks):
    title = f"gunicorn: {role} [{name}]"
    assert parse_title((title, *[""] * blanks)) == (role, name)
    assert parse_title(tuple(title.split(" "))) == (role, name)


@given(st.lists(st.text()))
def test_any_command_line_is_parsed_without_an_error(cmdline):
    title = parse_title(tuple(cmdline))
    assert title is None or title.role in Role


def test_a_new_master_appends_to_any_name():
    assert upgraded("web") == "web.2"
    assert upgraded("web.2") == "web.2.2"
