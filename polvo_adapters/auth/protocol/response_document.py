"""What the body of a response says, and the values within: JSON, a form of an old server, or a bare text.

The library oauthlib does not read responses here: it drops a malformed `expires_in` without an error, and JSON that is
no object makes it raise arbitrary exceptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.token_endpoint import TokenResponse
from polvo_adapters.errors import TokenRefreshError

_LONGEST_FORM = 4 * 65_536
_LONGEST_NUMBER = 400  # digits; Python refuses to convert some thousands


def parse_document(response: ServerResponse, described: TokenResponse) -> Any:
    """Return what the body of a response says: JSON, the fields of a form, or a bare text where that is expected."""
    if described.read is not None:
        return _read(described.read, response)
    # Letters of another encoding, control characters and endless numbers are in fields that matter less than the token.
    text = response.body.decode(json.detect_encoding(response.body), "replace")
    try:
        return json.loads(text, strict=False, parse_int=_parse_int)
    except (ValueError, RecursionError):
        pass
    fields = _parse_form(text, described)
    is_text = fields is None and "." in (described.access_token or ())
    return text.strip() or None if is_text else fields


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def _read(read: Callable[[int, Mapping[str, str], bytes], Mapping[str, Any]], response: ServerResponse) -> Any:
    try:
        fields = dict(read(response.status, response.headers, response.body))
        return json.loads(json.dumps(fields))  # the token is stored as JSON
    except Exception as error:
        message = (
            f"{response.what} failed at {response.host}: the function read= failed; see the exception before this one"
        )
        name, status = type(error).__name__, response.status
        raise TokenRefreshError(message, host=response.host, reason=name, status=status) from error


def _parse_form(text: str, described: TokenResponse) -> dict[str, Any] | None:
    """Return the fields of a form, which old servers send in place of JSON."""
    from oauthlib.common import extract_params  # type: ignore[import-untyped]

    pairs = extract_params(text) if len(text) <= _LONGEST_FORM else None
    fields: dict[str, Any] = dict(pairs or ())
    is_answer = any(follow(fields, path) for path in (described.access_token, described.error) if isinstance(path, str))
    return fields if is_answer or "error" in fields else None


def follow(value: Any, path: str) -> Any:
    """Return the value that a path leads to from another value, or None."""
    while path:
        if isinstance(value, dict):
            if path in value:
                return value[path]
            name, _, path = path.partition(".")
            value = value.get(name)
        elif isinstance(value, list):
            name, _, path = path.partition(".")
            value = value[int(name)] if name.isascii() and name.isdigit() and int(name) < len(value) else None
        else:
            return None
    return value


def find_holder(path: str | None) -> str:
    """Return the path of the object that a path leads into, or an empty string."""
    return "" if path is None or path.startswith("header:") else path.rpartition(".")[0]


def list_objects(document: Any) -> list[dict[str, Any]]:
    """Return the objects that are values of a document."""
    values = document.values() if isinstance(document, dict) else ()
    return [value for value in values if isinstance(value, dict)]
