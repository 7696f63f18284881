"""What `response.json()` of a `polvo.Session` says where the body is no JSON.

Theory of operation. Responses are plain ones of `requests`, so that nothing can be overridden. Where a body that was
read does not begin as JSON does, the response gets a `json` of its own. It parses as that of `requests` does, and says
more where that fails. It holds the body and not the response, which would keep itself alive.
"""

from __future__ import annotations

import re
from typing import Any

import requests

from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.message_parts import describe_place, list_secrets, quote_beginning, quote_reason

_LIKE_JSON = re.compile(rb'[\s\xef\xbb\xbf]*([\[{"0-9-]|true|false|null|NaN|Infinity)|[\x00\xfe\xff]|.\x00', re.DOTALL)


def explain_json(response: requests.Response) -> None:
    """Let `json()` of a response say where and what its body is, if that was read and does not begin as JSON does."""
    present = response.__dict__
    body = present.get("_content")
    if isinstance(body, bytes) and _LIKE_JSON.match(body) is None:
        present["json"] = NoJSON(response)


_FIELDS = ("_content", "status_code", "reason", "url", "headers", "encoding", "cookies", "history", "request")


@unpicklable
class NoJSON:
    """The `json` of a response whose body does not begin as JSON does.

    Args:
        response: The response.
    """

    __slots__ = ("_fields",)

    def __init__(self, response: requests.Response) -> None:
        present = response.__dict__
        self._fields = {name: present.get(name) for name in _FIELDS}

    def __repr__(self) -> str:
        return "<json() of a body that is no JSON>"

    def __call__(self, **keywords: Any) -> Any:
        """Return what `requests.Response.json` does.

        Raises:
            requests.exceptions.JSONDecodeError: The body is no JSON.
        """
        response = requests.Response.__new__(requests.Response)
        vars(response).update(self._fields, raw=None, _content_consumed=True)
        try:
            return response.json(**keywords)
        except requests.exceptions.JSONDecodeError as error:
            message, document, position = f"{_describe(response)} ({error.msg})", error.doc, error.pos
        raise requests.exceptions.JSONDecodeError(message, document, position, request=response.request)


def _describe(response: requests.Response) -> str:
    secrets = list_secrets(response, response.request)
    beginning = quote_beginning(response, secrets)
    status = f"{response.status_code} {quote_reason(response, secrets)}".rstrip()
    shown = f"begins with {beginning!r}" if beginning else "is not shown" if response.content else "is empty"
    kind = re.sub(r"[^\w.+/-].*", "", response.headers.get("content-type") or "", flags=re.DOTALL)[:60]
    return (
        f"{describe_place(response.request, secrets)}: the body is no JSON; the status is {status}, the content "
        f"type {kind or 'not given'}, and the body {shown}; check the URL, and ask for JSON by the header Accept"
    )
