"""The check: reads the configuration, submits the metrics. The only code that the Agent calls."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import psutil
from datadog_checks.base import AgentCheck, ConfigurationError, datadog_agent
from datadog_checks.base.errors import CheckException

from .config_models import ConfigMixin
from .container_tags import ContainerTags
from .diagnoses.missing_connections import format_gaps
from .diagnoses.run_warnings import explain_failed_run, explain_run
from .diagnoses.steps import Diagnosis, diagnose, diagnose_configuration
from .grouping import group_applications, group_pools
from .host.procfs import use_procfs
from .metrics import SERVICE_CHECK, ServiceCheckStatus, format_samples, format_service_check
from .pool.container_option import ContainerError
from .pool.fleet import Fleet
from .pool.results import WITHOUT_COUNT, Application, merge_health
from .pool.version import VersionError
from .scanning.registry import HOST
from .servers.selection import Selection
from .settings import InvalidOptionError, Settings, build_settings, explain_unknown, parse_invalid

try:
    from datadog_checks.base.utils.models.validation.security import check_field_trusted_provider
except ImportError:
    # Missing from base packages before 37.33; Agent 7.72 embeds 37.21.
    def check_field_trusted_provider(*_: object) -> None:  # type: ignore[misc]
        pass


# The wait between the two looks of a run.
SAMPLE_SECONDS = 0.1


class NotFoundError(CheckException):
    """Nothing that the instance watches is running. Ends the run, so that the status page shows the error."""


class GunicornCheck(AgentCheck, ConfigMixin):
    """Reports whether the Gunicorn servers of an application are running, and what their workers do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of every check: its name, `init_config` and a list with one instance."""
        super().__init__(*args, **kwargs)
        use_procfs(datadog_agent.get_config("procfs_path"))
        self.diagnosis.register(self._diagnose)
        self._had_gaps = False

    def check(self, _: object) -> None:
        """Find the masters of each application, look at their workers twice, and submit the results.

        Raises ConfigurationError before looking at any process, ProcessTableError if processes cannot be listed, and
        NotFoundError.
        """
        self._warn(self._settings.warnings)
        applications = self._look_twice()
        self._warn(explain_run(self.fleet))
        by_tag = group_applications(applications, self._settings.selection.format_tag)
        self._submit_metrics(by_tag)
        self._submit_statuses(by_tag)
        if self.is_metadata_collection_enabled():
            self._submit_version()
            self._submit_gaps()

    def get_library_versions(self) -> dict[str, str]:
        """Return the versions of the libraries that the check measures with."""
        return {"psutil": psutil.__version__}

    def load_configuration_models(self, package_path: str | None = None) -> None:
        """Validate both sections; the base package calls this before the first run.

        Raises ConfigurationError with a one-line message: the status page loses the indentation of further lines.
        """
        try:
            super().load_configuration_models(package_path)  # type: ignore[no-untyped-call]
        except ConfigurationError as error:
            # A required option may be missing because it is misspelt.
            self._warn(explain_unknown(self.instance or {}, self.init_config or {}))
            raise parse_invalid(str(error)) from error

    @cached_property
    def _settings(self) -> Settings:
        self.load_configuration_models()
        settings = build_settings(self.instance, self.config, self.init_config, self.shared_config)
        if settings.command_given:
            # Not declared in spec.yaml: the code that ddev generates for it fails on base packages before 37.33.
            try:
                check_field_trusted_provider(
                    "gunicorn", " ".join(settings.command), getattr(self, "security_config", None)
                )
            except ValueError as error:
                raise InvalidOptionError("instances", str(error)) from error
        return settings

    @cached_property
    def fleet(self) -> Fleet:
        """The servers that the instance watches. Raises ConfigurationError."""
        fleet = build_fleet(self._settings, self._settings.selection)
        self.log.debug("Workers are working or idle by %s", fleet.cpu_source)
        return fleet

    @cached_property
    def _container_tags(self) -> ContainerTags:
        return ContainerTags()

    def _look_twice(self) -> list[Application]:
        """Return the results of each application. Raises NotFoundError, after reporting it as CRITICAL."""
        fleet = self.fleet
        try:
            fleet.find()
            looks = fleet.look()
            if looks:
                time.sleep(SAMPLE_SECONDS)
            applications = fleet.sample(looks)
        except ContainerError as error:
            raise self._report_absence(str(error)) from None
        if applications is None:
            self._warn(explain_failed_run(fleet))
            raise self._report_absence(fleet.selection.absence)
        return applications

    def _report_absence(self, message: str) -> NotFoundError:
        """Submit that nothing the instance watches is running, and build the error that ends the run."""
        name = self._settings.selection.proc_name
        self._submit_status([f"app:{name}"] if name else [], ServiceCheckStatus(AgentCheck.CRITICAL, message))
        return NotFoundError(message)

    def _submit_metrics(self, by_tag: Mapping[str, Iterable[Application]]) -> None:
        for tags, pool in group_pools(by_tag, self._settings.tags, self._container_tags.find):
            for sample in format_samples(pool):
                submit = self.count if sample.type == "count" else self.gauge
                submit(sample.name, sample.value, tags=[*tags, *sample.tags])
            if self._settings.collect_connections and pool.states and not pool.connections:
                self.log.debug("No listener of %s is known", tags[0])
        self._container_tags.keep_only({key.container for key in self.fleet.servers})

    def _submit_statuses(self, by_tag: Mapping[str, Sequence[Application]]) -> None:
        for tag, same in by_tag.items():
            health = merge_health(pool.health for application in same for _, pool in application.pools)
            if health in WITHOUT_COUNT:
                self.log.debug("The workers of %s vanished, or could not be read", tag)
            missing = any(application.missing for application in same)
            status = format_service_check(tag.removeprefix("app:"), health, missing=missing)
            if status:
                self._submit_status([tag], status)

    def _submit_status(self, tags: Sequence[str], status: ServiceCheckStatus) -> None:
        self.service_check(SERVICE_CHECK, status.value, tags=[*tags, *self._settings.tags], message=status.message)

    def _submit_version(self) -> None:
        given = self._settings.command_given
        try:
            version = self.fleet.ask_version(self._settings.command, in_containers=given)
        except VersionError as error:
            self.log.debug("No version metadata: %s", error)
            return
        if version:
            self.set_metadata("version", version)

    def _submit_gaps(self) -> None:
        """Show on the status page that connections are missing, as metadata, so that the instance stays [OK]."""
        gaps = format_gaps(self.fleet)
        if gaps or self._had_gaps:
            self.set_metadata("connections", gaps or "found")
        self._had_gaps = bool(gaps)

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self.warning(warning)

    def _diagnose(self) -> None:
        """Report to `agent diagnose` what prevents the check from collecting its metrics."""
        try:
            settings = self._settings
        except ConfigurationError as error:
            diagnoses: Iterable[Diagnosis] = [diagnose_configuration(error)]
        else:
            with_version = self.is_metadata_collection_enabled()
            # A run may have replaced the pid in the option `container` by the id of the container.
            fleet = build_fleet(settings, self.fleet.selection)
            diagnoses = diagnose(fleet, settings, with_version=with_version)
        for name, result, seen, remedy in diagnoses:
            getattr(self.diagnosis, result)(name, seen, remediation=remedy)


def build_fleet(settings: Settings, selection: Selection) -> Fleet:
    """Build the object that finds and watches the servers of an instance."""
    return Fleet(selection, HOST, settings.bind if settings.collect_connections and psutil.LINUX else None)
