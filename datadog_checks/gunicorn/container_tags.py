"""The tags of containers, as the Agent's tagger reports them."""

from collections.abc import Collection

from datadog_checks.base import datadog_agent
from datadog_checks.base.utils.tagging import tagger  # type: ignore[attr-defined]

_CARDINALITIES = {"low": tagger.LOW, "orchestrator": tagger.ORCHESTRATOR, "high": tagger.HIGH}


class ContainerTags:
    """Asks the tagger for each container until it has tags: it may not know a new container yet."""

    def __init__(self) -> None:
        """Use the cardinality of the Agent's option `checks_tag_cardinality`."""
        given = str(datadog_agent.get_config("checks_tag_cardinality")).lower()
        self._cardinality = _CARDINALITIES.get(given, tagger.LOW)
        self._known: dict[str, tuple[str, ...]] = {}

    def find(self, container: str | None) -> tuple[str, ...]:
        """Find the tags of a container by its id; none for None."""
        if container is None:
            return ()
        if container not in self._known:
            tags = tuple(sorted(set(tagger.tag(f"container_id://{container}", self._cardinality) or ())))
            if not tags:
                return ()
            self._known[container] = tags
        return self._known[container]

    def keep_only(self, containers: Collection[str | None]) -> None:
        """Forget all other containers."""
        self._known = {container: tags for container, tags in self._known.items() if container in containers}
