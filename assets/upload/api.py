"""Requests to Datadog's API through its client library, and what each failure means to the user."""

import email.utils
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from urllib3 import Retry
from urllib3.exceptions import HTTPError, MaxRetryError, NameResolutionError, NewConnectionError, ProxyError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from .account import Account
from .marks import Document
from .world import World

# After status 429: how often to wait for one request, for how many seconds at most, and for how many if the answer
# does not say.
WAITS = 5
LONGEST_WAIT = 120.0
USUAL_WAIT = 10.0
# How many characters of an answer a message quotes.
LONGEST_REPLY = 300

Model = TypeVar("Model")


class RequestError(Exception):
    """A request failed; the text is one line for the user."""


class MissingError(RequestError):
    """There is no such object, or no such metric."""


class ForbiddenError(RequestError):
    """The keys do not permit it."""


class UnavailableError(RequestError):
    """The API cannot be used now, so every further request would fail as well."""


class UnclearError(RequestError):
    """The request failed, but may have been carried out all the same."""


class LostAnswerError(UnavailableError, UnclearError):
    """The request was sent, and no answer was received."""


class Api:
    def __init__(self, account: Account, world: World) -> None:
        self._account = account
        self._world = world
        configuration = Configuration(
            host=account.api_url,
            api_key={"apiKeyAuth": account.api_key, "appKeyAuth": account.application_key},
            # The library's models lag behind the answers of the API, so read these as JSON.
            preload_content=False,
            request_timeout=world.timeout,
            # A repeated POST could create a second object, and a redirect could send the keys to another host.
            retry_policy=Retry(total=0, redirect=0, raise_on_redirect=False),
        )
        configuration.proxy = account.proxy
        self.client = ApiClient(configuration)

    def check_key(self) -> None:
        """Raise RequestError unless the API key is valid at this site."""
        try:
            self.read(AuthenticationApi(self.client).validate, permission="")
        except ForbiddenError:
            raise UnavailableError(
                f"DD_API_KEY is not valid at {self._account.api_url}: a wrong key, or the account is on another site"
                f" (DD_SITE, now {self._account.site})"
            ) from None
        except MissingError:
            raise self._no_api("404 Not Found") from None

    def model(self, document: Document, model: type[Model]) -> Model:
        """Make a model of the library from a document; raise RequestError if the document does not match it."""
        try:
            made: Any = self.client.deserialize(json.dumps(document), (model,), check_type=True)
        except (TypeError, ValueError) as error:
            raise RequestError(f"the file does not match Datadog's API: {self._clean(str(error))}") from None
        if not isinstance(made, model) or getattr(made, "_unparsed", True):
            raise RequestError(f"the file does not match the model {model.__name__} of Datadog's API")
        return made

    def read(self, method: Callable[..., Any], *arguments: Any, permission: str, **options: Any) -> Any:
        """Send a request by a method of the library, and return the JSON of the answer, or None if it is empty.

        After status 429 it waits and sends the request again. Any other failure raises RequestError, which names
        `permission` if the keys do not permit the request.
        """
        for waits in range(WAITS + 1):
            try:
                return self._parse(method(*arguments, **options).data)
            except ApiException as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    raise self._explain(error, permission) from None
                if waits < WAITS:
                    self._wait(error)
            except HTTPError as error:
                raise self._explain_connection(error) from None
        raise UnavailableError(f"429 Too Many Requests: still too many after {WAITS} waits; run it again later")

    def write(self, method: Callable[..., Any], *arguments: Any, permission: str) -> Any:
        """Do the same for a request that changes the account; the error says whether it may have been carried out."""
        try:
            return self.read(method, *arguments, permission=permission)
        except UnclearError as error:
            raise type(error)(f"{error}. It may have been carried out all the same.") from None

    def check_type(self, answer: Any, expected: type[Model]) -> Model:
        """Return the answer; raise UnavailableError if it is not of the expected type."""
        if not isinstance(answer, expected):
            raise self._no_api("unexpected JSON")
        return answer

    def check_object(self, answer: Any) -> Document:
        """Return an object of the account, which has an id."""
        document: Document = self.check_type(answer, dict)
        if "id" not in document:
            raise self._no_api("unexpected JSON")
        return document

    def check_objects(self, answer: Any, key: str = "") -> list[Document]:
        """Return a list of such objects, which may be the value of a key in the answer."""
        listed = self.check_type(answer, dict).get(key) if key else answer
        return [self.check_object(each) for each in self.check_type(listed, list)]

    def _parse(self, data: bytes) -> Any:
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except ValueError:
            raise self._no_api("no JSON") from None

    def _no_api(self, why: str) -> UnavailableError:
        return UnavailableError(
            f"{self._account.api_url} does not answer as Datadog's API ({why}): check DD_SITE, --api-url, proxies"
        )

    def _wait(self, error: ApiException) -> None:
        seconds = read_wait({name.lower(): value for name, value in (error.headers or {}).items()})
        if seconds > LONGEST_WAIT:
            raise UnavailableError(
                f"429 Too Many Requests: Datadog asks to wait {seconds:.0f} seconds; run it again then"
            )
        self._world.say(f"Too many requests (429): waiting {seconds:.0f} seconds ...")
        self._world.sleep(seconds)

    def _explain(self, error: ApiException, permission: str) -> RequestError:
        status = error.status
        kind, meaning = classify(status)
        meaning = meaning.format(permission=permission, url=self._account.api_url)
        text = self._clean(read_errors(error.body))
        quoted = f" (the answer: {text})" if text else ""
        phrase = f" {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else ""
        return kind(f"{status}{phrase}: {meaning}{quoted}")

    def _explain_connection(self, error: HTTPError) -> UnavailableError:
        reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        where = self._account.api_url
        if isinstance(reason, NameResolutionError):
            return UnavailableError(f"{where}: there is no such host, or no DNS: check DD_SITE and the network")
        if isinstance(reason, ProxyError):
            return UnavailableError(f"HTTPS_PROXY: the proxy failed: {self._clean(str(reason.original_error))}")
        # urllib3 derives this one from its time-outs.
        if isinstance(reason, NewConnectionError):
            return UnavailableError(f"{where}: no connection: {self._clean(str(reason))}")
        if isinstance(reason, HTTPTimeoutError):
            connect, answer = self._world.timeout
            limits = f"{connect:g} seconds to connect, {answer:g} to answer"
            return LostAnswerError(f"{where}: no answer in time ({limits})")
        if isinstance(reason, SSLError):
            return UnavailableError(f"{where}: no secure connection: {self._clean(str(reason))}")
        return LostAnswerError(f"{where}: the connection broke: {self._clean(str(reason))}")

    def _clean(self, text: str) -> str:
        """Turn a text from outside into one short line without keys, which a proxy might quote."""
        line = " ".join(text.split())
        for key in (self._account.api_key, self._account.application_key):
            line = line.replace(key, "***")
        return line[:LONGEST_REPLY]


def classify(status: int) -> tuple[type[RequestError], str]:
    """Return what a status, other than success and 429, means: the class of the failure, and a text."""
    known: dict[int, tuple[type[RequestError], str]] = {
        401: (UnavailableError, "DD_API_KEY or DD_APP_KEY is not valid at {url}"),
        403: (
            ForbiddenError,
            "DD_APP_KEY is not valid, or lacks the scope {permission}, or its owner lacks the permission",
        ),
        404: (MissingError, "it does not exist, or no longer exists; run it again"),
        409: (RequestError, "somebody else is changing it; run it again"),
    }
    if status in known:
        return known[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnclearError, "Datadog failed; run it again later"
    if status < HTTPStatus.BAD_REQUEST:
        return UnavailableError, "a redirect, which is not followed: check DD_SITE and --api-url ({url})"
    return RequestError, "Datadog refused the request"


def read_wait(headers: dict[str, str]) -> float:
    """Read how many seconds to wait from the headers, named in lower case, of an answer with status 429."""
    for name in ("retry-after", "x-ratelimit-reset"):
        value = headers.get(name, "")
        if value.isdecimal():
            return float(value)
        if date := email.utils.parsedate_tz(value):
            return max(0.0, email.utils.mktime_tz(date) - time.time())
    return USUAL_WAIT


def read_errors(body: Any) -> str:
    """Read the error texts from an answer: `{"errors": ["Forbidden"]}`, `{"error": {"message": "Invalid query"}}`."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors") or body.get("error") or ""
    if isinstance(errors, list):
        return "; ".join(each if isinstance(each, str) else json.dumps(each) for each in errors)
    if isinstance(errors, dict):
        return str(errors.get("message") or json.dumps(errors))
    return str(errors)
