"""What `response.json()` of a `polvo.Session` says where the body is no JSON.

Theory of operation. Responses are plain ones of `requests`, so that nothing can be overridden. Where a body that was
read does not begin as JSON does, the response gets a `json` of its own. It parses as that of `requests` does, and says
more where that fails. It holds the body and not the response, which would keep itself alive.
"""

from __future__ import annotations

from typing import Any

import requests

from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.no_json import begins_like_json, describe_no_json


def explain_json(response: requests.Response) -> None:
    """Let `json()` of a response say where and what its body is, if that was read and does not begin as JSON does."""
    present = response.__dict__
    body = present.get("_content")
    if isinstance(body, bytes) and not begins_like_json(body):
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
            message, document, position = f"{describe_no_json(response)} ({error.msg})", error.doc, error.pos
        raise requests.exceptions.JSONDecodeError(message, document, position, request=response.request)
