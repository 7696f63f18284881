"""Gives requests their keys and ids: what policies may not do themselves, as it takes chance and reads bodies.

Theory of operation. Before its flow begins, a request that has no key yet is given one, in its own headers. Redirects
and replays by auth objects are copies of that request, so they have the key already, and a key that is there is never
changed. The caller's own headers are not touched: a prepared request has a copy of them.

    the request has          key
    -----------------------  ----------------------------------------------------------------------------
    none                     made, if its method is one of the policy's
    one of the caller's      that one
    one that was made        that one: the same operation, repeated by a redirect, by auth or by its caller
    one that was made, and   another one: the caller sends the same prepared request once more, and means it
    the call is over

Over is a call that was answered, except by 401, 407, 408, 425, 429 or 500 and above, which invite a repeat.

**The key of a hash** is the hexadecimal SHA-256 digest of

    frame("polvo-idempotency-key-1")  frame(tenant)  frame(method)  frame(URL)  body

where a frame is the length in bytes, as eight bytes with the most significant first, and then the bytes in UTF-8. The
method is in upper case. The URL is its origin (scheme and host in lower case, the port unless it is the default), its
path, or "/" where it has none, and "?" and the query where it has one; no credentials and no fragment. The boundary of
a multipart body is left out, because it is drawn at random each time. So are query parameters in which auth objects of
this package send a credential, because that may be rotated. Nothing else counts, headers least of all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from polvo_adapters.core.calls import origin
from polvo_adapters.core.state_keys import without_parameters
from polvo_adapters.errors import IdempotencyKeyError
from polvo_adapters.shells.credential_digest import in_query

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
    from polvo_adapters.policies.request_ids import RequestIDs

VERSION = b"polvo-idempotency-key-1"

_MADE = "_polvo_made"  # by name, the value of a header that was made for this very request, and whether it is over
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_OPEN = frozenset({401, 407, 408, 425, 429})
_VISIBLE = re.compile(r"[!-~]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BOUNDARY = re.compile(r'multipart/.*?;\s*boundary="?([^";\s]+)', re.IGNORECASE)
_FILE, _MULTIPART = "httpx._content.IteratorByteStream", "httpx._multipart.MultipartStream"  # by no public name
_PIECE = 1 << 16
_UUID_LENGTH = 36
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_tuple = tuple.__new__  # makes a NamedTuple in half the time that its own class takes


class Named(NamedTuple):
    """What a request is called.

    Attributes:
        key: Its idempotency key, or an empty string.
        content: A digest of method and body where the policy keeps a record of keys, or an empty string.
    """

    key: str = ""
    content: str = ""


_UNNAMED = Named()


def assign_key(keys: IdempotencyKeys | None, request: Any, tenant: str) -> Named:
    """Give a request its key, if it is to have one.

    Args:
        keys: The policy, or None.
        request: A request of `requests` or httpx; its headers are added to.
        tenant: On whose behalf it is sent.

    Raises:
        IdempotencyKeyError: The key cannot be sent, or the body cannot be read without consuming it.
    """
    if keys is None:
        return _UNNAMED
    method = (request.method or "").upper()
    present = _present(request, keys.header)
    if present is None:
        if method not in keys.methods:
            return _UNNAMED
        key = _random() if keys.strategy == "unique" else _made(keys, request, method, tenant)
        if not key:
            return _UNNAMED
        checked = keys.strategy == "unique" and keys.style == "bare" and keys.max_length >= _UUID_LENGTH
        _put(request, keys.header, key if checked else format_key(keys, key))
    elif method in _SAFE and method not in keys.methods:
        return _UNNAMED  # what a redirect made of a request with a key
    else:
        key = _read(keys, present)
    return _tuple(Named, (key, _content(request, method) if keys.record else ""))


def assign_request_id(ids: RequestIDs, request: Any) -> str:
    """Give a request its id, and that of whatever it is part of; return its id."""
    from polvo_adapters.context.correlation import current_correlation

    present = _present(request, ids.header)
    if present is None:
        present = _random()
        _put(request, ids.header, present)
    correlation = current_correlation()
    if _present(request, ids.correlation_header) is None:
        request.headers.pop(ids.correlation_header, None)  # that of an earlier call with the same request
        if correlation:
            _put(request, ids.correlation_header, correlation)
    return _text(present)


def same_call(request: Any, copied: Any) -> None:
    """Have a copy of a request belong to the same call: what ends the one ends the other."""
    if _MADE in request.__dict__:
        copied.__dict__[_MADE] = request.__dict__[_MADE]


def mark_complete(request: Any, status: int) -> None:
    """Note that the call of a request is over, so that sending it once more is another call."""
    if status < 500 and status not in _OPEN:
        made = request.__dict__.get(_MADE, {})
        for name in made:
            made[name] = (made[name][0], True)


def format_key(keys: IdempotencyKeys, key: str) -> str:
    """Return the value of the header for a key.

    Raises:
        IdempotencyKeyError: It cannot be sent.
    """
    _check(keys, key)
    return '"{}"'.format(key.replace("\\", "\\\\").replace('"', '\\"')) if keys.style == "structured" else key


def hash_request(method: str, url: str, body: Callable[[], Iterator[bytes]], tenant: str) -> str:
    """Return the key that is a digest of the request; see this module."""
    parts = urlsplit(url)
    address = origin(url) + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    digest = sha256()
    for part in (VERSION, tenant, method.upper(), address):
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    for piece in body():
        digest.update(piece)
    return digest.hexdigest()


def _made(keys: IdempotencyKeys, request: Any, method: str, tenant: str) -> str | None:
    if not callable(keys.strategy):
        url = without_parameters(str(request.url), in_query(request))
        return hash_request(method, url, lambda: _pieces(request), tenant)
    key = keys.strategy(request)
    if key is not None and not isinstance(key, str):
        raise _wrong(f"the strategy has returned a {type(key).__name__}; return a str, or None for no key", "key")
    return key


def _random() -> str:
    """Return a random UUID (RFC 9562, version 4), in half the time that `uuid` takes."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def _present(request: Any, name: str) -> str | bytes | None:
    """Return the header that is to stay, or None where one has to be made."""
    value: str | bytes | None = request.headers.get(name)
    if value is not None and _MADE in request.__dict__ and request.__dict__[_MADE].get(name) == (value, True):
        return None
    return value


def _put(request: Any, name: str, value: str) -> None:
    request.headers[name] = value
    request.__dict__.setdefault(_MADE, {})[name] = (value, False)


def _read(keys: IdempotencyKeys, value: str | bytes) -> str:
    key = _text(value)
    if keys.style == "structured" and key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise _wrong(f"{keys.header} is no string in quotes", "key")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    _check(keys, key)
    return key


def _check(keys: IdempotencyKeys, key: str) -> None:
    if not isinstance(key, str) or not _VISIBLE.fullmatch(key):
        raise _wrong(f"{keys.header} must be made of visible ASCII characters, without spaces", "key")
    if len(key) > keys.max_length:
        raise _wrong(f"{keys.header} has {len(key)} characters, and max_length is {keys.max_length}", "key")


def _content(request: Any, method: str) -> str:
    digest = sha256(method.encode() + b"\0")
    for piece in _pieces(request):
        digest.update(piece)
    return digest.hexdigest()[:32]


def _pieces(request: Any) -> Iterator[bytes]:
    """Return the body piece by piece, and leave it as it was."""
    body = getattr(request, "body", None) if hasattr(request, "body") else _httpx_body(request)
    boundary = _BOUNDARY.match(_text(request.headers.get("Content-Type") or ""))
    if body is None:
        return
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if isinstance(body, (bytes, bytearray, memoryview)):
        data = bytes(body)
        yield data if boundary is None else data.replace(b"--" + boundary[1].encode("latin-1", "replace"), b"--")
    elif _kind(body) == _MULTIPART:
        yield from _multipart(body)
    elif boundary is not None or not hasattr(body, "read"):
        raise _unreadable()
    else:
        yield from _file(body)


def _file(body: Any) -> Iterator[bytes]:
    with _rewound([body]):
        while piece := body.read(_PIECE):
            yield piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else bytes(piece)


def _multipart(stream: Any) -> Iterator[bytes]:
    """Return a multipart body of httpx, which reads its files from their start each time that it is gone through."""
    files = [field.file for field in stream.fields if hasattr(field, "file")]
    with _rewound([file for file in files if not isinstance(file, (str, bytes))]):
        for piece in stream:
            yield piece.replace(b"--" + stream.boundary, b"--")


@contextmanager
def _rewound(files: list[Any]) -> Iterator[None]:
    """Have files read, and put back to where they were.

    Raises:
        IdempotencyKeyError: One of them cannot be put back, and none was read; or reading has failed.
    """
    try:
        if not all(getattr(file, "seekable", partial(hasattr, file, "seek"))() for file in files):
            raise _unreadable()
        positions = [file.tell() for file in files]
        yield
        for file, position in zip(files, positions, strict=True):
            file.seek(position)
    except (AttributeError, OSError, ValueError) as error:
        if isinstance(error, IdempotencyKeyError):
            raise
        raise _unreadable() from error


def _httpx_body(request: Any) -> Any:
    from httpx import ByteStream

    stream = request.stream
    if isinstance(stream, ByteStream):
        return request.read()
    return stream._stream if _kind(stream) == _FILE else stream


def _kind(stream: object) -> str:
    return f"{type(stream).__module__}.{type(stream).__qualname__}"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _unreadable() -> IdempotencyKeyError:
    return _wrong(
        "the body cannot be read without consuming it, as a key that is a hash and a record both have to; pass bytes "
        "or a seekable file, or use unique keys without a record",
        "body",
    )


def _wrong(what: str, reason: str) -> IdempotencyKeyError:
    return IdempotencyKeyError(f"{what}; nothing was sent", reason=reason)
