"""The story of a run: for each kind of asset find what is there, plan, and carry it out if told to."""

from dataclasses import dataclass

from . import files
from .api import Api, MissingError, RefusedError
from .by_hand import saved_view_page
from .documents import Document, digest
from .kinds.dashboards import Dashboards
from .kinds.kind import Kind
from .kinds.monitors import Monitors
from .kinds.pipelines import Pipelines
from .marks import Mark
from .metrics import Metrics
from .plan import Action, Found, Step, plan_load, plan_metadata, plan_removal
from .report import Report
from .world import World

DONE = {Action.CREATE: "created", Action.UPDATE: "updated", Action.REMOVE: "removed"}
METRIC = "metric"
ALL = "(all)"
# Seconds between the attempts to read what was just created.
PAUSES = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Options:
    apply: bool = False
    remove: bool = False
    overwrite: bool = False


class Run:
    def __init__(self, api: Api, options: Options, report: Report, world: World) -> None:
        self._api = api
        self._options = options
        self._report = report
        self._world = world
        self._kinds: tuple[Kind, ...] = (
            Dashboards(api, files.read_dashboards(world.root)),
            Monitors(api, files.read_monitors(world.root)),
            Pipelines(api, files.read_pipelines(world.root)),
        )
        self._metrics = {} if options.remove else files.read_metrics(world.root)
        for kind in self._kinds:
            report.expect(kind.name, kind.assets)
        report.expect(METRIC, self._metrics)

    def run(self) -> None:
        """Load or remove everything; raise UnavailableError if the API cannot be used any further."""
        self._api.check_key()
        for kind in self._kinds:
            with self._report.about(kind.name, ALL):
                found = kind.find()
                if self._options.remove:
                    self._remove(kind, found)
                else:
                    self._load(kind, found)
        with self._report.about(METRIC, ALL):
            self._fill_metadata()
        self._show_what_is_left()

    def _load(self, kind: Kind, found: list[Found]) -> None:
        first = {each.mark.asset: each for each in reversed(found)}
        for name, document in kind.assets.items():
            with self._report.about(kind.name, name):
                known = first.get(name)
                step = plan_load(kind.essence(document), known, overwrite=self._options.overwrite)
                object_id = known.object_id if known else None
                if self._options.apply and step.action in DONE:
                    object_id = self._store(kind, name, document, object_id)
                self._show(kind, name, step, object_id)
        for each in found:
            if each.mark.asset not in kind.assets or each is not first[each.mark.asset]:
                text = "left alone: an earlier run made it, and this version does not update it; REMOVE=1 removes it"
                self._report.line(kind.name, each.mark.asset, text, kind.page.format(each.object_id))
        if note := kind.note():
            self._report.line(kind.name, "", f"note: {note}")

    def _remove(self, kind: Kind, found: list[Found]) -> None:
        self._report.expect(kind.name, [each.mark.asset for each in found])
        for each in found:
            name = each.mark.asset
            with self._report.about(kind.name, name):
                wanted = kind.essence(kind.assets[name]) if name in kind.assets else None
                step = plan_removal(wanted, each, overwrite=self._options.overwrite)
                if self._options.apply and step.action in DONE:
                    kind.delete(each.object_id)
                self._show(kind, name, step, each.object_id)
        if not found:
            self._report.line(kind.name, "", "none that this command made")

    def _store(self, kind: Kind, name: str, document: Document, object_id: str | None) -> str:
        """Create or update an object, and return its id.

        It takes two requests: the digest of what the account makes of a document, and the id of a new object, are known
        only after the first one. If the second one is missing, the mark says so to the next run.
        """
        mark = Mark(name, digest(kind.essence(document)))
        is_new = object_id is None
        if object_id is None:
            object_id = kind.create(kind.with_mark(document, mark))
        else:
            kind.update(object_id, kind.with_mark(document, mark))
        stored = self._read_stored(kind, object_id)
        if stored is None or stored.mark != mark:
            if is_new:
                kind.delete(object_id)
            raise RefusedError("the account did not keep the mark by which it would be recognized again")
        complete = Mark(name, mark.loaded, digest(stored.content), object_id)
        kind.update(object_id, kind.with_mark(document, complete))
        return object_id

    def _read_stored(self, kind: Kind, object_id: str) -> Found | None:
        # A new object may take a moment to appear.
        for pause in PAUSES:
            try:
                return kind.read(object_id)
            except MissingError:
                self._world.sleep(pause)
        return kind.read(object_id)

    def _show(self, kind: Kind, name: str, step: Step, object_id: str | None) -> None:
        outcome = str(step.action)
        detail = step.why
        if step.action in DONE:
            outcome = DONE[step.action] if self._options.apply else f"would be {DONE[step.action]}"
        elif step.action is Action.KEEP:
            detail += "; OVERWRITE=1 " + ("removes it" if self._options.remove else "replaces it")
        is_gone = self._options.apply and step.action is Action.REMOVE
        page = kind.page.format(object_id) if object_id and not is_gone else ""
        self._report.done(kind.name, name, outcome, detail, page)

    def _fill_metadata(self) -> None:
        metrics = Metrics(self._api)
        for name, wanted in self._metrics.items():
            # What the keys do not permit for one metric, they permit for none.
            with self._report.about(METRIC, name, failures=RefusedError):
                self._fill(metrics, name, wanted)

    def _fill(self, metrics: Metrics, name: str, wanted: dict[str, str]) -> None:
        found = metrics.read(name)
        if found is None:
            self._report.done(METRIC, name, "not received yet", "run it again when the account has the metric")
            return
        step = plan_metadata(wanted, found, overwrite=self._options.overwrite)
        if step.writes and self._options.apply:
            metrics.write(name, found | {field: wanted[field] for field in step.writes})
        outcome, details = "unchanged", []
        if step.keeps:
            outcome = "kept"
            details.append(f"the account has another {', '.join(step.keeps)}; OVERWRITE=1 replaces it")
        if step.writes:
            outcome = "filled in" if self._options.apply else "would be filled in"
            details.insert(0, ", ".join(step.writes))
        self._report.done(METRIC, name, outcome, "; ".join(details), f"/metric/summary?metric={name}")

    def _show_what_is_left(self) -> None:
        line = self._report.line
        if self._options.remove:
            line(METRIC, "", "metadata stays: the API has no request to delete it")
            line("saved view", "", "saved by hand, so remove them by hand")
            return
        for name, view in files.read_saved_views(self._world.root).items():
            line("saved view", name, "no public API: open it and save it by hand", saved_view_page(view))
        number = len(files.read_facets(self._world.root))
        line("facet", "", f"no public API: add the {number} of assets/logs/gunicorn.yaml by hand", "/logs")
