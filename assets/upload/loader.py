"""The order of a run: for each kind of asset, find what the account has, plan, and carry out the plan if asked to."""

from argparse import Namespace
from collections.abc import Mapping
from typing import TypeVar

from .account import UsageError
from .api import Api, ForbiddenError, UnavailableError
from .files import Files
from .kinds import Dashboards, Kind, Metrics, Monitors, Pipelines
from .plan import Action, Found, Step, find_ambiguous, plan_load, plan_metadata, plan_removal
from .report import Report
from .world import World

CHANGES = {Action.CREATE: "created", Action.UPDATE: "updated", Action.REMOVE: "removed"}
METRIC = "metric"
ALL = "(all)"
AMBIGUOUS = (
    "its load was interrupted, and there are several: delete all but one by hand, or remove the mark from the others"
)

Asset = TypeVar("Asset")


class Options(Namespace):
    """The options of the command line."""

    apply: bool
    remove: bool
    overwrite: bool
    only: list[str] | None
    api_url: str | None


class Loader:
    def __init__(self, api: Api, options: Options, report: Report, world: World) -> None:
        """Raise UsageError if a file cannot be read, or if there is no asset of a name in `options.only`."""
        self._api = api
        self._options = options
        self._report = report
        self._files = files = Files(world.root)
        self._kinds: tuple[Kind, ...] = (
            Dashboards(api, files.read_dashboards()),
            Monitors(api, files.read_monitors()),
            Pipelines(api, files.read_pipelines()),
        )
        self._metrics = files.read_metrics()
        names = [*(name for kind in self._kinds for name in kind.assets), *self._metrics]
        # An earlier version may have loaded assets under names that this one does not have.
        unknown = [] if options.remove else [name for name in options.only or () if name not in names]
        if unknown:
            raise UsageError(f"--only (ONLY): there is no asset {', '.join(unknown)}; run without it to see the names")
        for kind in self._kinds:
            report.expect(kind.name, self._chosen(kind.assets))
        self._metrics = {} if options.remove else self._chosen(self._metrics)
        report.expect(METRIC, self._metrics)

    def run(self) -> None:
        """Load or remove everything; raise RequestError if the API cannot be used, or no longer."""
        self._api.check_key()
        for kind in self._kinds:
            if not self._options.remove and not self._chosen(kind.assets):
                continue
            with self._report.about(kind.name, ALL):
                found = kind.find()
                if self._options.remove:
                    self._remove(kind, found)
                else:
                    self._load(kind, found)
        with self._report.about(METRIC, ALL):
            self._fill_metadata()
        if not self._options.only:
            self._show_what_is_left()

    def _chosen(self, assets: Mapping[str, Asset]) -> dict[str, Asset]:
        only = self._options.only
        return {name: asset for name, asset in assets.items() if not only or name in only}

    def _load(self, kind: Kind, found: list[Found]) -> None:
        first = {each.mark.asset: each for each in reversed(found)}
        ambiguous = find_ambiguous(found)
        for name, document in self._chosen(kind.assets).items():
            if name in ambiguous:
                continue
            with self._report.about(kind.name, name):
                known = first.get(name)
                step = plan_load(kind.essence(document), known, overwrite=self._options.overwrite)
                object_id = known.object_id if known else None
                if self._options.apply and step.action in CHANGES:
                    object_id = kind.store(name, known)
                self._show(kind, name, step, object_id)
        for each in found:
            name = each.mark.asset
            if name in ambiguous:
                self._show_ambiguous(kind, each)
            elif name not in kind.assets:
                self._show_other(kind, each, "left alone: an earlier version made it; REMOVE=1 removes it")
            elif each is not first[name]:
                self._show_other(kind, each, "a second one; not updated; REMOVE=1 removes both")
        for note in kind.notes:
            self._report.line(kind.name, "", f"note: {note}")

    def _remove(self, kind: Kind, found: list[Found]) -> None:
        ambiguous = find_ambiguous(found)
        chosen = [each for each in found if not self._options.only or each.mark.asset in self._options.only]
        self._report.expect(kind.name, [each.mark.asset for each in chosen])
        for each in chosen:
            name = each.mark.asset
            if name in ambiguous:
                self._show_ambiguous(kind, each)
                continue
            with self._report.about(kind.name, name):
                wanted = kind.essence(kind.assets[name]) if name in kind.assets else None
                step = plan_removal(wanted, each, overwrite=self._options.overwrite)
                if self._options.apply and step.action in CHANGES:
                    kind.delete(each.object_id)
                self._show(kind, name, step, each.object_id)
        if not chosen:
            self._report.line(kind.name, "", "none that this command made")

    def _show(self, kind: Kind, name: str, step: Step, object_id: str | None) -> None:
        is_gone = self._options.apply and step.action is Action.REMOVE
        page = kind.page.format(object_id) if object_id and not is_gone else ""
        if step.action in CHANGES:
            self._report.change(kind.name, name, CHANGES[step.action], step.why, page)
        elif step.action is Action.NOTHING:
            self._report.done(kind.name, name, step.action, page=page)
        else:
            verb = "removes" if self._options.remove else "replaces"
            detail = f"{step.why}; OVERWRITE=1 ONLY={name} {verb} it"
            if step.action is Action.KEEP:
                self._report.done(kind.name, name, step.action, detail, page)
            else:
                self._report.line(kind.name, name, f"{step.action}: {detail}", page)

    def _show_ambiguous(self, kind: Kind, found: Found) -> None:
        self._show_other(kind, found, f"{Action.ASK}: {AMBIGUOUS}")

    def _show_other(self, kind: Kind, found: Found, text: str) -> None:
        if not self._options.only or found.mark.asset in self._options.only:
            self._report.line(kind.name, found.mark.asset, text, kind.page.format(found.object_id))

    def _fill_metadata(self) -> None:
        metrics = Metrics(self._api)
        for name, wanted in self._metrics.items():
            # If the keys do not permit it for one metric, they permit it for none.
            with self._report.about(METRIC, name, passes=(UnavailableError, ForbiddenError)):
                self._fill(metrics, name, wanted)

    def _fill(self, metrics: Metrics, name: str, wanted: dict[str, str]) -> None:
        found = metrics.read(name)
        if found is None:
            self._report.done(METRIC, name, "not received yet", "run it again when the account has the metric")
            return
        writes, keeps = plan_metadata(wanted, found, overwrite=self._options.overwrite)
        if writes and self._options.apply:
            metrics.write(name, found | {field: wanted[field] for field in writes})
        kept = f"the account has another {', '.join(keeps)}; OVERWRITE=1 ONLY={name} replaces it" if keeps else ""
        page = f"/metric/summary?metric={name}"
        if writes:
            details = [", ".join(writes), kept]
            self._report.change(METRIC, name, "filled in", "; ".join(filter(None, details)), page)
        else:
            self._report.done(METRIC, name, "kept" if keeps else "unchanged", kept, page)

    def _show_what_is_left(self) -> None:
        line = self._report.line
        if self._options.remove:
            line(METRIC, "", "metadata stays: the API has no request to delete it")
            line("saved view", "", "saved by hand, so remove them by hand")
            return
        for name, page in self._files.read_saved_view_pages().items():
            line("saved view", name, "no public API: open it and save it by hand", page)
        number = self._files.count_facets()
        line("facet", "", f"no public API: add the {number} of assets/logs/gunicorn.yaml by hand", "/logs")
