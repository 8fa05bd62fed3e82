from datadog_checks.gunicorn.standalone.pages.table import format_table


def test_format_table_aligns_columns_of_escaped_cells():
    rows = [("a", "1", "x"), ("long\n", "22", "")]

    assert format_table(rows, "  ") == ["  a       1   x", "  long\\n  22"]


def test_format_table_skips_empty_columns():
    assert format_table([("a", "", "x"), ("bb", "", "")]) == ["a   x", "bb"]


def test_format_table_without_rows():
    assert format_table([]) == []
