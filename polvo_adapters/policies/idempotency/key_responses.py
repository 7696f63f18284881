"""What a server's response says about an idempotency key, if anything.

Theory of operation. The statuses that the draft and vendors use for keys (400, 409, 417, 422) have other meanings too.
So the body decides, in its first 8 KiB, whatever its format: JSON, problem details or HTML. It counts when it names the
key, by the name of the header or by the word "idempotent" in any form; vendors' codes (Stripe `idempotency_error` and
`idempotency_key_in_use`, Square `IDEMPOTENCY_KEY_REUSED`, GoCardless `idempotent_creation_conflict`) all do.

    status         body, or header                                   meaning
    -------------  ------------------------------------------------  ---------------------------
    409            says in progress, outstanding, processing, in use  the first one is at work
    409            Retry-After                                        the same
    409            names the key, and says used, reused, different    the key is refused
    409            names the key                                      the first one is at work
    400, 422       names the key; or a key that was used, different   the key is refused
    417            anything                                           the key is refused

A wrong guess at 409 costs a wait, as asking again with the same key does no harm. A wrong guess at the others would
hide a response from its caller, hence the words. Any other status, and a body that was not read, says nothing.

Source: draft-ietf-httpapi-idempotency-key-header-07, section 2.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias, Union

KeyVerdict: TypeAlias = Union[Literal["at work", "key refused"], None]  # noqa: UP007 - evaluated at import

AT_WORK: Literal["at work"] = "at work"
KEY_REFUSED: Literal["key refused"] = "key refused"

_LOOKED_AT = 8192  # bytes
_NAMED = re.compile(rb"idempot", re.IGNORECASE)
_AT_WORK = re.compile(
    rb"in[ _-]?progress|outstanding|still (?:being )?process|(?:currently|being) process|concurrent|key_in_use"
    rb"|in use by|under ?way",
    re.IGNORECASE,
)
_USED = re.compile(rb"creation_conflict|re-?used|already|different|mismatch|does not match|misuse", re.IGNORECASE)
_KEY = re.compile(rb"\bkey\b", re.IGNORECASE)
_TIME = re.compile(r"\s*[0-9A-Za-z]")


def interpret_key_response(header: str, status: int, headers: Mapping[str, str], body: bytes | None) -> KeyVerdict:
    """Return what a response to a request with a key says about the key.

    Args:
        header: Name of the header that held the key.
        status: Status of the response.
        headers: Its headers.
        body: Its body, or None where it was not read.

    Returns:
        "at work" where the server works on an earlier request, "key refused" where it refuses the key, else None.
    """
    if status not in (400, 409, 417, 422):
        return None
    text = (body or b"")[:_LOOKED_AT]
    named = _NAMED.search(text) is not None or header.encode("latin-1").lower() in text.lower()
    if status == 409:
        return _interpret_conflict(text, headers, named=named)
    if status == 417 or named or (_KEY.search(text) and _USED.search(text)):
        return KEY_REFUSED
    return None


def _interpret_conflict(text: bytes, headers: Mapping[str, str], *, named: bool) -> KeyVerdict:
    if _AT_WORK.search(text) or _TIME.match(headers.get("retry-after") or ""):
        return AT_WORK
    if not named:
        return None
    return KEY_REFUSED if _USED.search(text) else AT_WORK
