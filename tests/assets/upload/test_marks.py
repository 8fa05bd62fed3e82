import pytest

from assets.upload.marks import Mark, add_to_text, contains, digest, essence, find_mark, remove_from_text

pytestmark = pytest.mark.loader

LOADED, KEPT = "5f2b6a0c1d9e8f70", "0a1b2c3d4e5f6071"
INCOMPLETE = Mark("worker_crashes", LOADED)
COMPLETE = Mark("worker_crashes", LOADED, KEPT, "abc-def-ghi")


@pytest.mark.parametrize("mark", [INCOMPLETE, COMPLETE, Mark("gunicorn", LOADED, KEPT, "Ab_9-x")], ids=str)
def test_a_mark_is_found_in_a_text_and_removed_again(mark):
    text = add_to_text("A dashboard.", mark)
    assert text == f"A dashboard.\n\n{mark}"
    assert find_mark(text) == find_mark(str(mark)) == mark
    assert remove_from_text(text) == "A dashboard."


def test_an_empty_text_becomes_the_mark_alone():
    assert add_to_text("", COMPLETE) == str(COMPLETE)
    assert remove_from_text(str(COMPLETE)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dashboard of datadog-gunicorn",
        "asset:datadog-gunicorn/worker_crashes",
        f"asset:datadog-gunicorn/worker_crashes/{LOADED[:-1]}",
        f"asset:datadog-gunicorn/worker_crashes/{LOADED}/{KEPT[:-1]}",
        f"asset:datadog-gunicorn/worker_crashes/{LOADED}/{KEPT}",
        f"asset:other/worker_crashes/{LOADED}",
    ],
)
def test_no_mark_is_found_in_other_text(text):
    assert find_mark(text) is None


def test_a_mark_is_a_valid_tag():
    """https://docs.datadoghq.com/getting_started/tagging/: lower case, at most 200 characters."""
    tag = str(Mark("connections_queued", LOADED, KEPT, "123456789012"))
    assert tag == tag.lower()
    assert len(tag) < 200


def test_the_essence_leaves_out_ids_empty_values_and_other_fields():
    document = {
        "id": "abc",
        "title": "Gunicorn",
        "author": "ada",
        "widgets": [{"id": 7, "definition": {"type": "note", "links": [], "limit": 0, "live": False, "style": None}}],
        "variables": [],
    }
    assert essence(document, ("title", "widgets", "variables", "notify")) == {
        "title": "Gunicorn",
        "widgets": [{"definition": {"type": "note", "limit": 0, "live": False}}],
    }


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})
    assert len(digest({})) == 16


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ([{"a": 1, "b": 2}], [{"a": 1}], True),
        ([1, 2], [1], False),
        ([1], [2], False),
        ("text", {"a": 1}, False),
        (None, [1], False),
        ("text", "text", True),
    ],
)
def test_a_document_may_contain_more_fields_than_wanted_but_no_others_instead(found, wanted, expected):
    assert contains(found, wanted) is expected
