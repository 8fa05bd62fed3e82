"""The check: reads the configuration, submits the metrics. The only code that the Agent calls."""

import time
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import psutil
from datadog_checks.base import AgentCheck, ConfigurationError, datadog_agent
from datadog_checks.base.errors import CheckException

from .config_models import ConfigMixin
from .diagnoses import Diagnosis, diagnose, diagnose_configuration, explain_absence
from .host.procfs import use_procfs
from .metrics import SERVICE_CHECK, format_samples
from .pool.registry import HOST
from .pool.version import VersionError
from .pool.watched import Health, Pool, Watched
from .settings import InvalidOptionError, Settings, build_settings, explain_unknown, parse_invalid
from .sockets.connections import Connections

try:
    from datadog_checks.base.utils.models.validation.security import check_field_trusted_provider
except ImportError:
    # Missing from base packages before 37.33; Agent 7.72 embeds 37.21.
    def check_field_trusted_provider(*_: object) -> None:  # type: ignore[misc]
        pass


# The wait between the two looks of a run.
SAMPLE_SECONDS = 0.1


class MasterNotFoundError(CheckException):
    """No server of this name is running. Ends the run, so that the status page shows the error."""

    def __init__(self, proc_name: str) -> None:
        super().__init__(f"Found no master process with name: gunicorn: master [{proc_name}]")


class GunicornCheck(AgentCheck, ConfigMixin):
    """Reports whether the Gunicorn servers of an application are running, and what their workers do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of every check: its name, `init_config` and a list with one instance."""
        super().__init__(*args, **kwargs)
        use_procfs(datadog_agent.get_config("procfs_path"))
        self.diagnosis.register(self._diagnose)

    def check(self, _: object) -> None:
        """Find the masters of each application, look at their workers twice, and submit the results.

        Raises ConfigurationError before looking at any process, ProcessTableError if processes cannot be listed, and
        MasterNotFoundError.
        """
        self._warn(self._settings.warnings)
        found = [(watched, watched.find()) for watched in self._applications]
        looks = [(watched, watched.look()) for watched, masters in found if masters]
        if looks:
            time.sleep(SAMPLE_SECONDS)
        missing = [watched for watched, masters in found if not masters]
        for watched, look in looks:
            pool = watched.sample(look)
            if pool.health is Health.GONE:
                missing.append(watched)
            else:
                self._submit(watched, pool)
        for watched in missing:
            self._submit_absence(watched)

    def get_library_versions(self) -> dict[str, str]:
        """Return the versions of the libraries that the check measures with."""
        return {"psutil": psutil.__version__}

    @property
    def cpu_sources(self) -> tuple[str, ...]:
        """Where the CPU times of the workers come from."""
        return tuple(sorted({str(watched.cpu_source) for watched in self._applications}))

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
    def _applications(self) -> list[Watched]:
        applications = [build_watched(self._settings)]
        for watched in applications:
            self.log.debug("CPU of the workers of %s: %s", watched.name, watched.cpu_source)
        return applications

    def _submit(self, watched: Watched, pool: Pool) -> None:
        tags = self._settings.tags
        for sample in format_samples(pool):
            submit = self.count if sample.type == "count" else self.gauge
            submit(sample.name, sample.value, tags=[*tags, *sample.tags])
        match pool.health:
            case Health.WELL:
                self._submit_service_check(AgentCheck.OK)
            case Health.WITHOUT_WORKERS:
                self._submit_service_check(AgentCheck.CRITICAL, f"0 working and 0 idle workers for {watched.name}")
            case Health.UNCLEAR:
                self.log.debug("The workers of %s vanished or could not be read", watched.name)
                self._submit_service_check(AgentCheck.OK)
        if watched.connections and not pool.connections:
            self.log.debug("No listener of %s is known", watched.name)
        self._submit_version(watched)

    def _submit_absence(self, watched: Watched) -> None:
        """Report that no master was found, and what is running instead. Raises MasterNotFoundError."""
        watched.miss()
        for finding in explain_absence(watched.name, watched.host.last_scan(), watched.host.applications()):
            self.warning(f"{finding.seen} {finding.remedy}")
        error = MasterNotFoundError(watched.name)
        self._submit_service_check(AgentCheck.CRITICAL, str(error))
        raise error

    def _submit_version(self, watched: Watched) -> None:
        master = min(watched.masters, key=lambda master: master.create_time, default=None)
        if master and self.is_metadata_collection_enabled():
            try:
                version = watched.ask_version(master, self._settings.command)
            except VersionError as error:
                self.log.debug("No version metadata: %s", error)
            else:
                if version:
                    self.set_metadata("version", version)

    def _submit_service_check(self, status: int, message: str = "") -> None:
        self.service_check(SERVICE_CHECK, status, tags=list(self._settings.tags), message=message)

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
            absence = str(MasterNotFoundError(settings.proc_name))
            with_version = self.is_metadata_collection_enabled()
            diagnoses = diagnose(build_watched(settings), settings, absence, with_version=with_version)
        for name, result, seen, remedy in diagnoses:
            getattr(self.diagnosis, result)(name, seen, remediation=remedy)


def build_watched(settings: Settings) -> Watched:
    """Build the object that watches the application of an instance."""
    connections = Connections(settings.bind) if settings.collect_connections and psutil.LINUX else None
    return Watched(settings.proc_name, HOST, connections)
