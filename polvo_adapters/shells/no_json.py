"""What a message says of a body that was to be JSON and is none."""

from __future__ import annotations

import re
from typing import Any

from polvo_adapters.shells.message_parts import describe_place, list_secrets, quote_beginning, quote_reason

_LIKE_JSON = re.compile(rb'[\s\xef\xbb\xbf]*([\[{"0-9-]|true|false|null|NaN|Infinity)|[\x00\xfe\xff]|.\x00', re.DOTALL)


def begins_like_json(body: bytes) -> bool:
    """Return whether a body begins as JSON does."""
    return _LIKE_JSON.match(body) is not None


def describe_no_json(response: Any) -> str:
    """Return where and what the body of a response is, which is no JSON, and what to do."""
    secrets = list_secrets(response, response.request)
    beginning = quote_beginning(response, secrets)
    status = f"{response.status_code} {quote_reason(response, secrets)}".rstrip()
    shown = f"begins with {beginning!r}" if beginning else "is not shown" if response._content else "is empty"
    kind = re.sub(r"[^\w.+/-].*", "", response.headers.get("content-type") or "", flags=re.DOTALL)[:60]
    return (
        f"{describe_place(response.request, secrets)}: the body is no JSON; the status is {status}, the content "
        f"type {kind or 'not given'}, and the body {shown}; check the URL, and ask for JSON by the header Accept"
    )
