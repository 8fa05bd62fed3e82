from typing import Any

from datadog_api_client.v1.api.logs_pipelines_api import LogsPipelinesApi
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline

from assets.upload.api import Api
from assets.upload.documents import Document
from assets.upload.kinds.kind import Kind

# How the API names what the file, in the format of Datadog's integrations, names otherwise.
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


class Pipelines(Kind):
    name = "pipeline"
    reads = "logs_read_config"
    writes = "logs_write_pipelines"
    fields = ("name", "description", "is_enabled", "filter", "processors")
    page = "/logs/pipelines/pipeline/edit/{}"

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        super().__init__(api, assets)
        self._requests = LogsPipelinesApi(api.client)
        self._others: list[Document] = []

    def create(self, document: Document) -> str:
        return str(self._write(self._requests.create_logs_pipeline, self._api.model(document, LogsPipeline))["id"])

    def update(self, object_id: str, document: Document) -> None:
        self._write(self._requests.update_logs_pipeline, object_id, self._api.model(document, LogsPipeline))

    def delete(self, object_id: str) -> None:
        self._write(self._requests.delete_logs_pipeline, object_id)

    def note(self) -> str | None:
        """Name Datadog's own pipeline for the same logs, if the account has it and it is enabled."""
        queries = {document["filter"]["query"] for document in self.assets.values()}
        for other in self._others:
            if other.get("is_read_only") and other.get("is_enabled") and other["filter"]["query"] in queries:
                return f"the account's own pipeline {other['name']!r} processes the same logs: see docs/assets.md"
        return None

    def _get(self, object_id: str) -> Document:
        document: Document = self._read(self._requests.get_logs_pipeline, object_id)
        return document

    def _list_candidates(self) -> list[Document]:
        self._others = self._read(self._requests.list_logs_pipelines)
        return self._others


def translate(value: Any) -> Any:
    """Return a pipeline, or a part of one, with the API's names."""
    if isinstance(value, dict):
        return {NAMES.get(key, key): translate(each) for key, each in value.items()}
    if isinstance(value, list):
        return [translate(each) for each in value]
    return value
