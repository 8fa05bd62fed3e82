import pytest
from datadog_checks.base.stubs import tagger

from datadog_checks.gunicorn.container_tags import ContainerTags
from tests.host.test_cgroups import OUTER, OWN

TAGS = ["kube_namespace:shop", "image_name:web", "image_name:web"]


@pytest.fixture(autouse=True)
def _fresh_tagger():
    tagger.reset()
    yield
    tagger.reset()


def asked():
    return [entity for entity, _ in tagger._calls]


def test_the_tagger_is_asked_once_for_each_container():
    tagger.set_tags({f"container_id://{OWN}": TAGS})
    tags = ContainerTags()

    for _ in range(3):
        assert tags.find(OWN) == ("image_name:web", "kube_namespace:shop")
    assert asked() == [f"container_id://{OWN}"]


def test_the_tagger_is_asked_again_after_an_empty_answer():
    tags = ContainerTags()
    assert tags.find(OWN) == ()
    assert tags.find(OWN) == ()

    tagger.set_tags({f"container_id://{OWN}": TAGS})

    assert tags.find(OWN) == tags.find(OWN) == ("image_name:web", "kube_namespace:shop")
    assert len(asked()) == 3


def test_the_tagger_is_not_asked_for_a_server_outside_of_containers():
    tagger.set_default_tags(TAGS)

    assert ContainerTags().find(None) == ()
    assert asked() == []


def test_an_answer_is_kept_though_the_tagger_forgets():
    tagger.set_tags({f"container_id://{OWN}": TAGS})
    tags = ContainerTags()
    known = tags.find(OWN)
    tagger.reset()

    assert tags.find(OWN) == known


def test_other_containers_are_forgotten():
    tagger.set_default_tags(TAGS)
    tags = ContainerTags()
    tags.find(OWN)
    tags.find(OUTER)

    tags.keep_only({OUTER, None})

    assert list(tags._known) == [OUTER]
    tags.find(OWN)
    assert asked() == [f"container_id://{container}" for container in (OWN, OUTER, OWN)]


def test_an_agent_that_answers_none(monkeypatch):
    monkeypatch.setattr(tagger, "tag", lambda *_: None)

    assert ContainerTags().find(OWN) == ()


@pytest.mark.parametrize(
    ("given", "cardinality"),
    [
        ("low", tagger.LOW),
        ("orchestrator", tagger.ORCHESTRATOR),
        ("high", tagger.HIGH),
        ("High", tagger.HIGH),
        ("none", tagger.LOW),
        ("", tagger.LOW),
        (None, tagger.LOW),
        (2, tagger.LOW),
    ],
)
def test_the_agents_cardinality(given, cardinality, datadog_agent):
    datadog_agent._config["checks_tag_cardinality"] = given

    ContainerTags().find(OWN)

    assert tagger._calls == [(f"container_id://{OWN}", cardinality)]
