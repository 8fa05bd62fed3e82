"""Whole runs: what they change in an account, and what they leave alone."""

import copy

import pytest

from assets.upload.files import Files

from .datadog import COMPLETE, PIPELINES, Answer
from .local_account import DASHBOARD, MONITORS, OBJECTS, ROOT, squeeze

pytestmark = pytest.mark.loader

ALL = [("dashboard", "gunicorn_dashboard"), *(("monitor", name) for name in MONITORS), ("pipeline", "gunicorn")]


@pytest.fixture
def loaded(account):
    assert account.apply().code == 0
    account.datadog.log.clear()
    return account


def test_without_apply_nothing_is_changed(account):
    outcome = account.run()
    assert outcome.code == 0
    assert account.datadog.changes == []
    for kind, name in ALL:
        assert outcome.line_of(kind, name) == "would be created"
    assert outcome.lines[-1] == "Nothing was changed. To carry it out: APPLY=1, or --apply."
    assert outcome.line("Plan: ").startswith(f"Plan: {OBJECTS} would be created, ")


def test_everything_is_created(account):
    outcome = account.apply()
    datadog = account.datadog
    assert outcome.code == 0
    assert (len(datadog.dashboards), len(datadog.monitors), len(datadog.pipelines)) == (1, len(MONITORS), 1)
    (dashboard,) = datadog.dashboards
    assert outcome.line_of("dashboard", "gunicorn_dashboard") == (
        f"created https://app.datadoghq.com/dashboard/{dashboard}"
    )
    number = datadog.find_monitor("worker_crashes")["id"]
    assert outcome.line_of("monitor", "worker_crashes") == f"created https://app.datadoghq.com/monitors/{number}"
    (pipeline,) = datadog.pipelines
    assert outcome.line_of("pipeline", "gunicorn") == (
        f"created https://app.datadoghq.com/logs/pipelines/pipeline/edit/{pipeline}"
    )
    assert outcome.line("Done: ").startswith(f"Done: {OBJECTS} created, ")


def test_all_widgets_and_all_metrics_can_be_loaded_and_removed(whole_account):
    names = Files(ROOT).read_metrics()
    whole_account.datadog.receive(*names)
    for name, row in names.items():
        whole_account.datadog.metrics[name]["type"] = row["type"]
    created = whole_account.apply()
    assert created.code == 0
    assert created.line("Done: ") == f"Done: {OBJECTS} created, {len(names)} filled in."
    whole_account.datadog.log.clear()
    again = whole_account.apply()
    assert again.line("Done: ") == f"Done: {OBJECTS + len(names)} unchanged."
    assert whole_account.datadog.changes == []
    assert whole_account.remove().line("Done: ") == f"Done: {OBJECTS} removed."
    assert list(whole_account.datadog.objects.values()) == [{}, {}, {}]


def test_what_is_created_is_what_the_files_say(loaded):
    (dashboard,) = loaded.datadog.dashboards.values()
    assert dashboard["title"] == "Gunicorn"
    assert dashboard["widgets"][0]["definition"]["type"] == "group"
    monitor = loaded.datadog.find_monitor("not_running")
    assert monitor["type"] == "service check"
    assert "integration:gunicorn" in monitor["tags"]
    (pipeline,) = loaded.datadog.pipelines.values()
    assert (pipeline["name"], pipeline["is_enabled"]) == ("Gunicorn", True)
    assert pipeline["filter"] == {"query": "source:gunicorn"}
    first = pipeline["processors"][0]
    assert "access.combined" in first["grok"]["match_rules"]
    assert "_client" in first["grok"]["support_rules"]


def test_a_second_run_changes_nothing(loaded):
    outcome = loaded.apply()
    assert outcome.code == 0
    assert loaded.datadog.changes == []
    for kind, name in ALL:
        assert outcome.line_of(kind, name).startswith("unchanged https://app.datadoghq.com/")
    assert loaded.run().lines[-1].startswith(f"Plan: {OBJECTS} unchanged, ")


def test_a_new_version_updates_what_it_changed_and_nothing_else(loaded):
    before = set(loaded.datadog.monitors)
    loaded.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    assert loaded.run().line_of("monitor", "worker_crashes").startswith("would be updated https://")
    assert loaded.datadog.changes == []

    outcome = loaded.apply()
    number = loaded.datadog.find_monitor("worker_crashes")["id"]
    assert outcome.line_of("monitor", "worker_crashes") == f"updated https://app.datadoghq.com/monitors/{number}"
    assert set(loaded.datadog.changes) == {f"PUT /api/v1/monitor/{number} -> 200"}
    assert loaded.datadog.find_monitor("worker_crashes")["priority"] == 1
    assert set(loaded.datadog.monitors) == before

    loaded.datadog.log.clear()
    assert loaded.apply().code == 0
    assert loaded.datadog.changes == []


CHANGES = {
    "a text": lambda monitor: monitor.update(message="@slack-ops Look!"),
    "another field": lambda monitor: monitor["options"].update(evaluation_delay=60),
    "a tag": lambda monitor: monitor["tags"].append("team:shop"),
    "the tag of the integration": lambda monitor: monitor["tags"].remove("integration:gunicorn"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_somebody_changed_is_shown_and_kept(loaded, change):
    monitor = loaded.datadog.find_monitor("worker_crashes")
    change(monitor)
    changed = copy.deepcopy(monitor)
    outcome = loaded.apply()
    assert outcome.code == 0
    assert outcome.line_of("monitor", "worker_crashes").startswith("kept: changed by hand since it was loaded")
    assert loaded.datadog.changes == []
    assert loaded.datadog.find_monitor("worker_crashes") == changed


def test_what_somebody_changed_is_kept_when_a_new_version_changes_it_too(loaded):
    CHANGES["a text"](loaded.datadog.find_monitor("worker_crashes"))
    loaded.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    outcome = loaded.apply()
    assert outcome.line_of("monitor", "worker_crashes").startswith(
        "kept: changed by hand since it was loaded; OVERWRITE"
    )
    assert loaded.datadog.changes == []


def test_what_somebody_changed_is_replaced_on_request(loaded):
    CHANGES["a text"](loaded.datadog.find_monitor("worker_crashes"))
    outcome = loaded.apply("--overwrite")
    assert outcome.line_of("monitor", "worker_crashes").startswith(
        "updated: overwrites what was changed by hand https://"
    )
    assert "slack" not in loaded.datadog.find_monitor("worker_crashes")["message"]
    loaded.datadog.log.clear()
    loaded.apply("--overwrite")
    assert loaded.datadog.changes == []


def edit_dashboard(datadog):
    (dashboard,) = datadog.dashboards.values()
    dashboard["widgets"] *= 2


def edit_pipeline(datadog):
    (pipeline,) = datadog.pipelines.values()
    pipeline["is_enabled"] = False


@pytest.mark.parametrize(
    ("edit", "kind", "name"),
    [(edit_dashboard, "dashboard", "gunicorn_dashboard"), (edit_pipeline, "pipeline", "gunicorn")],
)
def test_changes_of_the_dashboard_and_the_pipeline_are_kept_too(loaded, edit, kind, name):
    edit(loaded.datadog)
    kept = "kept: changed by hand since it was loaded"
    assert loaded.apply().line_of(kind, name).startswith(f"{kept}; OVERWRITE=1 ONLY={name} replaces it https://")
    assert loaded.remove().line_of(kind, name).startswith(f"{kept}; OVERWRITE=1 ONLY={name} removes it https://")


def test_what_the_account_adds_by_itself_does_not_count_as_a_change(account):
    account.change_file(
        "monitors/worker_crashes.json", lambda monitor: monitor["definition"]["tags"].append("team:shop")
    )
    account.apply()
    for monitor in account.datadog.monitors.values():
        monitor |= {"overall_state": "Alert", "modified": "2027-01-01T00:00:00+00:00", "creator": {"handle": "bob"}}
        monitor["tags"].reverse()
    (dashboard,) = account.datadog.dashboards.values()
    dashboard |= {"author_handle": "bob", "modified_at": "2027-01-01T00:00:00Z", "notify_list": []}
    outcome = account.apply()
    for kind, name in ALL:
        assert outcome.line_of(kind, name).startswith("unchanged ")


def test_what_was_deleted_by_hand_is_created_again(loaded):
    del loaded.datadog.monitors[str(loaded.datadog.find_monitor("worker_crashes")["id"])]
    assert loaded.apply().line_of("monitor", "worker_crashes").startswith("created ")


def test_removal_leaves_nothing(loaded):
    planned = loaded.run("--remove")
    assert loaded.datadog.changes == []
    for kind, name in ALL:
        assert planned.line_of(kind, name).startswith("would be removed https://")

    outcome = loaded.remove()
    assert outcome.code == 0
    assert list(loaded.datadog.objects.values()) == [{}, {}, {}]
    for kind, name in ALL:
        assert outcome.line_of(kind, name) == "removed"

    loaded.datadog.log.clear()
    assert loaded.remove().code == 0
    assert loaded.datadog.changes == []


def test_removal_removes_what_was_changed_only_on_request(loaded):
    CHANGES["a text"](loaded.datadog.find_monitor("worker_crashes"))
    loaded.remove()
    (left,) = loaded.datadog.monitors.values()
    assert "slack" in left["message"]
    loaded.remove("--overwrite")
    assert loaded.datadog.monitors == {}


def add_objects_of_others(datadog):
    """Add what somebody else may have made: the same assets, imported by hand, and copies of ours."""
    for objects in datadog.objects.values():
        for document in list(objects.values()):
            copied = copy.deepcopy(document)
            copied["id"] = 7 if isinstance(document["id"], int) else "other-one-7"
            if isinstance(document["id"], int):
                copied["id"] += len(objects)
            objects[str(copied["id"])] = copied
            imported = copy.deepcopy(copied)
            imported["id"] = 70 + len(objects) if isinstance(document["id"], int) else "other-one-8"
            if "description" in imported:
                imported["description"] = imported["description"].partition("asset:")[0]
            imported["tags"] = [tag for tag in imported.get("tags", ()) if not tag.startswith("asset:")]
            objects[str(imported["id"])] = imported
            yield copied
            yield imported


def test_it_never_touches_what_somebody_else_made(loaded):
    others = copy.deepcopy(list(add_objects_of_others(loaded.datadog)))
    assert len(others) == 2 * OBJECTS
    loaded.apply()
    assert loaded.datadog.changes == []
    loaded.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    loaded.apply("--overwrite")
    loaded.remove("--overwrite")
    left = [each for objects in loaded.datadog.objects.values() for each in objects.values()]
    assert sorted(left, key=str) == sorted(others, key=str)


def test_a_dashboard_is_recognized_if_lists_shorten_descriptions(loaded):
    loaded.datadog.description_length = 20
    assert loaded.apply().line_of("dashboard", "gunicorn_dashboard").startswith("unchanged ")


def test_a_dashboard_is_recognized_under_another_title(loaded):
    (dashboard,) = loaded.datadog.dashboards.values()
    dashboard["title"] = "Our web servers"
    line = loaded.apply().line_of("dashboard", "gunicorn_dashboard")
    assert line.startswith("kept: changed by hand since it was loaded; OVERWRITE=1")


def test_objects_of_an_interrupted_load_are_not_touched_if_one_may_be_a_copy(account):
    account.datadog.answers = [Answer("POST /api/v1/monitor", 502, carried_out=True, after=1, times=1)]
    account.apply()
    original = account.datadog.find_monitor("cpu_used_up")
    account.datadog.monitors["7"] = copy.deepcopy(original) | {"id": 7}
    pages = [f"https://app.datadoghq.com/monitors/{number}" for number in (original["id"], 7)]
    before = copy.deepcopy(account.datadog.monitors)
    for outcome in (account.apply("--overwrite", "--only", "cpu_used_up"), account.remove("--only", "cpu_used_up")):
        assert outcome.code == 1
        lines = [line for line in map(squeeze, outcome.lines) if line.startswith("monitor cpu_used_up")]
        text = "monitor cpu_used_up not done: its load was interrupted, and there are several: delete"
        assert all(line.startswith(text) for line in lines)
        assert [line.split()[-1] for line in lines] == pages
        assert outcome.line("Not done: monitor cpu_used_up")
    assert account.datadog.monitors == before
    del account.datadog.monitors["7"]
    assert account.apply().code == 0


def test_a_second_object_is_left_until_removal(loaded):
    first = loaded.datadog.find_monitor("cpu_used_up")
    second = copy.deepcopy(first) | {"id": 7}
    second["tags"] = [tag.replace(f"/{first['id']}", "/7") for tag in first["tags"]]
    loaded.datadog.monitors["7"] = second
    lines = [line for line in map(squeeze, loaded.apply().lines) if line.startswith("monitor cpu_used_up")]
    assert lines[0].startswith("monitor cpu_used_up unchanged https://")
    assert lines[1] == (
        "monitor cpu_used_up a second one; not updated; REMOVE=1 removes both https://app.datadoghq.com/monitors/7"
    )
    loaded.remove()
    assert loaded.datadog.monitors == {}


def test_an_asset_that_a_new_version_does_not_have_is_left_until_removal(loaded):
    (loaded.checkout / "assets/monitors/worker_crashes.json").unlink()
    outcome = loaded.apply()
    line = outcome.line_of("monitor", "worker_crashes")
    assert line.startswith("left alone: an earlier version made it; REMOVE=1 removes it https://")
    assert loaded.datadog.changes == []
    loaded.remove()
    assert loaded.datadog.monitors == {}


def test_lists_longer_than_a_page_are_read_to_the_end(account):
    for number in range(250):
        account.datadog.dashboards[f"d-{number}"] = {
            "id": f"d-{number}",
            "title": "Other",
            "description": None,
            "layout_type": "ordered",
            "url": "",
            "is_read_only": False,
            "author_handle": "",
        }
        account.datadog.monitors[str(number)] = {"id": number, "tags": ["integration:gunicorn"]}
    account.apply()
    account.datadog.log.clear()
    account.apply()
    assert account.datadog.changes == []
    assert account.datadog.log.count("GET /api/v1/dashboard -> 200") == 3
    assert account.datadog.log.count("GET /api/v1/monitor -> 200") == 3


def test_an_account_that_drops_the_mark_is_not_filled_with_duplicates(account, monkeypatch):
    complete = COMPLETE[PIPELINES]
    monkeypatch.setitem(COMPLETE, PIPELINES, lambda *given: complete(*given) | {"description": ""})
    outcome = account.apply()
    assert outcome.code == 1
    assert outcome.line_of("pipeline", "gunicorn") == (
        "FAILED: the account did not keep the mark by which the object would be recognized"
    )
    assert account.datadog.pipelines == {}


def test_each_object_takes_two_requests(account):
    account.run()
    reads = len(account.datadog.log)
    account.datadog.log.clear()
    account.apply()
    assert len(account.datadog.log) == reads + 2 * OBJECTS


ADDED = {
    "dashboards": {
        "tags": ["team:shop"],
        "notify_list": ["ada@shop.example"],
        "restricted_roles": ["7d1c"],
        "template_variable_presets": [{"name": "shop", "template_variables": [{"name": "host", "values": ["a"]}]}],
    },
    "monitors": {"restricted_roles": ["7d1c"], "draft_status": "draft"},
    "pipelines": {"tags": ["team:shop"]},
}


@pytest.mark.parametrize("overwrites", [(), ("--overwrite",)], ids=str)
def test_an_update_keeps_what_somebody_added_beside_what_is_loaded(loaded, overwrites):
    for kind, added in ADDED.items():
        for document in getattr(loaded.datadog, kind).values():
            document.update(copy.deepcopy(added))
    mute = {"*": 1900000000}
    loaded.datadog.find_monitor("worker_crashes")["options"]["silenced"] = mute
    assert loaded.run().line("Plan: ").startswith(f"Plan: {OBJECTS} unchanged, ")
    loaded.change_file(DASHBOARD, lambda dashboard: dashboard.update(title="Servers"))
    loaded.change_file("monitors/worker_crashes.json", lambda monitor: monitor["definition"].update(priority=1))
    file = loaded.checkout / "assets/logs/gunicorn.yaml"
    file.write_text(file.read_text().replace("  name: Gunicorn\n", "  name: Servers\n", 1))
    assert loaded.apply(*overwrites).line("Done: ").startswith("Done: 3 updated, ")
    for kind, added in ADDED.items():
        for document in getattr(loaded.datadog, kind).values():
            assert document.items() >= added.items()
    monitor = loaded.datadog.find_monitor("worker_crashes")
    assert (monitor["options"]["silenced"], monitor["priority"]) == (mute, 1)
    assert loaded.run().line("Plan: ").startswith(f"Plan: {OBJECTS} unchanged, ")


def test_only_restricts_a_run_to_the_named_assets(loaded):
    changed = ("worker_crashes", "crash_loop")
    for name in changed:
        CHANGES["a text"](loaded.datadog.find_monitor(name))
    outcome = loaded.apply("--overwrite", "--only", "worker_crashes")
    assert [line.split()[:2] for line in outcome.lines[:-1]] == [["monitor", "worker_crashes"]]
    assert outcome.lines[-1] == "Done: 1 updated."
    assert {line.split()[1] for line in loaded.datadog.changes} == {
        f"/api/v1/monitor/{loaded.datadog.find_monitor('worker_crashes')['id']}"
    }
    assert ["slack" in loaded.datadog.find_monitor(name)["message"] for name in changed] == [False, True]
    loaded.datadog.receive("gunicorn.workers")
    outcome = loaded.apply("--only", "crash_loop", "--only", "gunicorn.workers")
    assert outcome.line("Done: ") == "Done: 1 kept, 1 filled in."
    assert loaded.remove("--only", "worker_crashes").line("Done: ") == "Done: 1 removed."
    assert len(loaded.datadog.monitors) == len(MONITORS) - 1


def test_only_with_an_unknown_name_is_wrong_usage(account, capsys):
    assert account.run("--only", "worker_crash").code == 2
    assert capsys.readouterr().err == "--only (ONLY): there is no asset worker_crash; run without it to see the names\n"
    assert account.datadog.log == []


def test_a_dashboard_that_somebody_restricted_is_skipped(account):
    account.datadog.dashboards["theirs"] = {
        "id": "theirs",
        "title": "Gunicorn",
        "description": None,
        "layout_type": "ordered",
        "url": "",
        "is_read_only": False,
        "author_handle": "",
    }
    for status in (403, 404):
        account.datadog.answers = [Answer("GET /api/v1/dashboard/theirs", status)]
        outcome = account.apply()
        assert outcome.code == 0
        assert outcome.line("dashboard note: ") == (
            "dashboard note: skipped theirs, another dashboard 'Gunicorn', which cannot be read"
        )
    assert len(account.datadog.dashboards) == 2


def test_the_accounts_own_pipeline_for_the_same_logs_is_named(account):
    own = {"id": "own", "name": "Gunicorn", "is_read_only": True, "is_enabled": True, "description": ""}
    account.datadog.pipelines["own"] = {**own, "filter": {"query": "source:gunicorn"}, "processors": []}
    outcome = account.apply()
    assert outcome.line("pipeline note:") == (
        "pipeline note: the account's own pipeline 'Gunicorn' processes the same logs: see docs/assets.md"
    )
    account.datadog.pipelines["own"]["is_enabled"] = False
    assert not any("note:" in line for line in account.run().lines)


def test_what_no_api_can_load_is_named_with_a_link(account):
    outcome = account.run()
    assert outcome.line_of("saved view", "5xx_errors") == (
        "no public API: open it and save it by hand https://app.datadoghq.com/logs"
        "?query=source%3Agunicorn+%40http.status_code%3A%5B500+TO+599%5D&viz=stream"
        "&cols=host%2Cservice%2C%40http.status_code%2C%40http.method%2C%40http.url_details.path%2C%40duration"
    )
    assert outcome.line_of("saved view", "gunicorn_processes").endswith(
        "https://app.datadoghq.com/process?text=gunicorn"
    )
    assert outcome.line_of("saved view", "status_code_overview").endswith(
        "&viz=timeseries&agg_q=%40http.status_code&agg_m=count&agg_t=count"
    )
    assert outcome.line("facet ").startswith("facet no public API: add the 26 of assets/logs/gunicorn.yaml by hand")
