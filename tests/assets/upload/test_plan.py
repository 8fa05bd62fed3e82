import pytest

from assets.upload.marks import Mark, digest
from assets.upload.plan import Action, Found, plan_load, plan_removal

pytestmark = pytest.mark.loader

WANTED = {"name": "new", "priority": 2}
OLD = {"name": "old", "priority": 2}


def found(loaded, content, kept=None):
    """An object that was loaded from a document, and that the account then stored as `kept`."""
    mark = Mark("churn", digest(loaded), digest(kept) if kept else None, "7" if kept else None)
    return Found("7", mark, content, content)


AS_LOADED = {**WANTED, "options": {"default": 1}}
CASES = {
    "missing": (None, Action.CREATE, Action.CREATE),
    "as it was loaded": (found(WANTED, AS_LOADED, AS_LOADED), Action.NOTHING, Action.NOTHING),
    "loaded by an earlier version": (found(OLD, OLD, OLD), Action.UPDATE, Action.UPDATE),
    "changed": (found(WANTED, {**AS_LOADED, "name": "mine"}, AS_LOADED), Action.KEEP, Action.UPDATE),
    "a field added": (found(WANTED, {**AS_LOADED, "more": 1}, AS_LOADED), Action.KEEP, Action.UPDATE),
    "changed after an earlier version": (found(OLD, {**OLD, "name": "mine"}, OLD), Action.KEEP, Action.UPDATE),
    "changed to what is wanted": (found(OLD, WANTED, OLD), Action.KEEP, Action.UPDATE),
    "interrupted": (found(WANTED, AS_LOADED), Action.UPDATE, Action.UPDATE),
    "interrupted, then changed": (found(WANTED, {**AS_LOADED, "name": "mine"}), Action.ASK, Action.UPDATE),
    "interrupted in an earlier version": (found(OLD, OLD), Action.ASK, Action.UPDATE),
}


@pytest.mark.parametrize(("state", "action", "overwriting"), CASES.values(), ids=CASES)
def test_what_a_load_does_depends_on_the_state_of_the_object(state, action, overwriting):
    assert plan_load(WANTED, state, overwrite=False).action is action
    assert plan_load(WANTED, state, overwrite=True).action is overwriting


@pytest.mark.parametrize("name", [name for name in CASES if name != "missing"])
def test_a_removal_keeps_objects_that_were_changed_or_may_have_been(name):
    state, action, _ = CASES[name]
    expected = action if action in {Action.KEEP, Action.ASK} else Action.REMOVE
    assert plan_removal(WANTED, state, overwrite=False).action is expected
    assert plan_removal(WANTED, state, overwrite=True).action is Action.REMOVE


def test_an_object_of_an_interrupted_load_is_left_to_the_user_if_its_asset_is_gone():
    assert plan_removal(None, found(OLD, OLD), overwrite=False).action is Action.ASK
    assert plan_removal(None, found(OLD, OLD, OLD), overwrite=False).action is Action.REMOVE
