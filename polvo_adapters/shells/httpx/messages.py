"""Requests and responses of httpx, as messages of errors read them: see `polvo_adapters.shells.messages`."""

from __future__ import annotations

from typing import Any

import httpx


class RequestView:
    """What a message needs of a request.

    Args:
        request: The request.
    """

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, request: httpx.Request) -> None:
        self.method, self.url, self.headers = request.method, str(request.url), request.headers
        try:
            self.body: Any = request.content or None
        except httpx.RequestNotRead:
            self.body = request.stream

    def __repr__(self) -> str:
        return f"<RequestView {self.method}>"


class ResponseView:
    """What a message needs of a response.

    Args:
        response: The response.
    """

    __slots__ = ("_content", "cookies", "headers", "history", "polvo", "reason", "request", "status_code", "url")

    def __init__(self, response: httpx.Response) -> None:
        self.status_code, self.reason, self.headers = response.status_code, response.reason_phrase, response.headers
        self.url, self.request = str(response.url), RequestView(response.request)
        self._content: Any = read_content(response)
        self.cookies = list(response.cookies.jar)
        self.history = [ResponseView(before) for before in response.history]
        self.polvo = response.extensions.get("polvo")

    def __repr__(self) -> str:
        return f"<ResponseView {self.status_code}>"


def read_content(response: httpx.Response) -> bytes | None:
    """Return the body of a response, or None where it was not read."""
    try:
        return response.content
    except httpx.ResponseNotRead:
        return None
