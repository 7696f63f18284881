"""HTTP/1.x messages as plain values: reading a request head, writing a reply.

Nothing here touches a socket. `parse_head` turns the bytes before the blank line into a `Request` or raises a
`RefusedError`, the exception that means "answer with this instead". `encode_head` is the way back, and checks
nothing on purpose: the faults use it to write replies that no well-behaved server would send.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_KEPT_BODY_BYTES = 64 * 1024

Headers = list[tuple[str, str]]

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_NAME}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_HEADER_LINE = re.compile(rf"({_NAME}):[ \t]*([^\x00\r\n]*)")
_ABSOLUTE_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*([^#]*).*")
_CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BODILESS_STATUSES = frozenset({204, 304})


@dataclass(slots=True)
class Reply:
    """A whole, well-formed reply, as every endpoint sends it unless it breaks the protocol."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


class RefusedError(Exception):
    """An error that ends the handling of a request with a reply.

    Args:
        status: Status of the reply.
        detail: What the JSON body says under `detail`.
        headers: Further headers of the reply.
    """

    def __init__(self, status: int, detail: object, headers: Headers | None = None) -> None:
        super().__init__(status, detail)
        self.reply = json_reply(status, {"detail": detail}, headers)


class MalformedRequestError(RefusedError):
    """The bytes are not a request, so it is unknown where the next one would begin."""


class RequestBody:
    """The memory of a request body: its true `length` and digest, and its first 64 KiB as `kept`."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.length = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 digest of the whole body."""
        return self._digest.hexdigest()

    def add(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        self.length += len(piece)
        self._digest.update(piece)
        self.kept += piece[: MAX_KEPT_BODY_BYTES - len(self.kept)]


@dataclass(slots=True, eq=False)
class Request:
    """A request whose head was read; `Connection.read_body` reads its body."""

    method: str
    target: str
    path: str
    query: str
    headers: dict[str, str]
    keep_alive: bool
    is_http_1_0: bool
    content_length: int = 0
    chunked: bool = False
    body: RequestBody | None = None
    _parameters: dict[str, list[str]] | None = None

    @property
    def identity(self) -> str | None:
        """The X-Request-ID that makes repeats of this request harmless, or None when there is none."""
        return self.headers.get("x-request-id") or None

    @property
    def expects_continue(self) -> bool:
        """Whether the client holds the body back until it is asked for."""
        return not self.is_http_1_0 and self.headers.get("expect", "").lower() == "100-continue"

    def texts(self, name: str) -> list[str]:
        """Return every value of a query parameter, in order."""
        if self._parameters is None:
            self._parameters = parse_qs(self.query, keep_blank_values=True, errors="surrogateescape")
        return self._parameters.get(name, [])

    def text(self, name: str, default: str) -> str:
        """Return the last value of a query parameter, or the default when it is not given."""
        values = self.texts(name) if self.query else []
        return values[-1] if values else default

    def integer(self, name: str, default: int, minimum: int = 0, maximum: int = 2**40) -> int:
        """Return a query parameter as a whole number within bounds; refuse the request (422) otherwise."""
        values = self.texts(name) if self.query else []
        return parse_whole_number(values[-1], name, minimum, maximum, "query") if values else default

    def seconds(self, name: str, default: float, minimum: float = 0.0) -> float:
        """Return a query parameter as a finite number of seconds; refuse the request (422) otherwise."""
        values = self.texts(name) if self.query else []
        if not values:
            return default
        try:
            value = float(values[-1])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= minimum):
            raise invalid_value("query", name, f"a number of seconds, at least {minimum:g}")
        return value


def parse_whole_number(text: str, name: str, minimum: int, maximum: int, place: str) -> int:
    """Read a whole number within bounds, or refuse the request with 422.

    Args:
        text: The digits.
        name: Name of the value, for the error message.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        place: `query` or `path`, for the error message.

    Raises:
        RefusedError: It is no whole number or out of bounds.
    """
    if not _WHOLE_NUMBER.fullmatch(text):
        raise invalid_value(place, name, "a whole number", "int_parsing", text)
    number = int(text)
    if number < minimum:
        kind, bound = "greater_than_equal", {"ge": minimum}
    elif number > maximum:
        kind, bound = "less_than_equal", {"le": maximum}
    else:
        return number
    raise invalid_value(place, name, f"a whole number from {minimum} to {maximum}", kind, text, bound)


def invalid_value(
    place: str, name: str, expected: str, kind: str = "value_error", text: str = "", bound: object = None
) -> RefusedError:
    """Return the 422 refusal that says which value was wrong and what was expected, in the form that FastAPI has.

    Args:
        place: `query` or `path`.
        name: Name of the value.
        expected: What was expected.
        kind: Type of the error.
        text: The value.
        bound: The bound that it exceeds.
    """
    shown = text.encode("utf-8", "replace").decode()
    detail = {"type": kind, "loc": [place, name], "msg": f"Input should be {expected}", "input": shown}
    return RefusedError(422, [detail if bound is None else {**detail, "ctx": bound}])


def json_reply(status: int, content: Any, headers: Headers | None = None) -> Reply:
    """Return a reply with a JSON body."""
    body = json.dumps(content).encode("ascii")
    return Reply(status, [("Content-Type", "application/json"), *(headers or ())], body)


def method_not_allowed(*allowed: str) -> RefusedError:
    """Return the 405 refusal that lists the methods of an endpoint."""
    return RefusedError(405, "Method Not Allowed", [("Allow", ", ".join(allowed))])


def require_method(request: Request, *allowed: str) -> None:
    """Refuse a request with any other method (405)."""
    if request.method not in allowed:
        raise method_not_allowed(*allowed)


def parse_head(head: bytes) -> Request:
    """Read a request line and header lines, without the blank line that ends them.

    Raises:
        MalformedRequestError: The head is not one (400).
    """
    lines = head.decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise MalformedRequestError(400, "Malformed request line")
    method, full_target, minor_version = match.groups()
    target = full_target if method == "CONNECT" else _origin_form(full_target)
    path, _, query = target.partition("?")
    headers = _parse_headers(lines[1:])
    is_http_1_0 = minor_version == "0"
    request = Request(method, target, path, query, headers, _keeps_alive(headers, is_http_1_0), is_http_1_0)
    _read_framing(request)
    return request


def _origin_form(target: str) -> str:
    if target.startswith("/") or target == "*":
        return target
    match = _ABSOLUTE_TARGET.fullmatch(target)
    if match is None:
        raise MalformedRequestError(400, "Malformed request target")
    rest = match.group(1)
    return rest if rest.startswith("/") else "/" + rest


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise MalformedRequestError(400, "Malformed header line")
        name = match.group(1).lower()
        value = match.group(2).rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _keeps_alive(headers: dict[str, str], is_http_1_0: bool) -> bool:
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return "keep-alive" in options if is_http_1_0 else "close" not in options


def _read_framing(request: Request) -> None:
    length = request.headers.get("content-length")
    encoding = request.headers.get("transfer-encoding")
    if encoding is not None:
        # Two framings in one request are how requests are smuggled; no honest client sends both.
        if encoding.lower() != "chunked" or length is not None:
            raise MalformedRequestError(400, "Unsupported message framing")
        request.chunked = True
    elif length is not None:
        if not _CONTENT_LENGTH.fullmatch(length):
            raise MalformedRequestError(400, "Malformed Content-Length")
        request.content_length = int(length)


def encode_head(status: int, headers: Headers, raw_lines: Iterable[str] = ()) -> bytes:
    """Write a status line, header lines and the blank line, whatever they hold.

    Bytes that a query parameter brought along percent-encoded come out as the same bytes.

    Args:
        status: The status code.
        headers: Names and values.
        raw_lines: Further header lines, sent as they are.
    """
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += raw_lines
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def encode_reply(reply: Reply, request: Request) -> bytes:
    """Write a well-formed reply to a request, with the framing headers it lacks."""
    headers = [*reply.headers, *_framing_headers(reply), *connection_headers(request)]
    head = encode_head(reply.status, headers)
    bodiless = request.method == "HEAD" or reply.status in _BODILESS_STATUSES
    return head if bodiless else head + reply.body


def _framing_headers(reply: Reply) -> Headers:
    if reply.status in _BODILESS_STATUSES or any(name.lower() == "content-length" for name, _ in reply.headers):
        return []
    return [("Content-Length", str(len(reply.body)))]


def connection_headers(request: Request) -> Headers:
    """Return the header, if one is needed, that says whether the connection stays open."""
    if not request.keep_alive:
        return [("Connection", "close")]
    return [("Connection", "keep-alive")] if request.is_http_1_0 else []
