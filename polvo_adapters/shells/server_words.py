"""What a server says about a failure, as far as it may be shown.

Theory of operation. Servers repeat in their errors what they were sent. A description, or an error code that no RFC
defines, is shown only if it has nothing in common with a secret of the request or of the answer.

Few servers keep to RFC 6749 section 5.2, and their own words are what a person needs. So where an answer has no `error`
and no `error_description`, the names that are common elsewhere are looked at. What they say decides nothing: the status
does, or the description of the endpoint.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_plus

KNOWN_CODES = frozenset(
    {
        "access_denied",
        "authorization_pending",
        "consent_required",
        "expired_token",
        "interaction_required",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "login_required",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_token_type",
        "use_dpop_nonce",
    }
)
"""Codes of the RFCs, which repeat nothing of the request."""

_CODE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]{1,64}\Z")
_SHOWN, _LOOKED_AT, _RUN = 200, 400, 8
_CODE_NAMES = ("error_code", "errorCode", "code", "errcode", "error_type", "errorType", "type", "category", "status")
_TEXT_NAMES = (
    "error_description",
    "errorDescription",
    "error_message",
    "errorMessage",
    "errorSummary",
    "error_msg",
    "message",
    "Message",
    "msg",
    "errmsg",
    "detail",
    "details",
    "description",
    "reason",
    "title",
    "error",
)


def describe_failure(
    document: Any, secrets: tuple[str, ...], show: Callable[[Any, tuple[str, ...]], str] | None = None
) -> tuple[str, str]:
    """Return the error code and the text of an answer in the names that are common, each empty where there is none.

    Args:
        document: The answer.
        secrets: Values that must not be shown.
        show: Returns what may be shown of a text; by default `redact_description`.
    """
    show = redact_description if show is None else show
    places = list(_list_places(document))
    code = next((found for place in places for found in _find_codes(place, secrets)), "")
    texts = (show(place.get(name), secrets) for place in places for name in _TEXT_NAMES)
    return code, next((text for text in texts if text and text != code), "")


def _list_places(document: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an answer that may say what failed, from the outermost on."""
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, Mapping):
        return
    yield document
    for name in ("error", "errors", "fault", "detail"):
        inner = document.get(name)
        if isinstance(inner, list):
            inner = inner[0] if inner else None
        if isinstance(inner, Mapping):
            yield inner


def _find_codes(place: Mapping[str, Any], secrets: tuple[str, ...]) -> Iterator[str]:
    for name in ("error", *_CODE_NAMES):
        value = place.get(name)
        # A number alone says nothing to a reader of `reason`, and text with spaces is a description.
        if isinstance(value, str) and not value.isdigit() and " " not in value:
            code = redact_code(value, secrets)
            if code != "error":
                yield code


def list_tokens(document: Any) -> tuple[str, ...]:
    """Return the texts of an answer that may be tokens, by their names, so that no message shows them."""
    inner = [document, *document.values()] if isinstance(document, Mapping) else []
    return tuple(
        value
        for place in inner
        if isinstance(place, Mapping)
        for name, value in place.items()
        if isinstance(value, str) and ("token" in str(name).lower() or "secret" in str(name).lower())
        if str(name) != "token_type"
    )


def redact_description(text: Any, secrets: tuple[str, ...]) -> str:
    """Return what may be shown of the server's description: printable ASCII, short, and free of secrets.

    Args:
        text: The description.
        secrets: Values that must not be shown.
    """
    if not isinstance(text, str) or reveals(text[:_LOOKED_AT], secrets):
        return ""
    shown = "".join(character if " " <= character <= "~" else " " for character in text[:_SHOWN])
    return " ".join(shown.split())


def redact_code(error: Any, secrets: tuple[str, ...]) -> str:
    """Return an error code, or "error" for a code that must not be shown.

    Args:
        error: The server's `error`; a number counts as its digits.
        secrets: Values that must not be shown.

    Source: RFC 6749 section 5.2.
    """
    if isinstance(error, int) and not isinstance(error, bool) and abs(error) < 10**15:
        error = str(error)
    if not isinstance(error, str) or not _CODE.match(error):
        return "error"
    return error if error in KNOWN_CODES or not reveals(error, secrets) else "error"


def reveals(text: str, secrets: Collection[str]) -> bool:
    """Return whether a text has a whole secret, or eight characters in a row of one, in plain or encoded form."""
    forms = {text.casefold(), "".join(text.split()).casefold()}
    for _ in range(3):
        text = html.unescape(unquote_plus(text))
        forms.add(text.casefold())
    variants = [each for secret in filter(None, secrets) for each in _encode_variants(secret)]
    if any(each in form for each in variants for form in forms):
        return True
    joined = "\0".join(variants)
    return any(form[at : at + _RUN] in joined for form in forms for at in range(len(form) - _RUN + 1))


def _encode_variants(secret: str) -> set[str]:
    """Return the forms that a secret may be shown in: plain, and in several encodings."""
    data = secret.encode("utf-8", "surrogatepass")
    encoded = (b64encode(data), urlsafe_b64encode(data))
    texts = [secret, quote_plus(secret, errors="replace"), data.hex(), *(each.decode().rstrip("=") for each in encoded)]
    return {text.casefold() for text in texts}
