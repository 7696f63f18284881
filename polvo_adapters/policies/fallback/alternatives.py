"""What a fallback may serve in place of a failure, as values that were checked when they were made."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.http import IDEMPOTENT_METHODS

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({204, 205, 304})
_REST = re.compile(r"[^:/?#]+://[^/?#]*([^#]*)")
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_SECRET_WORDS = frozenset(
    [
        "auth",
        "authorization",
        "credential",
        "credentials",
        "jwt",
        "key",
        "pass",
        "passwd",
        "password",
        "pwd",
        "secret",
        "session",
        "sid",
        "sig",
        "sign",
        "signature",
        "token",
        "apikey",
        "accesskey",
        "appkey",
        "authkey",
        "hapikey",
        "accesstoken",
        "apitoken",
        "authtoken",
        "sessionid",
    ]
)
_SECRET_NAMES = frozenset({"appid", "awsaccesskeyid", "googleaccessid", "session_id", "sessionid"})
_PLACES = frozenset({"continuation", "next", "page", "sort", "sync"})  # a token that tells where a list goes on
_CO_ASYNC = 0x80 | 0x20 | 0x200  # coroutines and generators, see `inspect`
_UNSET: Any = ...


@dataclass(frozen=True, init=False)
class Fixed:
    """A response that is always the same.

    Args:
        status: Its status, from 200 to 599.
        headers: Its headers.
        body: Its body, as bytes or as text, which is sent as UTF-8.
        json: What to make the body of instead.

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
            raise wrong("Fixed", "headers", headers, "a mapping of header names to text")
        named = dict(headers or {})
        if json is not _UNSET:
            if body:
                raise ValueError(f"Fixed(body={body!r}, json={json!r}): give body or json, not both")
            body, kind = _written(json), "application/json"
        elif isinstance(body, str):
            body, kind = body.encode(), "text/plain; charset=utf-8"
        elif isinstance(body, (bytes, bytearray, memoryview)):
            body, kind = bytes(body), ""
        else:
            raise wrong("Fixed", "body", body, "bytes or text")
        if kind and "content-type" not in map(str.lower, named):
            named["Content-Type"] = kind
        _check(status, named, body)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "headers", tuple(named.items()))
        object.__setattr__(self, "body", body)


@dataclass(frozen=True)
class Another:
    """The same request to another place.

    Args:
        url: Where to, as scheme, host and, if need be, the beginning of a path. Path and query of the request are
            appended to it.
        credentials: Whether headers that may hold credentials, cookies and the client certificate go there although
            it is another origin.
        methods: Methods that are safe to send there although the server may have processed the request; None
            declares every method safe. Other methods are sent there only when the request was certainly not
            processed.

    Raises:
        ValueError: The URL is not absolute, or has a user name, a query or a fragment; or `methods` is none.
    """

    url: str
    credentials: bool = False
    methods: Collection[str] | None = IDEMPOTENT_METHODS

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not isinstance(self.credentials, bool):
            raise wrong("Another", "credentials", self.credentials, "True or False")
        object.__setattr__(self, "methods", validate.methods(self, "methods"))

    @property
    def place(self) -> str:
        """Scheme, host and port, for messages."""
        return origin(self.url)

    def safe(self, call: Call) -> bool:
        """Tell whether a request may be sent there although the server may have processed it."""
        return (call.idempotent and not call.key) or self.methods is None or call.method in self.methods

    def instead(self, call: Call) -> Call | str:
        """Return the call that goes there, or why it must not."""
        found = _REST.match(call.url)
        rest = found[1] if found else ""
        url = self.url.rstrip("/") + (rest if rest.startswith("/") else "/" + rest)
        if url == call.url:
            return "the call went there already"
        if call.origin.startswith("https:") and not self.place.startswith("https:"):
            return "it is not encrypted, and the call is"
        if self.credentials or origin(url) == call.origin:
            return call._replace(url=url)
        if any(map(_may_be_secret, re.split("[&;]", rest.partition("?")[2]))):
            return "the query seems to hold a credential"
        return call._replace(url=url, anonymous=True, credential="", identity="")


class Ended(NamedTuple):
    """How a call ended, for a function that knows what to serve in its place.

    Attributes:
        method: Its method.
        url: Its URL, without query, fragment and user name.
        reason: Why it needs a fallback, such as "503", "read timeout" or "open circuit".
        status: Status of the last answer, or 0.
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
        return f"<Ended {self.method} {self.url}: {self.reason}>"


def ask(function: Callable[[Ended], Any], ended: Ended) -> tuple[Any, Exception | None]:
    """Return what a function has to serve, as a Fixed, a response or None, and what it raised."""
    try:
        given = function(ended)
        if isinstance(given, (bytes, str)):
            return Fixed(body=given), None
        if isinstance(given, (dict, list)):
            return Fixed(json=given), None
        if given is None or isinstance(given, Fixed) or hasattr(given, "status_code"):
            return given, None
        if hasattr(given, "__await__"):
            getattr(given, "close", str)()  # a coroutine complains where nobody waits for it
        wanted = "a Fixed, bytes, text, a dict, a list, a response, or None"
        raise TypeError(f"a fallback function may return {wanted}; this one returned {type(given).__name__}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
        return None, error
    finally:
        del ended  # may hold the very error that is raised, whose traceback holds this frame


def is_async(function: Any) -> bool:
    """Tell whether a function would return something to wait for, and no answer."""
    called = function if hasattr(function, "__code__") else vars(type(function)).get("__call__")
    return bool(getattr(getattr(called, "__code__", None), "co_flags", 0) & _CO_ASYNC)


def stripped(url: str) -> str:
    """Return a URL without user name, query and fragment."""
    found = _REST.match(url)
    return origin(url) + (found[1].partition("?")[0] if found else "")


def wrong(kind: str, field: str, value: object, wanted: str) -> ValueError:
    """Return the error for a setting that makes no sense."""
    return ValueError(f"{kind}({field}={value!r}): {field} must be {wanted}")


def _may_be_secret(field: str) -> bool:
    """Tell whether a part of a query may hold a credential, by its name."""
    name = unquote_plus(field.partition("=")[0])
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or name.lower() in _SECRET_NAMES:
        return bool(words)
    return words[-1] in _SECRET_WORDS and words[0] not in _PLACES


def _written(value: Any) -> bytes:
    try:
        return json_module.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Fixed(json={value!r}): json cannot be written as JSON: {error}") from error


def _check(status: Any, named: Mapping[Any, Any], body: bytes) -> None:
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise wrong("Fixed", "status", status, "a whole number from 200 to 599")
    for name, value in named.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise wrong("Fixed", "headers", {name: value}, "a mapping of header names to text")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise wrong("Fixed", "headers", {name: value}, "a mapping to Latin-1 text without line breaks")
    if status in _BODILESS and body:
        raise wrong("Fixed", "body", body, f"empty where the status is {status}")
    if status in _REDIRECTS and "location" in map(str.lower, named):
        raise wrong("Fixed", "status", status, "no redirect; to send the request elsewhere, name the URL")


def _check_url(url: Any) -> None:
    wanted = "an absolute URL that begins with http:// or https://"
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        raise wrong("Another", "url", url, wanted + ", in ASCII")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("Another(url=...): url must hold no user name or password")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong("Another", "url", url, wanted) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise wrong("Another", "url", url, wanted)
    if "?" in url or "#" in url:
        raise wrong("Another", "url", stripped(url), "without query and fragment; those of the request are appended")
