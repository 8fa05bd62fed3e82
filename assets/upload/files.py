"""The assets of this version, from the files of the checkout at `root`."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from .documents import Document
from .kinds.pipelines import translate

# The API's name for each column of metadata.csv that it has a field for.
COLUMNS = {
    "description": "description",
    "short_name": "short_name",
    "metric_type": "type",
    "unit_name": "unit",
    "per_unit_name": "per_unit",
}


def read_dashboards(root: Path) -> dict[str, Document]:
    return _read_folder(root, "dashboards")


def read_monitors(root: Path) -> dict[str, Document]:
    return {name: document["definition"] for name, document in _read_folder(root, "monitors").items()}


def read_saved_views(root: Path) -> dict[str, Document]:
    return _read_folder(root, "saved_views")


def read_pipelines(root: Path) -> dict[str, Document]:
    pipeline = _read_logs(root)["pipeline"]
    # `type` tells a nested pipeline from other processors, and an object of its own has none.
    del pipeline["type"]
    return {"gunicorn": translate(pipeline)}


def read_facets(root: Path) -> list[str]:
    """Return the paths of the facets of logs: `http.status_code`."""
    return [facet["path"] for facet in _read_logs(root)["facets"]]


def read_metrics(root: Path) -> dict[str, dict[str, str]]:
    """Return the metadata of each metric, without empty fields."""
    with (root / "metadata.csv").open(newline="") as lines:
        return {
            row["metric_name"]: {field: row[column] for column, field in COLUMNS.items() if row[column]}
            for row in csv.DictReader(lines)
        }


def _read_folder(root: Path, name: str) -> dict[str, Document]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((root / "assets" / name).glob("*.json"))}


def _read_logs(root: Path) -> Any:
    return yaml.safe_load((root / "assets/logs/gunicorn.yaml").read_text())
