"""Requests and responses of httpx, with the attributes of `requests` that messages of errors read."""

from __future__ import annotations

from typing import Any

import httpx

from polvo_adapters.redaction import unpicklable


@unpicklable
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


@unpicklable
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
        self.cookies = _read_cookies(response)
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


def _read_cookies(response: httpx.Response) -> list[Any]:
    """Return the cookies of a response, which keeps none: those of httpx cannot be pickled."""
    if "set-cookie" not in response.headers:
        return []
    cookies = httpx.Cookies()
    cookies.extract_cookies(response)
    return list(cookies.jar)
