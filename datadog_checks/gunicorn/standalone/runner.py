"""Run the check with the base package's stubs, which take the place of the Agent."""

import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import yaml
from datadog_checks.base import ConfigurationError
from datadog_checks.base.stubs import aggregator, datadog_agent

from datadog_checks.gunicorn.check import GunicornCheck
from datadog_checks.gunicorn.diagnoses.missing_connections import explain_unknown_connections, find_unknown_connections
from datadog_checks.gunicorn.pool.worker_rows import list_workers
from datadog_checks.gunicorn.settings import InvalidOptionError
from datadog_checks.gunicorn.sockets.connections import Way
from datadog_checks.gunicorn.text import flatten, quote

from .instances import Instance, UsageError
from .runs import Report, Run, ServiceCheckResult, SubmittedMetric, Totals, WatchedServer, parse_error

# As `agent check --check-rate` does.
RATE_SECONDS = 1.0


def run_instances(
    instances: Sequence[Instance],
    count: int,
    pause: Callable[[float], object] = time.sleep,
    *,
    with_workers: bool = False,
) -> list[Report]:
    """Run every instance `count` times, at least once, one second apart.

    Raises UsageError before the first run if the configuration of an instance is wrong.
    """
    *_, last = itertools.islice(run_rounds(instances, RATE_SECONDS, pause, with_workers=with_workers), count)
    return last


def run_rounds(
    instances: Sequence[Instance],
    seconds: float,
    pause: Callable[[float], object] = time.sleep,
    *,
    with_workers: bool = False,
) -> Iterator[list[Report]]:
    """Run every instance repeatedly, with a pause in between, and report on all of them after each round.

    `with_workers` reports on each worker, too.

    Raises UsageError before the first run if the configuration of an instance is wrong.
    """
    _prepare_stubs()
    checks = [build_check(instance) for instance in instances]
    totals = [Totals()] * len(checks)
    while True:
        runs = [run_check(check) for check in checks]
        totals = [total.plus(run) for total, run in zip(totals, runs, strict=True)]
        yield [
            _build_report(check, instance, run, total, with_workers=with_workers)
            for check, instance, run, total in zip(checks, instances, runs, totals, strict=True)
        ]
        pause(seconds)


def _build_report(check: GunicornCheck, instance: Instance, last: Run, totals: Totals, *, with_workers: bool) -> Report:
    return Report(
        instance_id=check.check_id,
        source=instance.source,
        libraries=check.get_library_versions(),
        cpu_source=check.fleet.cpu_source,
        servers=tuple(_list_servers(check, with_workers=with_workers)),
        notes=tuple(dict.fromkeys(_list_notes(check))),
        last=last,
        totals=totals,
    )


def _list_servers(check: GunicornCheck, *, with_workers: bool) -> Iterator[WatchedServer]:
    for key, server in sorted(check.fleet.alive.items(), key=lambda item: (item[0].name, item[0].container or "")):
        workers = tuple(list_workers(server)) if with_workers else None
        yield WatchedServer(key.name, key.container, tuple(sorted(master.pid for master in server.masters)), workers)


def _list_notes(check: GunicornCheck) -> Iterator[str]:
    """List what is missing, and what was found in an unusual way."""
    for key, connections in find_unknown_connections(check.fleet).items():
        yield str(explain_unknown_connections(check.fleet, key, connections))
    for key, server in check.fleet.alive.items():
        for address, way in server.connections.found_by.items() if server.connections else ():
            if way is Way.CONTROL_GROUP:
                yield f"Listener {address} of {quote(key.name)} was found {way}."


def _prepare_stubs() -> None:
    datadog_agent.set_hostname(socket.gethostname())
    # The stub rejects tags such as `env:prod`, which integrations must not submit; in a configuration they are valid.
    os.environ["DDEV_SKIP_GENERIC_TAGS_CHECK"] = "true"


def build_check(instance: Instance) -> GunicornCheck:
    """Build the instance's check. Raises UsageError if its configuration is wrong."""
    try:
        check = GunicornCheck("gunicorn", dict(instance.init_config), [dict(instance.options)])
        check.check_id = f"gunicorn:{digest(instance)}"
        _validate(check, instance)
    except ConfigurationError as error:
        # The base class reads some options before it validates them, here and below.
        raise UsageError(f"{instance.where}: {flatten(str(error))}") from error
    except re.error as error:
        raise UsageError(f"{instance.where}: metric_patterns: {error}: {error.pattern!r}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{instance.where}: {type(error).__name__}: {flatten(str(error))}") from error
    return check


def _validate(check: GunicornCheck, instance: Instance) -> None:
    try:
        check.load_configuration_models()
    except InvalidOptionError as error:
        where = instance.init_config_where if error.section == "init_config" else instance.where
        raise UsageError(" ".join([f"{where}: {error.what}.", *check.get_warnings()])) from error


def digest(instance: Instance) -> str:
    """Hash the configuration of an instance to 16 hexadecimal digits, the same ones in every run."""
    configuration = yaml.safe_dump([dict(instance.init_config), dict(instance.options)])
    return hashlib.sha256(configuration.encode(errors="surrogatepass")).hexdigest()[:16]


def run_check(check: GunicornCheck) -> Run:
    """Run the check once, and collect what it submitted."""
    aggregator.reset()
    datadog_agent.reset()
    began, start = time.time(), time.perf_counter()
    report = check.run()
    return Run(
        began=began,
        seconds=time.perf_counter() - start,
        metrics=tuple(_metrics()),
        service_checks=tuple(_service_checks()),
        events=len(aggregator.events),
        metadata=_metadata(check.check_id),
        warnings=tuple(check.get_warnings()),
        error=parse_error(report),
    )


def _metrics() -> Iterator[SubmittedMetric]:
    host = datadog_agent.get_hostname()
    for name in aggregator.metric_names:
        for stub in aggregator.metrics(name):
            kind = aggregator.METRIC_ENUM_MAP_REV[stub.type]
            yield SubmittedMetric(stub.name, kind, stub.value, tuple(stub.tags), stub.hostname or host)


def _service_checks() -> Iterator[ServiceCheckResult]:
    host = datadog_agent.get_hostname()
    for name in aggregator.service_check_names:
        for stub in aggregator.service_checks(name):
            yield ServiceCheckResult(stub.name, stub.status, tuple(stub.tags), stub.hostname or host, stub.message)


def _metadata(check_id: str) -> dict[str, str]:
    # The stub has no accessor for metadata.
    submitted: Iterable[tuple[tuple[str, str], str]] = datadog_agent._metadata.items()  # noqa: SLF001
    return {name: value for (submitter, name), value in submitted if submitter == check_id}
