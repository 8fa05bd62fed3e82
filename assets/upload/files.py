"""The assets of this version, from the files of the checkout; a file that cannot be read raises UsageError."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import yaml

from .account import UsageError
from .marks import Document

# The API's name for each column of metadata.csv that it has a field for.
COLUMNS = {
    "description": "description",
    "short_name": "short_name",
    "metric_type": "type",
    "unit_name": "unit",
    "per_unit_name": "per_unit",
}
# The API's names for fields that have other names in the pipeline's file, in the format of Datadog's integrations.
NAMES = {
    "enabled": "is_enabled",
    "encoded": "is_encoded",
    "matchRules": "match_rules",
    "supportRules": "support_rules",
    "preserveSource": "preserve_source",
    "overrideOnConflict": "override_on_conflict",
    "sourceType": "source_type",
    "targetType": "target_type",
}

Content = TypeVar("Content")


class Files:
    def __init__(self, root: Path) -> None:
        """`root` is the checkout."""
        self._root = root

    def read_dashboards(self) -> dict[str, Document]:
        return self._read_folder("dashboards", _as_it_is)

    def read_monitors(self) -> dict[str, Document]:
        return self._read_folder("monitors", lambda document: document["definition"])

    def read_saved_view_pages(self) -> dict[str, str]:
        """Return the paths of the pages that show the saved views, ready to be saved by hand."""
        return self._read_folder("saved_views", saved_view_page)

    def read_pipelines(self) -> dict[str, Document]:
        with self._reading("assets/logs/gunicorn.yaml") as path:
            pipeline = yaml.safe_load(path.read_text())["pipeline"]
            # `type` distinguishes a nested pipeline from other processors; a top-level pipeline has none.
            del pipeline["type"]
            return {"gunicorn": translate(pipeline)}

    def count_facets(self) -> int:
        with self._reading("assets/logs/gunicorn.yaml") as path:
            return len(yaml.safe_load(path.read_text())["facets"])

    def read_metrics(self) -> dict[str, dict[str, str]]:
        """Return the metadata of each metric, without empty fields."""
        with self._reading("metadata.csv") as path, path.open(newline="") as lines:
            return {
                row["metric_name"]: {field: row[column] for column, field in COLUMNS.items() if row[column]}
                for row in csv.DictReader(lines)
            }

    def _read_folder(self, name: str, take: Callable[[Document], Content]) -> dict[str, Content]:
        contents = {}
        for file in sorted((self._root / "assets" / name).glob("*.json")):
            with self._reading(f"assets/{name}/{file.name}") as path:
                contents[path.stem] = take(json.loads(path.read_text()))
        return contents

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        try:
            yield self._root / name
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise UsageError(f"{name}: cannot be read: {reason}. Restore the file, for example with git.") from None


def _as_it_is(document: Document) -> Document:
    return document


def translate(value: Any) -> Any:
    """Return a pipeline, or a part of one, with the API's names."""
    if isinstance(value, dict):
        return {NAMES.get(key, key): translate(each) for key, each in value.items()}
    if isinstance(value, list):
        return [translate(each) for each in value]
    return value


def saved_view_page(view: Document) -> str:
    """Build the path of the page that shows a view: `/logs?query=source%3Agunicorn&viz=stream`."""
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
