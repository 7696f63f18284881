"""The idempotency key and the id of a request; policies, which are pure, may neither draw them nor read bodies.

Theory of operation. Before its flow begins, a request that has no key yet is given one in its own headers. Redirects
and replays by auth objects are copies of that request, so they have the key already, and a key that is there is never
changed. The caller's own headers are not touched: a prepared request has a copy of them.

    the request has             key
    --------------------------  ---------------------------------------------------------------------------
    none                        a new one, if its method is one of the policy's
    one of the caller's         that one
    a generated one             that one: the same operation, repeated by a redirect, by auth or by its caller
    a generated one, and the    another one: the caller sends the same prepared request once more on purpose
    call is complete

A call is complete when it has a response, except a refusal such as 429, and 401, 407, 408, 425 or 500 and above.

**The key of a hash** is the hexadecimal SHA-256 digest of

    frame("polvo-idempotency-key-1")  frame(tenant)  frame(method)  frame(URL)  body

where a frame is the length in bytes, as eight bytes with the most significant first, and then the bytes in UTF-8. The
method is in upper case. The URL is its origin (scheme and host in lower case, the port unless it is the default), its
path, or "/" where it has none, and "?" and the query where it has one; no credentials and no fragment. The boundary of
a multipart body is left out, because it is drawn at random each time. So are query parameters in which auth objects of
this package send a credential, because that may be rotated. Headers do not count.
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
from polvo_adapters.core.http import SAFE_METHODS, text_of
from polvo_adapters.core.state_keys import without_parameters
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import ConfigurationError, IdempotencyKeyError
from polvo_adapters.shells.credential_owners import credential_parameters
from polvo_adapters.shells.request_marks import marks_of, read_marks

if TYPE_CHECKING:
    from polvo_adapters.core.verdict import Verdict
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
    from polvo_adapters.policies.one_call import Operation
    from polvo_adapters.policies.request_ids import RequestIDs

VERSION = b"polvo-idempotency-key-1"

_INVITES_REPEAT = frozenset({401, 407, 408, 425})
_VISIBLE = re.compile(r"[!-~]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BOUNDARY = re.compile(r'multipart/.*?;\s*boundary="?([^";\s]+)', re.IGNORECASE)
_FILE, _MULTIPART = "httpx._content.IteratorByteStream", "httpx._multipart.MultipartStream"  # not public
_PIECE = 1 << 16
_UUID_LENGTH = 36
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class RequestKey(NamedTuple):
    """The identity of a request.

    Attributes:
        key: Its idempotency key, or an empty string.
        content: Digest of method and body where the policy keeps a record of keys, or an empty string.
    """

    key: str = ""
    content: str = ""


_NO_KEY = RequestKey()


def assign_key(keys: IdempotencyKeys | None, request: Any, tenant: str) -> RequestKey:
    """Give a request its key if it needs one, and return the key.

    Args:
        keys: The policy, or None.
        request: A request of `requests` or httpx, to whose headers the key is added.
        tenant: Name of the tenant that the request is sent for, or an empty string.

    Raises:
        IdempotencyKeyError: The key cannot be sent, or the body cannot be read without consuming it.
    """
    if keys is None:
        return _NO_KEY
    method = (request.method or "").upper()
    present = _header_to_keep(request, keys.header)
    if present is None:
        if method not in keys.methods:
            return _NO_KEY
        key = _random_uuid() if keys.strategy == "unique" else _make_key(keys, request, method, tenant)
        if not key:
            return _NO_KEY
        checked = keys.strategy == "unique" and keys.style == "bare" and keys.max_length >= _UUID_LENGTH
        _assign(request, keys.header, key if checked else format_key(keys, key))
    elif method in SAFE_METHODS and method not in keys.methods:
        return _NO_KEY  # a redirect has turned a request with a key into this one
    else:
        key = _parse_key(keys, present)
    return new_tuple(RequestKey, (key, _digest_content(request, method) if keys.record else ""))


def assign_operation_key(keys: IdempotencyKeys | None, operation: Operation, request: Any) -> None:
    """Give a request the key that was said for its call, unless it has a key already.

    Args:
        keys: The policy, or None.
        operation: The operation that the key is for.
        request: A request of `requests` or httpx; one of a safe method is left without.

    Raises:
        ConfigurationError: There is no policy.
        IdempotencyKeyError: The key cannot be sent, or another request has it: the server would take the two for one.
    """
    method = (request.method or "").upper()
    if method in SAFE_METHODS and (keys is None or method not in keys.methods):
        return
    if keys is None:
        raise ConfigurationError(
            f"idempotency_key: idempotency is not enabled for {origin(str(request.url))}; make the session, adapter or "
            "transport with idempotency; nothing was sent"
        )
    if _header_to_keep(request, keys.header) is not None:
        return
    value = format_key(keys, operation.key)
    try:
        content = _digest_content(request, method)
    except IdempotencyKeyError:  # a body that is read once is sent once
        content = ""
    if not operation.claim(f"{method} {request.url} {content}"):
        raise _key_error("idempotency_key: another request has it; open a block for each operation", "key")
    _assign(request, keys.header, value)


def assign_request_id(ids: RequestIDs, request: Any) -> str:
    """Give a request its id, and the correlation id of the job that it is part of, and return the id."""
    from polvo_adapters.context.correlation import current_correlation

    present = _header_to_keep(request, ids.header)
    if present is None:
        present = _random_uuid()
        _assign(request, ids.header, present)
    correlation = current_correlation()
    if _header_to_keep(request, ids.correlation_header) is None:
        request.headers.pop(ids.correlation_header, None)  # of an earlier call with the same request
        if correlation:
            _assign(request, ids.correlation_header, correlation)
    return text_of(present)


def share_assigned_headers(request: Any, copied: Any) -> None:
    """Let a copy of a request belong to the same call: when one is complete, so is the other."""
    marks_of(copied).assigned = marks_of(request).assigned


def mark_complete(request: Any, status: int, verdict: Verdict) -> None:
    """Mark the call of a request as complete, so that to send the request once more is another call.

    Args:
        request: The request.
        status: The status of its response.
        verdict: The verdict on that, which may invite a repeat.
    """
    is_for_other_credential = verdict.kind == "refused" and bool(read_marks(request).judges)
    if status < 500 and status not in _INVITES_REPEAT and not verdict.is_refusal and not is_for_other_credential:
        assigned = read_marks(request).assigned
        for name in assigned:
            assigned[name] = (assigned[name][0], True)


def format_key(keys: IdempotencyKeys, key: str) -> str:
    """Return the value of the header for a key.

    Raises:
        IdempotencyKeyError: The key cannot be sent.
    """
    _validate_key(keys, key)
    return '"{}"'.format(key.replace("\\", "\\\\").replace('"', '\\"')) if keys.style == "structured" else key


def hash_request(method: str, url: str, body: Callable[[], Iterator[bytes]], tenant: str) -> str:
    """Return the key of a hash; see this module."""
    parts = urlsplit(url)
    address = origin(url) + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    digest = sha256()
    for part in (VERSION, tenant, method.upper(), address):
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    for piece in body():
        digest.update(piece)
    return digest.hexdigest()


def _make_key(keys: IdempotencyKeys, request: Any, method: str, tenant: str) -> str | None:
    if not callable(keys.strategy):
        url = without_parameters(str(request.url), credential_parameters(request))
        return hash_request(method, url, lambda: _body_pieces(request), tenant)
    key = keys.strategy(request)
    if key is not None and not isinstance(key, str):
        raise _key_error(f"the strategy has returned a {type(key).__name__}; return a str, or None for no key", "key")
    return key


def _random_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4), in half the time that `uuid` takes."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def _header_to_keep(request: Any, name: str) -> str | bytes | None:
    """Return the value of a header that stays, or None where a new one has to be made."""
    value: str | bytes | None = request.headers.get(name)
    is_complete = value is not None and read_marks(request).assigned.get(name) == (value, True)
    return None if is_complete else value


def _assign(request: Any, name: str, value: str) -> None:
    request.headers[name] = value
    marks_of(request).assigned[name] = (value, False)


def _parse_key(keys: IdempotencyKeys, value: str | bytes) -> str:
    key = text_of(value)
    if keys.style == "structured" and key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise _key_error(f"{keys.header} is not a string in quotes", "key")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    _validate_key(keys, key)
    return key


def _validate_key(keys: IdempotencyKeys, key: str) -> None:
    if not isinstance(key, str) or not _VISIBLE.fullmatch(key):
        raise _key_error(f"{keys.header} must be made of visible ASCII characters, without spaces", "key")
    if len(key) > keys.max_length:
        raise _key_error(f"{keys.header} has {len(key)} characters, and max_length is {keys.max_length}", "key")


def _digest_content(request: Any, method: str) -> str:
    digest = sha256(method.encode() + b"\0")
    for piece in _body_pieces(request):
        digest.update(piece)
    return digest.hexdigest()[:32]


def _body_pieces(request: Any) -> Iterator[bytes]:
    """Yield the body piece by piece; a file is put back to its position."""
    body = getattr(request, "body", None) if hasattr(request, "body") else _httpx_body(request)
    boundary = _BOUNDARY.match(text_of(request.headers.get("Content-Type") or ""))
    if body is None:
        return
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if isinstance(body, (bytes, bytearray, memoryview)):
        data = bytes(body)
        yield data if boundary is None else data.replace(b"--" + boundary[1].encode("latin-1", "replace"), b"--")
    elif _class_name(body) == _MULTIPART:
        yield from _multipart_pieces(body)
    elif boundary is not None or not hasattr(body, "read"):
        raise _unreadable_body_error()
    else:
        yield from _file_pieces(body)


def _file_pieces(body: Any) -> Iterator[bytes]:
    with _rewind_after([body]):
        while piece := body.read(_PIECE):
            yield piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else bytes(piece)


def _multipart_pieces(stream: Any) -> Iterator[bytes]:
    """Yield a multipart body of httpx, which reads its files from their start at each iteration."""
    files = [field.file for field in stream.fields if hasattr(field, "file")]
    with _rewind_after([file for file in files if not isinstance(file, (str, bytes))]):
        for piece in stream:
            yield piece.replace(b"--" + stream.boundary, b"--")


@contextmanager
def _rewind_after(files: list[Any]) -> Iterator[None]:
    """Let the block read files, and put them back to their positions.

    Raises:
        IdempotencyKeyError: A file is not seekable, and none was read; or reading has failed.
    """
    try:
        if not all(getattr(file, "seekable", partial(hasattr, file, "seek"))() for file in files):
            raise _unreadable_body_error()
        positions = [file.tell() for file in files]
        yield
        for file, position in zip(files, positions, strict=True):
            file.seek(position)
    except (AttributeError, OSError, ValueError) as error:
        if isinstance(error, IdempotencyKeyError):
            raise
        raise _unreadable_body_error() from error


def _httpx_body(request: Any) -> Any:
    from httpx import ByteStream

    stream = request.stream
    if isinstance(stream, ByteStream):
        return request.read()
    return stream._stream if _class_name(stream) == _FILE else stream


def _class_name(stream: object) -> str:
    return f"{type(stream).__module__}.{type(stream).__qualname__}"


def _unreadable_body_error() -> IdempotencyKeyError:
    return _key_error(
        "a hashed key and a record need the body, which cannot be read without consuming it; pass bytes or a seekable "
        "file, or use unique keys without a record",
        "body",
    )


def _key_error(what: str, reason: str) -> IdempotencyKeyError:
    return IdempotencyKeyError(f"{what}; nothing was sent", reason=reason)
