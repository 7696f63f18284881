"""What `response.json()` of a `polvo.AsyncSession` says where the body is no JSON.

As `polvo_adapters.shells.requests.json_errors`: where a body that was read does not begin as JSON does, the response
gets a `json` of its own. It holds what it needs of the response, and not the response, which would keep itself alive.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.httpx.messages import ResponseView
from polvo_adapters.shells.no_json import begins_like_json, describe_no_json


def explain_json(response: httpx.Response, body: bytes) -> None:
    """Let `json()` of a response say where and what its body is, unless that begins as JSON does."""
    if not begins_like_json(body):
        response.__dict__["json"] = NoJSON(response, body)


@unpicklable
class NoJSON:
    """The `json` of a response whose body does not begin as JSON does.

    Args:
        response: The response.
        body: Its body.
    """

    __slots__ = ("_body", "_fields")

    def __init__(self, response: httpx.Response, body: bytes) -> None:
        self._body = body
        self._fields = (response.status_code, response.headers, response.request, response.history)

    def __repr__(self) -> str:
        return "<json() of a body that is no JSON>"

    def __call__(self, **keywords: Any) -> Any:
        """Return what `httpx.Response.json` does.

        Raises:
            json.JSONDecodeError: The body is no JSON.
        """
        try:
            return json.loads(self._body, **keywords)
        except json.JSONDecodeError as error:
            reason, document, position = error.msg, error.doc, error.pos
        status, headers, request, history = self._fields
        response = httpx.Response(status, headers=headers, request=request, history=history)
        view = ResponseView(response)
        view._content = self._body
        raise json.JSONDecodeError(f"{describe_no_json(view)} ({reason})", document, position)
