import os
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.text import escape, flatten, format_tag, quote, shorten


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
        pytest.param("\udce9", r"\udce9", id="a byte that is not UTF-8, as psutil returns it"),
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


class TestTags:
    @pytest.mark.parametrize(
        ("value", "tag"),
        [
            pytest.param("web", "app:web", id="a name"),
            pytest.param("web app [é☃] 名", "app:web app [é☃] 名", id="what can be printed stays"),
            pytest.param("app:main:x", "app:app:main:x", id="colons stay"),
            pytest.param("a,b|c", r"app:a\x2cb\x7cc", id="what separates tags"),
            pytest.param("a\n\x1b[2J\u202e", r"app:a\n\x1b[2J\u202e", id="control characters"),
            pytest.param(os.fsdecode(b"w\xe9b\xff"), r"app:w\udce9b\udcff", id="bytes that are not UTF-8"),
            pytest.param("\U000e0001", r"app:\U000e0001", id="the longest escape"),
            pytest.param(r"a\x2cb", r"app:a\x2cb", id="a backslash stays"),
            pytest.param("", "app:", id="nothing"),
            pytest.param("x" * 196, f"app:{'x' * 196}", id="as long as a tag may be"),
            pytest.param("x" * 197, f"app:{'x' * 196}", id="a character too long"),
            pytest.param("x" * 3000, f"app:{'x' * 196}", id="3,000 characters"),
            pytest.param("," * 3000, "app:" + r"\x2c" * 49, id="3,000 commas"),
            pytest.param("x" + "," * 3000, "app:x" + r"\x2c" * 48, id="not cut inside of an escape"),
            pytest.param("x" * 195 + ",y", f"app:{'x' * 195}", id="nothing follows what did not fit"),
            pytest.param("\udce9" * 3000, "app:" + r"\udce9" * 32, id="3,000 bytes that are not UTF-8"),
            pytest.param("\U000e0001" * 3000, "app:" + r"\U000e0001" * 19, id="3,000 of the longest escape"),
        ],
    )
    def test_format_tag(self, value, tag):
        assert format_tag("app", value) == tag

    @given(st.text(st.characters() | st.sampled_from(",|\n\x1b\udce9\U000e0001x"), max_size=400))
    def test_any_name_makes_a_tag(self, name):
        tag = format_tag("app", name)

        assert tag.startswith("app:")
        assert len(tag) <= 200
        assert tag.isprintable()
        assert not {*",|"} & {*tag}
        assert tag.encode()
        # It is the whole name, or as much of it as fits, without a part of an escape.
        whole = "app:" + re.sub("[,|]", lambda found: f"\\x{ord(found[0]):02x}", escape(name))
        assert whole.startswith(tag)
        assert len(tag) == len(whole) or len(tag) > 200 - len(r"\U000e0001")

    @given(st.binary())
    def test_any_bytes_of_a_command_line_make_a_tag(self, name):
        assert format_tag("app", os.fsdecode(name)).encode().decode().isprintable()
