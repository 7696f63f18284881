"""What a fallback may serve in place of a failure, as values that are validated when they are made."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.destinations import is_downgrade, select_parameters
from polvo_adapters.core.http import HEADER_NAME, IDEMPOTENT_METHODS
from polvo_adapters.core.keywords import explain_arguments

_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({204, 205, 304})
_REST = re.compile(r"[^:/?#]+://[^/?#]*([^#]*)")
_CO_ASYNC = 0x80 | 0x20 | 0x200  # coroutines and generators, see `inspect`
_UNSET: Any = ...


@explain_arguments
@dataclass(frozen=True, init=False)
class Fixed:
    """A response that is always the same.

    Args:
        status: Status, from 200 to 599.
        headers: Headers.
        body: Body, as bytes or as text, which is encoded as UTF-8.
        json: Value to make the body of instead.

    Raises:
        ValueError: A value is out of range, both `body` and `json` are given, or `json` cannot be written as JSON.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        *,
        json: Any = _UNSET,
    ) -> None:
        if headers is not None and not isinstance(headers, Mapping):
            raise invalid_setting("Fixed", "headers", headers, "a mapping of header names to text")
        named = dict(headers or {})
        if json is not _UNSET:
            if body:
                raise ValueError(f"Fixed(body={body!r}, json={json!r}): give body or json, not both")
            body, kind = _encode_json(json), "application/json"
        elif isinstance(body, str):
            body, kind = body.encode(), "text/plain; charset=utf-8"
        elif isinstance(body, (bytes, bytearray, memoryview)):
            body, kind = bytes(body), ""
        else:
            raise invalid_setting("Fixed", "body", body, "bytes or text")
        if kind and "content-type" not in map(str.lower, named):
            named["Content-Type"] = kind
        _validate_fixed(status, named, body)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "headers", tuple(named.items()))
        object.__setattr__(self, "body", body)


@explain_arguments
@dataclass(frozen=True)
class Another:
    """The same request to another server.

    Args:
        url: Scheme, host and, if need be, the beginning of a path; path and query of the request are appended.
        credentials: Whether another origin receives headers that may hold credentials, cookies and the client
            certificate, and every parameter of the query.
        parameters: Names of parameters of the query that may go to another origin, besides those that are known to hold
            no credential (`polvo_adapters.core.destinations`); ["*"] for all of them. What an auth object of this
            package has put into the query never goes. Where another parameter is there, nothing is sent.
        methods: Methods that are safe to send there although a server may have processed the request; None declares
            every method safe. Other methods are sent there only when the request was certainly not processed.

    Raises:
        ValueError: The URL is not absolute, or has a user name, a query or a fragment; or another value is invalid.
    """

    url: str
    credentials: bool = False
    methods: Collection[str] | None = IDEMPOTENT_METHODS
    parameters: Collection[str] = ()

    def __post_init__(self) -> None:
        _validate_url(self.url)
        if isinstance(self.parameters, str) or not all(isinstance(name, str) for name in self.parameters):
            raise invalid_setting("Another", "parameters", self.parameters, "a collection of names, or ['*']")
        object.__setattr__(self, "parameters", frozenset(name.lower() for name in self.parameters))
        if not isinstance(self.credentials, bool):
            raise invalid_setting("Another", "credentials", self.credentials, "True or False")
        object.__setattr__(self, "methods", validate.methods(self, "methods"))

    @property
    def place(self) -> str:
        """Scheme, host and port, for messages."""
        return origin(self.url)

    def reroute(self, call: Call) -> Call | str:
        """Return the call that goes there, or the reason why it must not."""
        rest = _path_and_query(call.url)
        url = self.url.rstrip("/") + (rest if rest.startswith("/") else "/" + rest)
        if url == call.url:
            return "the call went there already"
        if is_downgrade(call.url, self.url):
            return "it is not encrypted, and the call is"
        if self.credentials or origin(url) == call.origin:
            return call._replace(url=url, rerouted=True)
        address, mark, query = url.partition("?")
        allowed = None if "*" in self.parameters else self.parameters
        query, refused = select_parameters(query, call.secret_parameters, allowed)
        if refused:
            names = ", ".join(refused)
            return f"{names} in the query may hold a credential; name what may go there in Another(parameters=...)"
        url = address + mark * bool(query) + query
        return call._replace(url=url, anonymous=True, credential="", identity="", selectors="", rerouted=True)


class FailedCall(NamedTuple):
    """A call that ended badly, for a function that knows what to serve in its place.

    Attributes:
        method: Its method.
        url: Its URL, without query, fragment and user name.
        reason: Why it needs a fallback, such as "503", "read timeout" or "open circuit".
        status: Status of the last response, or 0.
        failure: Name of the failure, or an empty string.
        error: The exception that would be raised, or None.
        response: The response that would be returned, or None.
    """

    method: str
    url: str
    reason: str
    status: int
    failure: str
    error: BaseException | None
    response: Any

    def __repr__(self) -> str:
        return f"<FailedCall {self.method} {self.url}: {self.reason}>"


def call_function(function: Callable[[FailedCall], Any], failed: FailedCall) -> tuple[Any, Exception | None]:
    """Return what a function serves, as a Fixed, a response or None, and the error that it raised."""
    try:
        returned = function(failed)
        if isinstance(returned, (bytes, str)):
            return Fixed(body=returned), None
        if isinstance(returned, (dict, list)):
            return Fixed(json=returned), None
        if returned is None or isinstance(returned, Fixed) or hasattr(returned, "status_code"):
            return returned, None
        if hasattr(returned, "__await__"):
            getattr(returned, "close", str)()  # a coroutine that is never awaited warns
        wanted = "a Fixed, bytes, text, a dict, a list, a response, or None"
        raise TypeError(f"a fallback function may return {wanted}; this one returned {type(returned).__name__}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
        return None, error
    finally:
        del failed  # see errors.py, "Errors and frames"


def is_async(function: Any) -> bool:
    """Return whether a function would return an awaitable instead of a response."""
    called = function if hasattr(function, "__code__") else vars(type(function)).get("__call__")
    return bool(getattr(getattr(called, "__code__", None), "co_flags", 0) & _CO_ASYNC)


def strip_url(url: str) -> str:
    """Return a URL without user name, query and fragment."""
    return origin(url) + _path_and_query(url).partition("?")[0]


def invalid_setting(kind: str, field: str, value: object, wanted: str) -> ValueError:
    """Return the error for a setting that is invalid."""
    return ValueError(f"{kind}({field}={value!r}): {field} must be {wanted}")


def _path_and_query(url: str) -> str:
    found = _REST.match(url)
    return found[1] if found else ""


def _encode_json(value: Any) -> bytes:
    try:
        return json_module.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Fixed(json={value!r}): json cannot be written as JSON: {error}") from error


def _validate_fixed(status: Any, headers: Mapping[Any, Any], body: bytes) -> None:
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise invalid_setting("Fixed", "status", status, "a whole number from 200 to 599")
    for name, value in headers.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise invalid_setting("Fixed", "headers", {name: value}, "a mapping of header names to text")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise invalid_setting("Fixed", "headers", {name: value}, "a mapping to Latin-1 text without line breaks")
    if status in _BODILESS and body:
        raise invalid_setting("Fixed", "body", body, f"empty where the status is {status}")
    if status in _REDIRECTS and "location" in map(str.lower, headers):
        raise invalid_setting("Fixed", "status", status, "no redirect; to send the request elsewhere, name the URL")


def _validate_url(url: Any) -> None:
    wanted = "an absolute URL that begins with http:// or https://"
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        raise invalid_setting("Another", "url", url, wanted + ", in ASCII")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("Another(url=...): url must hold no user name or password")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid_setting("Another", "url", url, wanted) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise invalid_setting("Another", "url", url, wanted)
    if "?" in url or "#" in url:
        raise invalid_setting(
            "Another", "url", strip_url(url), "without query and fragment; those of the request are appended"
        )
