"""An HTTP server on this machine that answers like Datadog's API, and keeps what it receives in memory.

It adds what an account adds to an object: ids, dates, an author, defaults. Each body has to match the model that
Datadog's client library has for its request, without fields that the model does not know.
"""

import copy
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.model_utils import ModelNormal, OpenApiModel
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.metric_metadata import MetricMetadata
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

API_KEY = "0123456789abcdef0123456789abcdef"
APPLICATION_KEY = "fedcba9876543210fedcba9876543210fedcba98"
DASHBOARDS = "/api/v1/dashboard"
MONITORS = "/api/v1/monitor"
PIPELINES = "/api/v1/logs/config/pipelines"
METRICS = "/api/v1/metrics"
# The model of a body, by method and collection.
MODELS = {
    ("POST", DASHBOARDS): Dashboard,
    ("PUT", DASHBOARDS): Dashboard,
    ("POST", MONITORS): Monitor,
    ("PUT", MONITORS): MonitorUpdateRequest,
    ("POST", PIPELINES): LogsPipeline,
    ("PUT", PIPELINES): LogsPipeline,
    ("PUT", METRICS): MetricMetadata,
}
_PARSER = ApiClient(Configuration(api_key={"apiKeyAuth": "none", "appKeyAuth": "none"}))


@dataclass
class Answer:
    """An answer that takes the place of the usual one, for requests whose method and path match."""

    pattern: str
    status: int = 200
    body: bytes = b'{"errors": ["as the test wants it"]}'
    headers: dict[str, str] = field(default_factory=dict)
    # How often it is given, and after how many matching requests.
    times: int = 10_000
    after: int = 0
    # Whether the request is carried out nevertheless.
    carried_out: bool = False
    # Called with the server before it answers.
    act: object = None


class Datadog:
    def __init__(self):
        self.objects = {DASHBOARDS: {}, MONITORS: {}, PIPELINES: {}}
        self.metrics = {}
        # Method, path and status of each request, and what was wrong with their bodies.
        self.log = []
        self.faults = []
        self.answers = []
        self.keys = (API_KEY, APPLICATION_KEY)
        # The length to which the list of dashboards shortens descriptions.
        self.description_length = 10_000
        self._numbers = iter(range(1001, 100_000))
        self._lock = threading.Lock()

    @property
    def changes(self):
        return [line for line in self.log if not line.startswith("GET")]

    @property
    def dashboards(self):
        return self.objects[DASHBOARDS]

    @property
    def monitors(self):
        return self.objects[MONITORS]

    @property
    def pipelines(self):
        return self.objects[PIPELINES]

    def find_monitor(self, name):
        """Find the monitor with our mark for this asset."""
        (found,) = (each for each in self.monitors.values() if any(f"/{name}/" in tag for tag in each["tags"]))
        return found

    def receive(self, *names):
        """Receive metrics, which creates their metadata."""
        for name in names:
            self.metrics[name] = dict.fromkeys(
                ("description", "short_name", "type", "unit", "per_unit", "statsd_interval", "integration")
            ) | {"type": "gauge"}

    def serve(self, method, url, headers, data):
        """Return status, headers and body of the answer to a request."""
        path = urlsplit(url).path
        with self._lock:
            answer = self._find_answer(f"{method} {path}")
            status, body = self._work(method, url, headers, data) if not answer or answer.carried_out else (0, None)
            status = answer.status if answer else status
            self.log.append(f"{method} {path} -> {status}")
        if not answer:
            return status, {}, json.dumps(body).encode()
        # Only now, when the request is carried out and logged: the client may not wait for the answer.
        if answer.act:
            answer.act(self)
        return status, answer.headers, answer.body

    def _find_answer(self, request):
        for answer in self.answers:
            if re.search(answer.pattern, request):
                if answer.after:
                    answer.after -= 1
                elif answer.times:
                    answer.times -= 1
                    return answer
        return None

    def _work(self, method, url, headers, data):
        parts = urlsplit(url)
        path = parts.path
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if path == "/api/v1/validate" and headers["DD-API-KEY"] == self.keys[0]:
            return 200, {"valid": True}
        if (headers["DD-API-KEY"], headers["DD-APPLICATION-KEY"]) != self.keys:
            return 403, {"errors": ["Forbidden"]}
        collection, _, name = path.rpartition("/") if path not in self.objects else (path, "", "")
        document = json.loads(data) if data else None
        faults = find_faults(document, MODELS[method, collection]) if document is not None else []
        self.faults += faults
        if faults:
            return 400, {"errors": faults}
        if collection == METRICS:
            return self._work_on_metric(method, name, document)
        if not name:
            return self._work_on_collection(method, collection, query, document)
        return self._work_on_object(method, collection, name, document)

    def _work_on_metric(self, method, name, document):
        if name not in self.metrics:
            return 404, {"errors": ["metric_name not found"]}
        if method == "PUT":
            self.faults += [f"{field}: null" for field, value in document.items() if value is None]
            # It replaces the metadata: a field that is not sent is empty then.
            self.metrics[name] = dict.fromkeys(self.metrics[name]) | document
        return 200, self.metrics[name]

    def _work_on_collection(self, method, collection, query, document):
        objects = self.objects[collection]
        if method == "POST":
            made = COMPLETE[collection](document, next(self._numbers))
            objects[str(made["id"])] = made
            return 200, made
        documents = list(objects.values())
        if collection == DASHBOARDS:
            start, count = int(query["start"]), int(query["count"])
            summaries = [{key: each[key] for key in SUMMARY} for each in documents]
            for summary in summaries:
                summary["description"] = (summary["description"] or "")[: self.description_length]
            return 200, {"dashboards": summaries[start : start + count]}
        if collection == MONITORS:
            if "monitor_tags" in query:
                documents = [each for each in documents if query["monitor_tags"] in each["tags"]]
            start = int(query["page"]) * int(query["page_size"])
            return 200, documents[start : start + int(query["page_size"])]
        return 200, documents

    def _work_on_object(self, method, collection, name, document):
        objects = self.objects[collection]
        if name not in objects:
            return 404, {"errors": [f"{name} not found"]}
        if method == "DELETE":
            del objects[name]
            return 200, {}
        if method == "PUT":
            objects[name] = COMPLETE[collection](document, next(self._numbers)) | {"id": objects[name]["id"]}
        return 200, objects[name]


SUMMARY = ("id", "title", "description", "layout_type", "url", "is_read_only", "author_handle")


def complete_dashboard(document, number):
    made = copy.deepcopy(document)
    for index, widget in enumerate(walk_widgets(made["widgets"])):
        widget["id"] = number * 1000 + index
        widget["definition"].setdefault("title_size", "16")
    defaults = {"is_read_only": False, "notify_list": None, "template_variable_presets": None, "restricted_roles": []}
    return {
        **defaults,
        **made,
        "id": f"abc-{number}-xyz",
        "url": f"/dashboard/abc-{number}-xyz/title",
        "author_handle": "ada@shop.example",
        "created_at": "2026-11-21T10:00:00Z",
        "modified_at": f"2026-11-21T10:00:00.{number}Z",
    }


def walk_widgets(widgets):
    for widget in widgets:
        yield widget
        yield from walk_widgets(widget["definition"].get("widgets", ()))


def complete_monitor(document, number):
    made = copy.deepcopy(document)
    made["tags"].reverse()
    thresholds = made["options"].get("thresholds", {})
    made["options"] = {
        "silenced": {},
        "new_host_delay": 300,
        "escalation_message": "",
        **made["options"],
        "thresholds": {name: float(value) for name, value in thresholds.items()},
    }
    return {
        "restricted_roles": None,
        **made,
        "id": number,
        "multi": True,
        "created": "2026-11-21T10:00:00+00:00",
        "modified": f"2026-11-21T10:00:00.{number}+00:00",
        "deleted": None,
        "overall_state": "No Data",
        "creator": {"handle": "ada@shop.example"},
    }


def complete_pipeline(document, number):
    made = copy.deepcopy(document)
    for processor in made["processors"]:
        processor.setdefault("name", "")
        if processor["type"] == "grok-parser":
            processor["grok"]["match_rules"] = processor["grok"]["match_rules"].rstrip()
        if processor["type"] == "url-parser":
            processor["normalize_ending_slashes"] = False
    return {"tags": [], **made, "id": f"Pipe_line-{number}", "type": "pipeline", "is_read_only": False}


COMPLETE = {DASHBOARDS: complete_dashboard, MONITORS: complete_monitor, PIPELINES: complete_pipeline}


def find_faults(document, model):
    """List what the client library's model rejects or does not know in a body."""
    try:
        made = _PARSER.deserialize(json.dumps(document), (model,), check_type=True)
    except (TypeError, ValueError) as error:
        return [str(error)]
    if made._unparsed:
        return [f"{model.__name__}: unparsed"]
    fixed = [f"{model.__name__}.{field}: read-only" for field in document if field in model.read_only_vars]
    return fixed + list(find_unknown(made, model.__name__))


def find_unknown(value, path):
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from find_unknown(each, f"{path}[{index}]")
    elif isinstance(value, OpenApiModel) and getattr(value, "_composed_instances", None):
        for instance in value._composed_instances:
            yield from find_unknown(instance, path)
    elif isinstance(value, ModelNormal):
        for key, each in value._data_store.items():
            if key not in value.openapi_types:
                yield f"{path}.{key}: unknown to {type(value).__name__}"
            yield from find_unknown(each, f"{path}.{key}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 milliseconds between its headers and its body.
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            # The client was interrupted, or did not wait for the answer.
            self.close_connection = True

    def _serve(self):
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        status, headers, body = self.server.datadog.serve(self.command, self.path, self.headers, data)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments):
        pass


@contextmanager
def serve(datadog):
    """Serve it on a local port, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.datadog = datadog
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
