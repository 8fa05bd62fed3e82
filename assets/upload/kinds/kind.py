"""What the kinds of objects have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from assets.upload.api import Api
from assets.upload.documents import Document, essence
from assets.upload.marks import Mark, add_to_text, find_mark, remove_from_text
from assets.upload.plan import Found


class Kind(ABC):
    """A kind of object in an account. All methods that send requests raise Failure."""

    name: ClassVar[str]
    # The permissions that its requests need.
    reads: ClassVar[str]
    writes: ClassVar[str]
    # What is loaded of an object; the account adds other fields, such as its author.
    fields: ClassVar[tuple[str, ...]]
    # The address of an object in the application, for its id.
    page: ClassVar[str]

    def __init__(self, api: Api, assets: dict[str, Document]) -> None:
        """`assets` are the documents to load, by the names of their files."""
        self.assets = assets
        self._api = api

    def find(self) -> list[Found]:
        """Find the objects that this command made."""
        return [found for document in self._list_candidates() if (found := self._recognize(document))]

    def read(self, object_id: str) -> Found | None:
        """Read an object; None if it does not have our mark."""
        return self._recognize(self._get(object_id))

    @abstractmethod
    def create(self, document: Document) -> str:
        """Create an object, and return its id."""

    @abstractmethod
    def update(self, object_id: str, document: Document) -> None: ...

    @abstractmethod
    def delete(self, object_id: str) -> None: ...

    def note(self) -> str | None:
        """Return what the user should know about other objects of the account, after `find`."""
        return None

    def essence(self, document: Document) -> Document:
        """Return what is compared of a document: the fields that are loaded, without the mark."""
        return essence(self._without_mark(document), self.fields)

    # Where the mark is kept: in the description, unless a kind has another place.

    def with_mark(self, document: Document, mark: Mark) -> Document:
        return {**document, "description": add_to_text(document.get("description", ""), mark)}

    def _without_mark(self, document: Document) -> Document:
        return {**document, "description": remove_from_text(document.get("description") or "")}

    def _find_mark(self, document: Document) -> Mark | None:
        return find_mark(document.get("description") or "")

    @abstractmethod
    def _list_candidates(self) -> Iterable[Document]:
        """List all objects that may be ours, in full."""

    @abstractmethod
    def _get(self, object_id: str) -> Document: ...

    def _recognize(self, document: Document) -> Found | None:
        mark = self._find_mark(document)
        object_id = str(document["id"])
        # With another object's id it is a copy, which somebody made for themselves.
        if mark is None or mark.object_id not in {None, object_id}:
            return None
        return Found(object_id, mark, self.essence(document))

    def _read(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._api.call(method, *arguments, permission=self.reads, **options)

    def _write(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._api.call(method, *arguments, permission=self.writes, **options)
