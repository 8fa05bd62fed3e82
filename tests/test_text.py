import unicodedata

import pytest

from datadog_checks.gunicorn.text import escape, flatten, quote, shorten


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        pytest.param("web app [é☃] 名", "web app [é☃] 名", id="what can be printed stays"),
        pytest.param("\x1b[31mred", r"\x1b[31mred", id="escape sequence"),
        pytest.param("a\nb\tc\rd", r"a\nb\tc\rd", id="newline, tab, carriage return"),
        pytest.param("\x00\x7f", r"\x00\x7f", id="NUL, DEL"),
        pytest.param("\x85\x9b", r"\x85\x9b", id="C1"),
        pytest.param("\u202amaster\u202e", r"\u202amaster\u202e", id="bidi overrides"),
        pytest.param("\u2066x\u2069", r"\u2066x\u2069", id="bidi isolates"),
        pytest.param("\u2028\u2029", r"\u2028\u2029", id="line and paragraph separators"),
        pytest.param("\udce9", r"\udce9", id="a byte that is no UTF-8, as psutil tells it"),
    ],
)
def test_escape(text, escaped):
    assert escape(text) == escaped


def test_escape_lets_no_control_character_through():
    characters = map(chr, range(0x3000))
    controls = [char for char in characters if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}]

    assert len(controls) > 90
    assert all(escape(char).isascii() and escape(char).startswith("\\") for char in controls)


def test_long_texts_are_truncated():
    assert shorten("a\n", limit=3) == "a\\n"
    assert shorten("a\nb", limit=3) == "a\\n..."


def test_names_are_quoted():
    assert quote("web") == "`web`"
    assert quote("x" * 64) == f"`{'x' * 64}`"
    assert quote("\n" * 3000) == "`" + "\\n" * 32 + "...`"


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
