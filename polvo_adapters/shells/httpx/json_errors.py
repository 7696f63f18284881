"""What `response.json()` of a `polvo.AsyncSession` says where the body is no JSON.

As `polvo_adapters.shells.requests.json_errors`: where a body that was read does not begin as JSON does, the response
becomes one whose `json` says more where that fails.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from polvo_adapters.shells.httpx.messages import ResponseView
from polvo_adapters.shells.no_json import begins_like_json, describe_no_json


def explain_json(response: httpx.Response, body: bytes) -> None:
    """Let `json()` of a response say where and what its body is, unless that begins as JSON does."""
    if type(response) is httpx.Response and not begins_like_json(body):
        response.__class__ = NoJSONResponse


class NoJSONResponse(httpx.Response):
    """A response whose body does not begin as JSON does."""

    def json(self, **keywords: Any) -> Any:
        """Return what `httpx.Response.json` does.

        Raises:
            json.JSONDecodeError: The body is no JSON.
        """
        try:
            return super().json(**keywords)
        except json.JSONDecodeError as error:
            reason, document, position = error.msg, error.doc, error.pos
        if self._request is None:  # it was pickled
            raise json.JSONDecodeError(reason, document, position)
        raise json.JSONDecodeError(f"{describe_no_json(ResponseView(self))} ({reason})", document, position)
