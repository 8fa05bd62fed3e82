from datadog_checks.gunicorn.text import escape, quote


def test_control_characters_are_escaped():
    assert escape("a\x1b[31m\x00\x7f\x9b\n\t\u202e\u2066b é \N{SNOWMAN}") == (
        "a\\x1b[31m\\x00\\x7f\\x9b\\n\\t\\u202e\\u2066b é \N{SNOWMAN}"
    )


def test_long_names_are_cut():
    assert quote("web") == "`web`"
    assert quote("x" * 64) == f"`{'x' * 64}`"
    assert quote("x" * 65) == f"`{'x' * 64}...`"
    assert quote("\n" * 3000, limit=4) == "`\\n\\n...`"
