"""The metadata of metrics, which an account has only for metrics that it has received."""

from typing import Any

from datadog_api_client.v1.api.metrics_api import MetricsApi
from datadog_api_client.v1.model.metric_metadata import MetricMetadata

from .api import Api, MissingError

FIELDS = ("description", "short_name", "type", "unit", "per_unit", "statsd_interval")


class Metrics:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._requests = MetricsApi(api.client)

    def read(self, name: str) -> dict[str, Any] | None:
        """Read the fields of a metric that are not empty; None if the account has not received it yet."""
        try:
            found = self._api.call(self._requests.get_metric_metadata, name, permission="metrics_read")
        except MissingError:
            return None
        return {field: found[field] for field in FIELDS if found.get(field)}

    def write(self, name: str, metadata: dict[str, Any]) -> None:
        """Write the metadata of a metric as a whole."""
        model = self._api.model(metadata, MetricMetadata)
        self._api.call(self._requests.update_metric_metadata, name, model, permission="metrics_metadata_write")
