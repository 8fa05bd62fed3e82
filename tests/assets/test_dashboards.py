import json
import math
import random

import pytest

from .dashboards import find_all_faults
from .declared import ASSETS
from .formulas import FormulaError, Unit, calculate
from .metric_queries import find_queries

TEXT = (ASSETS / "dashboards/gunicorn_dashboard.json").read_text()
DASHBOARD = json.loads(TEXT)
(TABLE,) = DASHBOARD["widgets"][0]["definition"]["widgets"][0]["definition"]["requests"]
SELECTED = "$app,$host,$env,$cluster,$namespace"


def test_the_dashboard_has_no_faults():
    assert find_all_faults(DASHBOARD) == []


def test_the_file_is_indented_by_two_spaces():
    assert json.dumps(DASHBOARD, indent=2, ensure_ascii=False) + "\n" == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "--dogstatsd-tags app:NAME",
        "--statsd-host",
        "lower bounds",
        "keep-alive",
        "`sync`",
        "`checks_tag_cardinality`",
        "follow `service` and `host`, not `app`",
    ],
)
def test_the_notes_name_requirements_and_limits(text):
    assert text in TEXT


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"layout_type": "ordered"', '"layout_type": "free"'),
        ("{state:*,$app", "{$app"),
        ("{state:working,", "{state:busy,"),
        ("{state:queued,", "{state:*,"),
        ("{state:queued,", "{"),
        (".status.503{", ".status.513{"),
        ("default_zero(s502) + ", ""),
        ("default_zero(s404) + ", "default_zero(s404) + default_zero(s404) + "),
        ("default_zero(s200)", "default_zero(s404)"),
        ("default_zero(s200)", "default_one(s200)"),
        ("default_zero(s200) + ", "default_zero(s200) - "),
        ("max:gunicorn.request.duration.95percentile", "sum:gunicorn.request.duration.95percentile"),
        ("max:gunicorn.request.duration.median", "sum:gunicorn.request.duration.median"),
        ("max:gunicorn.worker.heartbeat.age.max", "sum:gunicorn.worker.heartbeat.age.max"),
        ("gunicorn.worker.heartbeat.age.max", "gunicorn.worker.heartbeat.max"),
        ("min:gunicorn.uptime", "sum:gunicorn.uptime"),
        ("sum:gunicorn.workers{state:*", "avg:gunicorn.workers{state:*"),
        ("gunicorn.dirty_workers{", "gunicorn.dirty.workers{"),
        (f"gunicorn.threads{{{SELECTED}}}", "gunicorn.threads{$app,$host}"),
        (f"gunicorn.threads{{{SELECTED}}}", f"gunicorn.threads{{{SELECTED},$service}}"),
        (f"gunicorn.workers.exited{{{SELECTED}}}.as_count()", f"gunicorn.workers.exited{{{SELECTED}}}"),
        ("by {app,host,container_name}", "by {app,host}"),
        ("by {app,host,container_name}", "by {app,service,container_name}"),
        ("by {process_role}", "by {role}"),
        ("source:gunicorn $host $service", "source:gunicorn $service"),
        ("source:gunicorn $host $service", "source:gunicorn $app $host $service"),
        ("source:gunicorn $host", "source:nginx $host"),
        ("@http.url_details.path", "@http.path"),
        ("worker_killed OR", "worker_shot OR"),
        ("status:(emergency", "status:(fatal"),
        ("[400 TO 499]", "[401 TO 499]"),
        ('"alias": "503"', '"alias": "502"'),
        ('"metric": "@duration"', '"metric": "@time"'),
        ('"display_type": "bars"', '"display_type": "bar"'),
        ('"formulas"', '"formula"'),
        ('"prefix": "kube_namespace"', '"prefix": "namespace"'),
        ('"name": "cluster"', '"name": "kube_cluster_name"'),
        ('"defaults": ["*"]', '"defaults": ["production"]'),
        ('"check": "gunicorn.is_running"', '"check": "gunicorn.running"'),
        ('["$app", "$host", "$env", "$cluster"]', '["$app", "$host", "$env", "$cluster", "$namespace"]'),
        ('"formula": "accepted / workers"', '"formula": "accepted / worker"'),
        ('"formula": "accepted / workers"', '"formula": "accepted / heartbeat"'),
        ('"formula": "cpu / workers"', '"formula": "cpu + workers"'),
        ('"formula": "cpu / workers"', '"formula": "cpu /"'),
        ('"formula": "100 * (working / workers)"', '"formula": "working / workers"'),
        ('"formula": "100 * (working / workers)"', '"formula": "10 * (working / workers)"'),
        ('"unit_name": "connection", "per_unit_name": "worker"', '"unit_name": "connection"'),
        ('"unit_name": "byte"', '"unit_name": "megabyte"'),
        ('"unit_name": "nanosecond"', '"unit_name": "millisecond"'),
        ('"label": "lines"', '"label": "requests"'),
        (', "number_format": {"unit": {"type": "canonical_unit", "unit_name": "second"}}', ""),
        ('"title": "Dirty workers, by server"', '"title": ""'),
        ('"type": "query_table"', '"type": "toplist"'),
        ('"live_span": "5m"', '"live_span": "1h"'),
        ('"time": {"live_span": "5m"}, "custom_links"', '"custom_links"'),
        ('"comparator": ">=", "value": 95', '"comparator": ">=", "value": 75'),
        ('"comparator": ">=", "value": 95', '"comparator": "=>", "value": 95'),
        ('"type": "formula", "index": 4', '"type": "formula", "index": 6'),
        ("source:change_tracking $service $env", "source:deployments $service $env"),
        ("tags:deployment $service $env", "tags:deployment $service"),
        ('"events": [', '"overlays": ['),
        ("/logs?query=source:gunicorn {{host}}", "/logs?query=source:nginx {{host}}"),
        ("/logs?query=source:gunicorn {{host}}", "/logs?query=source:gunicorn {{app}} {{host}}"),
        ("/logs?query=source:gunicorn {{host}}", "/logs?query=source:gunicorn {{$host}}"),
        ("/logs?query=source:gunicorn {{$host}}", "/logs?query=source:gunicorn {{host}}"),
        ("/process?query=gunicorn {{host}}", "/process?query=nginx {{host}}"),
        ("/process?query=gunicorn {{host}}", "/processes?query=gunicorn {{host}}"),
        ("from_ts={{timestamp_start}}", "from_ts={{timestamp}}"),
        ('"label": "Gunicorn processes"', '"label": "Gunicorn logs"'),
        ('"x": 6,', '"x": 5,'),
        ('"height": 6', '"height": 5'),
        ("tag:(integration:gunicorn)", "tag:(integration:nginx)"),
        ('"title": "Saturation"', '"title": "Requests"'),
        (', "aggregator": "last"', ""),
    ],
)
def test_a_fault_is_found(right, wrong):
    text = json.dumps(DASHBOARD)
    assert right in text
    assert find_all_faults(json.loads(text.replace(right, wrong, 1))) != []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ('"id": 101,', '"id": 102,', "ids are not unique"),
        ('"alias": "4xx"', '"alias": "5xx"', "status classes are incomplete"),
        ('"y": 60, "width": 12, "height": 16', '"y": 60, "width": 12, "height": 17', "height of Logs"),
        ('"field": "status_line"', '"field": "state"', "no such column: {'state'}"),
        (
            "sum:gunicorn.threads{",
            "gunicorn.threads{",
            f"not a query: gunicorn.threads{{{SELECTED}}} by {{process_role}}",
        ),
        (f"exited{{{SELECTED}}}", f"exited{{{SELECTED}}} by {{app}}", "not grouped alike: ['started', 'exited']"),
        ('"formula": "exited"', '"formula": "started"', "['exited', 'started'], of which ['started'] are used"),
        (f"{SELECTED}}} by {{app,host,container_name}}", f"{SELECTED}}}", "accepted / workers mixes servers"),
        ('"aggregation": "count"', '"aggregation": "pc95"', "no measure, or one too many: {'aggregation': 'pc95'}"),
        (
            '"sort": {"order": "desc", "aggregation": "count"}',
            '"sort": {"order": "desc", "aggregation": "pc95"}',
            "not sorted by {'aggregation': 'count'}",
        ),
        (
            '], "conditional_formats": [{"comparator": ">", "value": 25',
            '], "conditional_formats": [{"comparator": ">", "value": 15',
            "conditions that never decide: > [15, 17]",
        ),
        (
            '"formula": "accepted / workers"',
            '"formula": "default_zero(accepted) / workers"',
            "a missing value is not 0: ['gunicorn.workers', 'gunicorn.connections']",
        ),
        (
            '"formula": "cpu / workers"',
            '"formula": "cpu + workers"',
            "cpu + workers: Unit(name='percent', per=None) and Unit(name='worker', per=None) cannot be added up",
        ),
        ("tags:deployment $service", "tags:deploy $service", "Workers by state does not show deployments"),
    ],
)
def test_a_fault_is_named(right, wrong, fault):
    text = json.dumps(DASHBOARD)
    assert right in text
    assert fault in find_all_faults(json.loads(text.replace(right, wrong)))


def test_each_group_says_how_to_read_it():
    dashboard = json.loads(TEXT)
    group = dashboard["widgets"][1]["definition"]
    group["widgets"][0]["definition"] = group["widgets"][1]["definition"]
    assert find_all_faults(dashboard) == ["Saturation does not say how to read it"]


def test_widgets_of_metrics_have_links_to_logs_and_processes():
    dashboard = json.loads(TEXT)
    widget = dashboard["widgets"][1]["definition"]["widgets"][1]["definition"]
    del widget["custom_links"]
    assert find_all_faults(dashboard) == ["Workers by state has the links []"]


def test_the_table_is_the_first_thing_on_the_page():
    dashboard = json.loads(TEXT)
    widgets = dashboard["widgets"][0]["definition"]["widgets"]
    widgets[0], widgets[1] = widgets[1], widgets[0]
    assert find_all_faults(dashboard) != []


def test_a_toplist_of_metrics_shows_the_last_minutes():
    dashboard = json.loads(TEXT)
    (toplist,) = (
        widget["definition"]
        for widget in dashboard["widgets"][2]["definition"]["widgets"]
        if widget["definition"]["type"] == "toplist"
    )
    del toplist["time"]
    assert find_all_faults(dashboard) == ["Servers started last does not show the last minutes"]


@pytest.mark.parametrize(
    ("formula", "values", "value"),
    [
        ("a / b", {"a": 3.0, "b": 4.0}, 0.75),
        ("a / b", {"a": math.nan, "b": 4.0}, math.nan),
        ("a / b", {"a": 3.0, "b": 0.0}, math.nan),
        ("100 * ((a + default_zero(b)) / c)", {"a": 1.0, "b": math.nan, "c": 4.0}, 25.0),
        ("a / b", {"a": Unit("byte"), "b": Unit("worker")}, Unit("byte", "worker")),
        ("100 * (a / b)", {"a": Unit("request", "second"), "b": Unit("request", "second")}, Unit("percent")),
    ],
)
def test_a_formula_is_calculated(formula, values, value):
    assert calculate(formula, values) == (value if isinstance(value, Unit) else pytest.approx(value, nan_ok=True))


@pytest.mark.parametrize("formula", ["a - b", "top(a)", "c", "a.b", "default_zero(a, b)", "'a'", "a b"])
def test_a_formula_outside_of_the_grammar_is_an_error(formula):
    with pytest.raises(FormulaError):
        calculate(formula, {"a": 1.0, "b": 2.0})


@pytest.mark.parametrize(
    ("formula", "units"),
    [
        ("a + b", {"a": Unit("worker"), "b": Unit("connection")}),
        ("a / b", {"a": Unit("request", "second"), "b": Unit("worker")}),
        ("a / b", {"a": Unit("worker"), "b": Unit("request", "second")}),
        ("a / b", {"a": Unit("worker"), "b": Unit()}),
        ("100 * a", {"a": Unit("worker")}),
        ("a * 100", {"a": Unit()}),
        ("1 / a", {"a": Unit("worker")}),
        ("60 * (a / b)", {"a": Unit("worker"), "b": Unit("worker")}),
    ],
)
def test_units_that_do_not_fit_together_are_an_error(formula, units):
    with pytest.raises(FormulaError):
        calculate(formula, units)


def make_server(workers, busy, queue, heartbeat):
    """What each query of the table finds for a server, by metric and filter."""
    return {
        ("gunicorn.workers", "state:*"): workers,
        ("gunicorn.connections", "state:accepted"): busy,
        ("gunicorn.connections", "state:queued"): queue,
        ("gunicorn.cpu.percent", "process_role:worker"): 30.0 * busy,
        ("gunicorn.worker.heartbeat.age.max", None): heartbeat,
        ("gunicorn.request.duration.95percentile", None): 200.0,
    }


def make_fleet():
    """30 servers of `sync` workers: one is full, the others are at 30 to 70 percent and queue a connection at times."""
    draw = random.Random(14)
    fleet = {}
    for number in range(30):
        workers = draw.choice([4.0, 8.0, 16.0])
        busy, queue = workers * draw.uniform(0.3, 0.7), draw.choice([0.0, 0.0, 0.05])
        fleet[f"web-{number}"] = make_server(workers, busy, queue, draw.uniform(0, 15))
    fleet["web-17"] = make_server(8.0, 8.0, 6.5, 12.0)
    return fleet


def fill_table(fleet):
    """The rows as the dashboard shows them: the server, and for each column its alias and the value, NaN if none."""
    queries = {query["name"]: next(find_queries(query["query"])) for query in TABLE["queries"]}
    rows = []
    for server, samples in fleet.items():
        values = {}
        for name, query in queries.items():
            own = [item for item in query.filters if not item.startswith("$")]
            values[name] = samples.get((query.metric, own[0] if own else None), math.nan)
        rows.append((server, {f["alias"]: calculate(f["formula"], values) for f in TABLE["formulas"]}))
    aliases = [formula["alias"] for formula in TABLE["formulas"]]
    for order in reversed(TABLE["sort"]["order_by"]):
        assert order["order"] == "desc"
        alias = aliases[order["index"]]
        rows.sort(key=lambda row: -math.inf if math.isnan(row[1][alias]) else row[1][alias], reverse=True)
    return rows


def color(alias, value):
    (formats,) = (f["conditional_formats"] for f in TABLE["formulas"] if f["alias"] == alias)
    compare = {">": float.__gt__, ">=": float.__ge__, "<=": float.__le__}
    return next((f["palette"] for f in formats if compare[f["comparator"]](value, float(f["value"]))), None)


def find_red_cells(rows):
    return [(server, alias) for server, row in rows for alias in row if color(alias, row[alias]) == "white_on_red"]


def test_one_full_server_of_thirty_is_the_first_row_and_the_only_red_one():
    rows = fill_table(make_fleet())
    server, row = rows[0]
    assert server == "web-17"
    assert row["accepted per worker"] == 1.0
    assert color("accepted per worker", 1.0) == "black_on_light_yellow"
    assert find_red_cells(rows) == [("web-17", "connections waiting")]


def test_clients_that_other_worker_classes_keep_connected_do_not_hide_a_full_server():
    fleet = make_fleet()
    fleet["web-5"] = make_server(4.0, 200.0, 0.0, 1.0)
    assert fill_table(fleet)[0][0] == "web-17"


def test_a_full_server_comes_first_among_those_without_a_queue():
    fleet = make_fleet()
    fleet["web-17"] = make_server(8.0, 8.0, 0.0, 12.0)
    rows = [row for row in fill_table(fleet) if row[1]["connections waiting"] == 0]
    assert rows[0][0] == "web-17"
    assert [color("accepted per worker", row["accepted per worker"]) for _, row in rows[:2]] == [
        "black_on_light_yellow",
        None,
    ]


def test_a_server_without_connections_has_a_row_and_no_accepted_connections_per_worker():
    fleet = make_fleet()
    for state in ("accepted", "queued"):
        del fleet["web-3"]["gunicorn.connections", f"state:{state}"]
    rows = fill_table(fleet)
    server, row = rows[-1]
    assert (server, row["workers"]) == ("web-3", 8.0)
    assert math.isnan(row["accepted per worker"])
    assert rows[0][0] == "web-17"
    assert find_red_cells(rows) == [("web-17", "connections waiting")]


def test_a_stuck_worker_is_red():
    fleet = make_fleet()
    fleet["web-5"] = make_server(8.0, 1.0, 0.0, 28.0)
    assert ("web-5", "oldest heartbeat") in find_red_cells(fill_table(fleet))
