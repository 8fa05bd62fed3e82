import pytest

from datadog_checks.gunicorn.standalone.text import flatten, format_table


@pytest.mark.parametrize(
    ("text", "flat"),
    [
        pytest.param("one line", "one line", id="one line"),
        pytest.param("", "", id="nothing"),
        pytest.param(
            "2 errors:\na\n  is wrong\nb -> 1\n  is too\n", "2 errors: a: is wrong; b -> 1: is too", id="list"
        ),
        pytest.param("a\n\n\nb", "a; b", id="empty lines"),
    ],
)
def test_flatten(text, flat):
    assert flatten(text) == flat


def test_format_table_aligns_columns_of_escaped_cells():
    rows = [("a", "1", "x"), ("long\n", "22", "")]

    assert format_table(rows, "  ") == ["  a       1   x", "  long\\n  22"]


def test_format_table_leaves_out_a_column_without_a_word():
    assert format_table([("a", "", "x"), ("bb", "", "")]) == ["a   x", "bb"]


def test_format_table_without_rows():
    assert format_table([]) == []
