"""The lines that the user reads: one for each asset, and a summary of what is done and what is not."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .api import RequestError, UnavailableError

# More names than this of one kind are counted instead of listed.
NAMES_SHOWN = 10


class Report:
    def __init__(self, say: Callable[[str], None], link: Callable[[str], str], *, applies: bool) -> None:
        """`link` builds the address of a page from its path; `applies` is whether the run changes the account."""
        self._say = say
        self._link = link
        self._applies = applies
        self._outcomes: Counter[str] = Counter()
        # The names that are still to be done, by kind, in the order of the run.
        self._pending: dict[str, list[str]] = {}
        self._current = ""
        self._has_plans = False

    def expect(self, kind: str, names: Iterable[str]) -> None:
        """Set the names of a kind that are still to be done, replacing those set before."""
        self._pending[kind] = list(names)

    @contextmanager
    def about(
        self, kind: str, name: str, passes: tuple[type[RequestError], ...] = (UnavailableError,)
    ) -> Iterator[None]:
        """Report failures inside as failures of this asset; those in `passes` are raised."""
        before, self._current = self._current, f"{kind} {name}"
        try:
            yield
        except passes:
            raise
        except RequestError as failure:
            self.line(kind, name, f"FAILED: {failure}")
        self._current = before

    def change(self, kind: str, name: str, outcome: str, detail: str = "", page: str = "") -> None:
        """Report what was done to the account, or would be."""
        self._has_plans = True
        self.done(kind, name, outcome if self._applies else f"would be {outcome}", detail, page)

    def done(self, kind: str, name: str, outcome: str, detail: str = "", page: str = "") -> None:
        self._pending[kind].remove(name)
        self._outcomes[outcome] += 1
        self.line(kind, name, f"{outcome}: {detail}" if detail else outcome, page)

    def line(self, kind: str, name: str, text: str, page: str = "") -> None:
        link = f"  {self._link(page)}" if page else ""
        self._say(f"{kind:<10}  {name:<24}  {text}{link}")

    @property
    def is_complete(self) -> bool:
        return not any(self._pending.values())

    def stop(self, failure: RequestError) -> None:
        self._say(f"STOPPED{self._at()}: {failure}")

    def interrupt(self) -> None:
        incomplete = ", which may be incomplete" if self._current and self._applies else ""
        self._say(f"INTERRUPTED{self._at()}{incomplete}.")

    def summarize(self) -> None:
        outcomes = [f"{number} {outcome}" for outcome, number in self._outcomes.items()]
        self._say(f"{'Done' if self._applies else 'Plan'}: {', '.join(outcomes) or 'nothing'}.")
        if not self.is_complete:
            pending = [text for kind, names in self._pending.items() for text in list_names(kind, names)]
            again = "Look at the lines above, then run the same command again."
            self._say(f"{'Not done' if self._applies else 'Not planned'}: {', '.join(pending)}. {again}")
        if self._has_plans and not self._applies:
            self._say("Nothing was changed. To carry it out: APPLY=1, or --apply.")

    def _at(self) -> str:
        return f" at {self._current}" if self._current else ""


def list_names(kind: str, names: list[str]) -> list[str]:
    return [f"{kind} {name}" for name in names] if len(names) <= NAMES_SHOWN else [f"{len(names)} {kind}s"]
