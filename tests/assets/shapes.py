"""The shapes of the assets: the fields and values in use, of those that Datadog documents.

A shape is a type (`float` for any number), a set of values, a mapping of fields to shapes, or a list with the shape of
its items. A field whose name ends with `?` is optional.
"""

from collections.abc import Iterator
from typing import Any


def find_misfits(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    match shape:
        case dict():
            fields = {name.rstrip("?"): field for name, field in shape.items()}
            if not isinstance(value, dict) or not {n for n in shape if n in fields} <= set(value) <= set(fields):
                yield f"{path} does not have the fields {', '.join(shape)}"
                return
            for name, field in value.items():
                yield from find_misfits(field, fields[name], f"{path}.{name}")
        case [item]:
            if not isinstance(value, list) or not value:
                yield f"{path} is not a list, or is empty"
                return
            for index, one in enumerate(value):
                yield from find_misfits(one, item, f"{path}[{index}]")
        case set():
            if value not in shape:
                yield f"{path} is {value}"
        case _:
            if (type(value) is not shape and (shape, type(value)) != (float, int)) or value == "":
                yield f"{path} is {value!r}"


# https://docs.datadoghq.com/dashboards/widgets/ and https://docs.datadoghq.com/api/latest/dashboards/
METRIC_QUERY = {"data_source": {"metrics"}, "name": str, "query": str, "aggregator?": {"avg", "last", "max"}}
COMPUTE = {"aggregation": {"count", "pc95"}, "metric?": str}
LOG_QUERY = {
    "data_source": {"logs"},
    "name": str,
    "indexes": [{"*"}],
    "compute": COMPUTE,
    "search": {"query": str},
    "group_by": [{"facet": str, "limit": int, "sort": {"order": {"desc"}, **COMPUTE}}],
}
FORMULA = {"formula": str, "alias?": str, "number_format": dict}
FORMULAS = [FORMULA]
TIMESERIES = {
    "response_format": {"timeseries"},
    "queries": list,
    "formulas": FORMULAS,
    "display_type": {"area", "bars", "line"},
    "style": {"palette": {"cool", "dog_classic", "warm"}, "line_type": {"solid"}, "line_width": {"normal"}},
}
SCALAR = {"response_format": {"scalar"}, "queries": list, "formulas": FORMULAS}
FORMAT = {
    "comparator": {"<=", ">", ">="},
    "value": int,
    "palette": {"black_on_light_yellow", "white_on_green", "white_on_red"},
}
COLUMN = {**FORMULA, "cell_display_mode": {"number"}, "conditional_formats": [FORMAT]}
ORDER = {"type": {"formula"}, "index": int, "order": {"asc", "desc"}}
SORT = {"count": int, "order_by": [ORDER]}
NOW = {"live_span": {"5m"}}
LINKS = [{"label": {"Gunicorn logs", "Gunicorn processes"}, "link": str}]
EVENTS = [{"q": str, "tags_execution": {"and"}}]
STREAM = {
    "data_source": {"logs_stream"},
    "query_string": str,
    "storage": {"hot"},
    "sort": {"column": {"timestamp"}, "order": {"desc"}},
}
QUERIES = {"metrics": METRIC_QUERY, "logs": LOG_QUERY}
WIDGETS = {
    "note": {
        "type": {"note"},
        "content": str,
        "background_color": {"white"},
        "font_size": {"14"},
        "text_align": {"left"},
        "vertical_align": {"top"},
        "show_tick": {False},
        "has_padding": {True},
    },
    "query_table": {
        "type": {"query_table"},
        "title": str,
        "time": NOW,
        "has_search_bar": {"auto"},
        "requests": [{**SCALAR, "formulas": [COLUMN], "sort": SORT}],
        "custom_links": LINKS,
    },
    "check_status": {
        "type": {"check_status"},
        "title": str,
        "check": str,
        "grouping": {"cluster"},
        "group_by": [{"app", "host"}],
        "tags": list,
    },
    "manage_status": {
        "type": {"manage_status"},
        "title": str,
        "query": {"tag:(integration:gunicorn)"},
        "summary_type": {"monitors"},
        "display_format": {"countsAndList"},
        "color_preference": {"text"},
        "hide_zero_counts": {True},
        "show_last_triggered": {True},
        "show_priority": {True},
        "sort": {"status,asc"},
        "count": {50},
        "start": {0},
    },
    "timeseries": {
        "type": {"timeseries"},
        "title": str,
        "show_legend": {True},
        "legend_layout": {"auto"},
        "legend_columns": [{"avg", "max", "value"}],
        "requests": [TIMESERIES],
        "markers?": [{"value": {"y = 1", "y = 30"}, "display_type": {"warning dashed"}, "label": str}],
        "events": EVENTS,
        "custom_links?": LINKS,
    },
    "query_value": {
        "type": {"query_value"},
        "title": str,
        "time": NOW,
        "requests": [{**SCALAR, "conditional_formats?": [FORMAT]}],
        "autoscale": {True},
        "precision": int,
        "custom_links": LINKS,
    },
    "toplist": {
        "type": {"toplist"},
        "title": str,
        "time?": NOW,
        "requests": [{**SCALAR, "sort": SORT}],
        "custom_links?": LINKS,
    },
    "list_stream": {
        "type": {"list_stream"},
        "title": str,
        "requests": [
            {"response_format": {"event_list"}, "query": STREAM, "columns": [{"field": str, "width": {"auto"}}]}
        ],
    },
}
PLACE = {"x": int, "y": int, "width": int, "height": int}
GROUP = {
    "type": {"group"},
    "title": str,
    "layout_type": {"ordered"},
    "show_title": {True},
    "background_color": {f"vivid_{color}" for color in ("blue", "green", "orange", "pink", "purple", "yellow")},
    "widgets": [{"id": int, "definition": dict, "layout": PLACE}],
}
VARIABLE = {"name": str, "prefix": str, "available_values": list, "defaults": [{"*"}]}
DASHBOARD = {
    "title": {"Gunicorn"},
    "description": str,
    "layout_type": {"ordered"},
    "reflow_type": {"fixed"},
    "template_variables": [VARIABLE],
    "widgets": [{"id": int, "definition": GROUP, "layout": PLACE}],
}

# https://docs.datadoghq.com/developers/integrations/create-an-integration-recommended-monitor/ and
# https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor
MONITOR = {
    "version": {2},
    "created_at": str,
    "last_updated_at": str,
    "title": str,
    "description": str,
    "tags": [{"integration:gunicorn"}],
    "definition": {
        "name": str,
        "type": str,
        "query": str,
        "message": str,
        "tags": [{"integration:gunicorn"}],
        "priority": {1, 2, 3, 4, 5},
        "options": dict,
    },
}
OPTIONS = {
    "thresholds": {"critical": float, "warning?": float, "critical_recovery?": float, "warning_recovery?": float},
    "include_tags": {True},
    "notify_audit": {False},
    "renotify_interval": int,
    "renotify_statuses?": [{"alert", "no data", "warn"}],
    "new_group_delay?": int,
}
ON_MISSING_DATA = {"default", "show_no_data", "show_and_notify_no_data", "resolve"}
OPTIONS_BY_TYPE = {
    "query alert": {**OPTIONS, "require_full_window": bool, "on_missing_data": ON_MISSING_DATA},
    "log alert": {**OPTIONS, "enable_logs_sample": bool, "on_missing_data": ON_MISSING_DATA},
    "service check": {
        **OPTIONS,
        "thresholds": {"critical": int, "ok": int, "warning?": int},
        "notify_no_data": bool,
        "timeout_h": set(range(25)),
    },
}

# Documented only by ddev's validator. All integrations write these numbers as strings.
VIEW = {"name": str, "type": {"logs"}, "query": str, "timerange": {"interval_ms": int}, "visible_facets": [str]}
ANALYTICS = {
    "group_bys": [{"facet": str}],
    "aggregations": [{"metric": {"count"}, "type": {"count"}}],
    "order": {"top"},
    "limit": str,
    "widget": {"query_table", "timeseries"},
    "step_ms?": str,
}
SAVED_VIEWS = {
    "stream": {
        **VIEW,
        "page": {"stream"},
        "options": {
            "columns": [str],
            "show_date_column": bool,
            "show_message_column": bool,
            "message_display": {"inline"},
            "show_timeline": bool,
        },
    },
    "analytics": {**VIEW, "page": {"analytics"}, "options": ANALYTICS},
    "process_overview": {
        "name": str,
        "type": {"process"},
        "page": {"process_overview"},
        "query": {"gunicorn"},
        "options": {
            "filter": {"text": {"gunicorn"}, "tags": list, "groups": list},
            "sort": {"key": {"memory"}, "order": {"DESC"}},
            "view_options": [{"normalizeCPU", "showArguments"}],
            "graph_options": dict,
            "selected_top_graph": {"scatterplot"},
            "enabled_columns": [{"cpu", "host", "mem", "proc", "start", "user"}],
        },
    },
}
