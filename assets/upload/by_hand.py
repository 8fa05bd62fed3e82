"""What no public API can load: where to make it by hand."""

from urllib.parse import urlencode

from .documents import Document


def saved_view_page(view: Document) -> str:
    """Build the path of the page that shows a view, ready to be saved: `/logs?query=source%3Agunicorn&viz=stream`."""
    if view["type"] == "process":
        return f"/process?{urlencode({'text': view['query']})}"
    options = view["options"]
    shown = {"query": view["query"], "viz": options.get("widget", "stream")}
    if options.get("columns"):
        shown["cols"] = ",".join(options["columns"])
    if options.get("group_bys"):
        shown["agg_q"] = ",".join(each["facet"] for each in options["group_bys"])
        shown["agg_m"] = shown["agg_t"] = "count"
    return f"/logs?{urlencode(shown)}"
