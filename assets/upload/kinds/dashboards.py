from collections.abc import Iterator
from itertools import count

from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.model.dashboard import Dashboard

from assets.upload.api import Api
from assets.upload.documents import Document
from assets.upload.kinds.kind import Kind

PAGE = 100


class Dashboards(Kind):
    name = "dashboard"
    reads = "dashboards_read"
    writes = "dashboards_write"
    fields = ("title", "description", "layout_type", "reflow_type", "template_variables", "widgets")
    page = "/dashboard/{}"

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        super().__init__(api, assets)
        self._requests = DashboardsApi(api.client)

    def create(self, document: Document) -> str:
        return str(self._write(self._requests.create_dashboard, self._api.model(document, Dashboard))["id"])

    def update(self, object_id: str, document: Document) -> None:
        self._write(self._requests.update_dashboard, object_id, self._api.model(document, Dashboard))

    def delete(self, object_id: str) -> None:
        self._write(self._requests.delete_dashboard, object_id)

    def _get(self, object_id: str) -> Document:
        document: Document = self._read(self._requests.get_dashboard, object_id)
        return document

    def _list_candidates(self) -> Iterator[Document]:
        # The list has no widgets, and does not promise whole descriptions: look also at those with our titles.
        titles = {document["title"] for document in self.assets.values()}
        for start in count(0, PAGE):
            page = self._read(self._requests.list_dashboards, count=PAGE, start=start)["dashboards"]
            for summary in page:
                if self._find_mark(summary) or summary.get("title") in titles:
                    yield self._get(summary["id"])
            if len(page) < PAGE:
                return
