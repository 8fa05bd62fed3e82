import pytest

from assets.upload.documents import contains, digest, essence

pytestmark = pytest.mark.loader


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
    ("found", "wanted", "answer"),
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
def test_defaults_beside_what_is_wanted_do_not_matter(found, wanted, answer):
    assert contains(found, wanted) is answer
