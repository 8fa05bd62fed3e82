from collections.abc import Iterator
from itertools import count

from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

from assets.upload.api import Api
from assets.upload.documents import Document
from assets.upload.kinds.kind import Kind
from assets.upload.marks import Mark, find_mark

PAGE = 100
# A tag of each of our monitors: only among those with it are marks looked for.
TAG = "integration:gunicorn"


class Monitors(Kind):
    name = "monitor"
    reads = "monitors_read"
    writes = "monitors_write"
    fields = ("name", "type", "query", "message", "tags", "priority", "options")
    page = "/monitors/{}"

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        super().__init__(api, assets)
        self._requests = MonitorsApi(api.client)

    def create(self, document: Document) -> str:
        return str(self._write(self._requests.create_monitor, self._api.model(document, Monitor))["id"])

    def update(self, object_id: str, document: Document) -> None:
        update = self._api.model(document, MonitorUpdateRequest)
        self._write(self._requests.update_monitor, int(object_id), update)

    def delete(self, object_id: str) -> None:
        self._write(self._requests.delete_monitor, int(object_id))

    # The description of a monitor is its message, which people receive, so the mark is a tag.

    def with_mark(self, document: Document, mark: Mark) -> Document:
        return {**document, "tags": [*document["tags"], str(mark)]}

    def _without_mark(self, document: Document) -> Document:
        return {**document, "tags": sorted(tag for tag in document["tags"] if not find_mark(tag))}

    def _find_mark(self, document: Document) -> Mark | None:
        return next(filter(None, map(find_mark, document["tags"])), None)

    def _get(self, object_id: str) -> Document:
        document: Document = self._read(self._requests.get_monitor, int(object_id))
        return document

    def _list_candidates(self) -> Iterator[Document]:
        for number in count():
            page = self._read(self._requests.list_monitors, monitor_tags=TAG, page=number, page_size=PAGE)
            yield from page
            if len(page) < PAGE:
                return
