"""The kinds of objects that the command creates in an account, and the metadata of metrics: requests and answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, ClassVar

from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.logs_pipelines_api import LogsPipelinesApi
from datadog_api_client.v1.api.metrics_api import MetricsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.metric_metadata import MetricMetadata
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

from .api import Api, ForbiddenError, MissingError, RequestError
from .marks import Document, Mark, add_to_text, digest, essence, find_mark, remove_from_text
from .plan import Found

# How many objects a page of a list has.
PAGE = 100
METADATA = ("description", "short_name", "type", "unit", "per_unit", "statsd_interval")

Request = Callable[..., Any]


class Kind(ABC):
    """A kind of object in an account. All methods that send requests raise RequestError."""

    name: ClassVar[str]
    # The permissions that its requests need.
    reads: ClassVar[str]
    writes: ClassVar[str]
    # The fields that are loaded, and those that an update sends back unchanged. The account sets all others by itself.
    loaded: ClassVar[tuple[str, ...]]
    preserved: ClassVar[tuple[str, ...]]
    # The models of the bodies that create and update an object.
    models: ClassVar[tuple[type, type]]
    # The path of an object's page; {} stands for its id.
    page: ClassVar[str]
    id_type: ClassVar[type] = str

    def __init__(
        self, api: Api, assets: dict[str, Document], *, create: Request, update: Request, delete: Request
    ) -> None:
        """`assets` are the documents to load, by the names of their files; the requests are the library's methods."""
        self.assets = assets
        # What the user should know about other objects of the account; set by `find`.
        self.notes: list[str] = []
        self._api = api
        self._requests = {"create": create, "update": update, "delete": delete}

    def find(self) -> list[Found]:
        """Find the objects that this command made."""
        return [found for document in self._list_candidates() if (found := self._recognize(document))]

    def store(self, name: str, known: Found | None) -> str:
        """Create the object of an asset, or update the known one, and return its id.

        Sends two requests: the digest of the document as the account stores it, and the id of a new object, are known
        only after the first one. If the second one fails, the incomplete mark shows that to the next run.
        """
        document = self.assets[name]
        mark = Mark(name, digest(self.essence(document)))
        answer = self._send(self._with_mark(document, mark), known)
        stored = self._recognize(answer)
        if stored is None or stored.mark != mark:
            if known is None:
                self.delete(str(answer["id"]))
            raise RequestError("the account did not keep the mark by which the object would be recognized")
        complete = Mark(name, mark.loaded, digest(stored.content), stored.object_id)
        self._send(self._with_mark(document, complete), stored)
        return stored.object_id

    def delete(self, object_id: str) -> None:
        try:
            self._api.write(self._requests["delete"], self.id_type(object_id), permission=self.writes)
        except MissingError:
            # Somebody else has deleted it already.
            return

    def essence(self, document: Document) -> Document:
        """Return the part of a document that is compared: the fields that are loaded, without the mark."""
        return essence(self._without_mark(document), self.loaded)

    def _send(self, document: Document, known: Found | None) -> Document:
        if known is None:
            model: object = self._api.model(document, self.models[0])
            answer = self._api.write(self._requests["create"], model, permission=self.writes)
        else:
            model = self._api.model(self._complete(document, known.document), self.models[1])
            object_id = self.id_type(known.object_id)
            answer = self._api.write(self._requests["update"], object_id, model, permission=self.writes)
        return self._api.check_object(answer)

    def _complete(self, document: Document, stored: Document) -> Document:
        """Add what others have set on the stored object, because an update without it would clear it."""
        return {field: stored[field] for field in self.preserved if stored.get(field)} | document

    def _recognize(self, document: Document) -> Found | None:
        mark = self._find_mark(document)
        object_id = str(document["id"])
        # A mark with another object's id is on a copy that somebody made.
        if mark is None or mark.object_id not in {None, object_id}:
            return None
        return Found(object_id, mark, self.essence(document), document)

    def _list(self, request: Request, *, key: str = "", **options: Any) -> list[Document]:
        return self._api.check_objects(self._api.read(request, permission=self.reads, **options), key)

    @abstractmethod
    def _list_candidates(self) -> Iterable[Document]:
        """List all objects that may be ours, with all of their fields."""

    # The mark is in the description, unless a kind overrides these.

    def _with_mark(self, document: Document, mark: Mark) -> Document:
        return {**document, "description": add_to_text(document.get("description", ""), mark)}

    def _without_mark(self, document: Document) -> Document:
        return {**document, "description": remove_from_text(document.get("description") or "")}

    def _find_mark(self, document: Document) -> Mark | None:
        return find_mark(document.get("description") or "")


class Dashboards(Kind):
    name = "dashboard"
    reads = "dashboards_read"
    writes = "dashboards_write"
    loaded = ("title", "description", "layout_type", "reflow_type", "tabs", "template_variables", "widgets")
    preserved = (
        "default_timeframe",
        "is_read_only",
        "notify_list",
        "restricted_roles",
        "tags",
        "template_variable_presets",
    )
    models = (Dashboard, Dashboard)
    page = "/dashboard/{}"

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        library = DashboardsApi(api.client)
        super().__init__(
            api,
            assets,
            create=library.create_dashboard,
            update=library.update_dashboard,
            delete=library.delete_dashboard,
        )
        self._get = library.get_dashboard
        self._get_page = library.list_dashboards

    def _list_candidates(self) -> Iterator[Document]:
        # The list has no widgets, and may shorten descriptions: also read the dashboards that have our titles.
        titles = {document["title"] for document in self.assets.values()}
        for start in count(0, PAGE):
            page = self._list(self._get_page, key="dashboards", count=PAGE, start=start)
            for summary in page:
                marked = self._find_mark(summary) is not None
                if marked or summary.get("title") in titles:
                    yield from self._read(summary, marked=marked)
            if len(page) < PAGE:
                return

    def _read(self, summary: Document, *, marked: bool) -> Iterator[Document]:
        try:
            yield self._api.check_object(self._api.read(self._get, summary["id"], permission=self.reads))
        except (ForbiddenError, MissingError):
            if marked:
                raise
            self.notes.append(f"skipped {summary['id']}, another dashboard {summary['title']!r}, which cannot be read")


class Monitors(Kind):
    name = "monitor"
    reads = "monitors_read"
    writes = "monitors_write"
    loaded = ("name", "type", "query", "message", "tags", "priority", "options")
    preserved = ("assets", "draft_status", "restricted_roles")
    models = (Monitor, MonitorUpdateRequest)
    page = "/monitors/{}"
    id_type = int

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        library = MonitorsApi(api.client)
        super().__init__(
            api, assets, create=library.create_monitor, update=library.update_monitor, delete=library.delete_monitor
        )
        self._get_page = library.list_monitors

    def _list_candidates(self) -> Iterator[Document]:
        # The list can only be filtered by whole tags, and the end of our mark is unknown.
        for number in count():
            page = self._list(self._get_page, page=number, page_size=PAGE)
            yield from page
            if len(page) < PAGE:
                return

    def _complete(self, document: Document, stored: Document) -> Document:
        options = stored.get("options") or {}
        muted = {field: options[field] for field in ("silenced",) if options.get(field)}
        return super()._complete(document | {"options": muted | document.get("options", {})}, stored)

    # The description of a monitor is its message, which people receive, so the mark is a tag.

    def _with_mark(self, document: Document, mark: Mark) -> Document:
        return {**document, "tags": [*document.get("tags", ()), str(mark)]}

    def _without_mark(self, document: Document) -> Document:
        options = document.get("options") or {}
        return {
            **document,
            "tags": sorted(tag for tag in document.get("tags") or () if not find_mark(tag)),
            # Muting a monitor does not count as a change.
            "options": {field: value for field, value in options.items() if field != "silenced"},
        }

    def _find_mark(self, document: Document) -> Mark | None:
        return next(filter(None, map(find_mark, document.get("tags") or ())), None)


class Pipelines(Kind):
    name = "pipeline"
    reads = "logs_read_config"
    writes = "logs_write_pipelines"
    loaded = ("name", "description", "is_enabled", "filter", "processors")
    preserved = ("tags",)
    models = (LogsPipeline, LogsPipeline)
    page = "/logs/pipelines/pipeline/edit/{}"

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        library = LogsPipelinesApi(api.client)
        super().__init__(
            api,
            assets,
            create=library.create_logs_pipeline,
            update=library.update_logs_pipeline,
            delete=library.delete_logs_pipeline,
        )
        self._get_all = library.list_logs_pipelines

    def _list_candidates(self) -> list[Document]:
        documents = self._list(self._get_all)
        filters = [document["filter"] for document in self.assets.values()]
        # Datadog's own pipeline for the same logs.
        for other in documents:
            if other.get("is_read_only") and other.get("is_enabled") and other.get("filter") in filters:
                self.notes.append(
                    f"the account's own pipeline {other.get('name')!r} processes the same logs: see docs/assets.md"
                )
        return documents


class Metrics:
    """The metadata of metrics, which an account has only for metrics that it has received."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._library = MetricsApi(api.client)

    def read(self, name: str) -> Document | None:
        """Read the fields of a metric that are not empty; return None if the account has not received it yet."""
        try:
            answer = self._api.read(self._library.get_metric_metadata, name, permission="metrics_read")
        except MissingError:
            return None
        found = self._api.check_type(answer, dict)
        return {field: found[field] for field in METADATA if found.get(field)}

    def write(self, name: str, metadata: Document) -> None:
        """Replace all metadata of a metric."""
        model = self._api.model(metadata, MetricMetadata)
        self._api.write(self._library.update_metric_metadata, name, model, permission="metrics_metadata_write")
