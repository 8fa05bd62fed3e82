"""The check: configuration in, submissions out. The only code that the Agent calls."""

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import psutil
from datadog_checks.base import AgentCheck, ConfigurationError, datadog_agent
from datadog_checks.base.errors import CheckException

from .config_models import ConfigMixin
from .diagnoses import explain_absence, explain_missing_connections, explain_presence
from .host.procfs import use_procfs
from .metrics import (
    SERVICE_CHECK,
    Sample,
    format_ages,
    format_churn,
    format_connections,
    format_cpu,
    format_dirty_workers,
    format_uptime,
    format_usage,
    format_workers,
)
from .pool.shared import HOST
from .pool.usage import compute_cpu_percent
from .pool.version import VersionError, read_version
from .pool.watched import Application, Look
from .pool.workers import States, count_churn, count_states
from .servers.applications import Identity
from .settings import InvalidOptionError, Settings, build_settings, explain_unknown, parse_invalid
from .sockets.connections import Connections
from .text import quote

try:
    from datadog_checks.base.utils.models.validation.security import check_field_trusted_provider
except ImportError:
    # Base packages before 37.33 know no untrusted providers; Agent 7.72 embeds 37.21.
    def check_field_trusted_provider(*_: object) -> None:  # type: ignore[misc]
        pass


# A worker is working when it used CPU in this time, which the kernel counts in steps of 0.01 s.
SAMPLE_SECONDS = 0.1


class MasterNotFoundError(CheckException):
    """No server of the name runs; a run ends with this error, so that the status page shows it."""

    def __init__(self, proc_name: str) -> None:
        super().__init__(f"Found no master process with name: gunicorn: master [{proc_name}]")


class GunicornCheck(AgentCheck, ConfigMixin):
    """Tells whether an application's Gunicorn servers run, and what their workers do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the Agent gives every check: its name, `init_config` and a list of one instance."""
        super().__init__(*args, **kwargs)
        use_procfs(datadog_agent.get_config("procfs_path"))
        self.diagnosis.register(self._diagnose)

    def check(self, _: object) -> None:
        """Find the application's masters, look at their workers twice, and submit what changed in between.

        Raises ConfigurationError before anything is looked at, ProcessTableError when nothing can be, and
        MasterNotFoundError.
        """
        self._warn(self._settings.warnings)
        masters = self._find_masters()
        first = self._application.look()
        time.sleep(SAMPLE_SECONDS)
        second = self._application.look(first)
        self._submit_workers(masters, first, second)
        self._submit(format_dirty_workers(second.dirty_workers))
        self._submit(format_uptime(masters, second.at))
        self._submit_resources(second)
        self._submit_changes(first, second)
        self._submit_connections(second)
        self._submit_version(masters[0])

    def get_library_versions(self) -> dict[str, str]:
        """Name the versions of the libraries that the numbers come from."""
        return {"psutil": psutil.__version__}

    def load_configuration_models(self, package_path: str | None = None) -> None:
        """Validate both sections; the base package does so before the first run.

        Raises ConfigurationError on one line: a status page would lose the indent of others.
        """
        try:
            super().load_configuration_models(package_path)  # type: ignore[no-untyped-call]
        except ConfigurationError as error:
            # A misspelt option may be the one that is missing.
            self._warn(explain_unknown(self.instance or {}, self.init_config or {}))
            raise parse_invalid(str(error)) from error

    @cached_property
    def _settings(self) -> Settings:
        self.load_configuration_models()
        settings = build_settings(self.instance, self.config, self.init_config, self.shared_config)
        if settings.command_given:
            # Not declared in spec.yaml: what ddev generates for that does not run on base packages before 37.33.
            try:
                check_field_trusted_provider(
                    "gunicorn", " ".join(settings.command), getattr(self, "security_config", None)
                )
            except ValueError as error:
                raise InvalidOptionError("instances", str(error)) from error
        return settings

    @cached_property
    def _application(self) -> Application:
        return Application(self._settings.proc_name, HOST)

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self.warning(warning)

    def _find_masters(self) -> list[Identity]:
        masters = self._application.find()
        if not masters:
            for finding in explain_absence(self._settings.proc_name, *HOST.last_seen()):
                self.warning(f"{finding.seen} {finding.remedy}")
            # What has come and gone since is counted when there is a master again; without one, nobody knows.
            self._last = replace(self._last or Look(complete=False), usage=Look().usage)
            error = MasterNotFoundError(self._settings.proc_name)
            self._submit_service_check(AgentCheck.CRITICAL, str(error))
            raise error
        return masters

    def _submit_workers(self, masters: list[Identity], first: Look, second: Look) -> None:
        if second.workers:
            self._submit(format_workers(count_states(first.workers, second.workers)))
        elif first.workers or not (first.complete and second.complete) or self._find_masters() != masters:
            self.log.debug("The workers of %s vanished or could not be read", self._settings.proc_name)
        else:
            self._submit(format_workers(States(idle=0, working=0)))
            message = f"0 working and 0 idle workers for {self._settings.proc_name}"
            self._submit_service_check(AgentCheck.CRITICAL, message)
            return
        self._submit_service_check(AgentCheck.OK)

    def _submit_resources(self, look: Look) -> None:
        if look.complete:
            self._submit(format_ages(look.workers, look.at))
            for role, usage in look.usage.items():
                self._submit(format_usage(role, usage))

    # The second look of the run before.
    _last: Look | None = None

    def _submit_changes(self, first: Look, second: Look) -> None:
        last, self._last = self._last, second
        if last is None:
            return
        seen = first.workers.keys() | second.workers.keys()
        before = last.workers.keys() | {worker for worker in seen | last.missed if last.overlooked(worker)}
        self._submit(format_churn(count_churn(before, seen, second.workers.keys() | second.missed)))
        if second.complete:
            for role, usage in second.usage.items():
                if usage:
                    self._submit(format_cpu(role, compute_cpu_percent(last.usage[role], usage, last.at, second.at)))

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self._settings.bind)

    def _submit_connections(self, look: Look) -> None:
        if self._settings.collect_connections:
            counts = self._connections.look(self._application.masters, look.workers)
            self._submit(format_connections(counts))
            if not counts:
                self.log.debug("No listener of %s is known", self._settings.proc_name)

    def _submit_version(self, master: Identity) -> None:
        if not self.is_metadata_collection_enabled():
            return
        if self._version_asked_for != master:
            self._version_asked_for = master
            self._version = self._ask_version()
        if self._version:
            self.set_metadata("version", self._version)

    _version_asked_for: Identity | None = None
    _version: str | None = None

    def _ask_version(self) -> str | None:
        try:
            return read_version(self._settings.command)
        except VersionError as error:
            self.log.debug("No version metadata: %s", error)
            return None

    def _diagnose(self) -> None:
        """Tell `agent diagnose` what keeps the check from its numbers."""
        try:
            settings = self._settings
        except ConfigurationError as error:
            remedy = "Correct the option in conf.yaml and restart the Agent."
            self.diagnosis.fail("configuration", str(error), remediation=remedy)
        else:
            self._diagnose_application(settings)

    def _diagnose_application(self, settings: Settings) -> None:
        application = Application(settings.proc_name, HOST)
        masters = application.find()
        if masters:
            pids = ", ".join(str(master.pid) for master in masters)
            self.diagnosis.success("master", f"Found the master process of {quote(application.name)}: {pids}.")
            for finding in explain_presence(application.name, HOST.last_seen()[1]):
                self.diagnosis.warning(finding.name, finding.seen, remediation=finding.remedy)
            if psutil.LINUX and settings.collect_connections:
                self._diagnose_connections(application)
        else:
            self.diagnosis.fail("master", str(MasterNotFoundError(application.name)))
            for finding in explain_absence(application.name, *HOST.last_seen()):
                self.diagnosis.fail(finding.name, finding.seen, remediation=finding.remedy)
        if self.is_metadata_collection_enabled():
            self._diagnose_version()

    def _diagnose_connections(self, application: Application) -> None:
        counts = Connections(self._settings.bind).look(application.masters, application.look().workers)
        if counts:
            listeners = ", ".join(quote(str(address)) for address in counts)
            self.diagnosis.success("connections", f"Connections are counted of the listeners {listeners}.")
        else:
            finding = explain_missing_connections(self._settings.bind)
            self.diagnosis.warning(finding.name, finding.seen, remediation=finding.remedy)

    def _diagnose_version(self) -> None:
        try:
            version = read_version(self._settings.command)
        except VersionError as error:
            remedy = "Set `gunicorn` to the program of the server, with its path."
            self.diagnosis.warning("version", f"No version metadata: {error}.", remediation=remedy)
        else:
            self.diagnosis.success("version", f"Gunicorn's version is {version}.")

    def _submit(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            submit = self.count if sample.type == "count" else self.gauge
            submit(sample.name, sample.value, tags=[*self._settings.tags, *sample.tags])

    def _submit_service_check(self, status: int, message: str = "") -> None:
        self.service_check(SERVICE_CHECK, status, tags=list(self._settings.tags), message=message)
