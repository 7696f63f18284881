"""Copies of a request of httpx: for a race, and for another URL; see `polvo_adapters.shells.requests.rerouting`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.destinations import translate_location, withheld_headers
from polvo_adapters.core.http import text_of
from polvo_adapters.shells.credential_owners import credential_places
from polvo_adapters.shells.request_marks import NO_MARKS, marks_of, read_marks

NOTED = "polvo_credentials"
"""An extension with the headers of a request that are meant for its origin, handed on to redirects by httpx."""

_FIRST = "polvo_first_origin"  # the same


def note_origin(request: httpx.Request, headers: Iterable[str]) -> None:
    """Note which headers of a request are meant for its origin alone, besides Authorization.

    Args:
        request: The request.
        headers: Names of the headers.
    """
    names = tuple(headers)
    if names:
        request.extensions = {**request.extensions, NOTED: (origin(str(request.url)), names)}


def take_off(request: httpx.Request) -> None:
    """Remove the headers that are meant for another origin, from which a redirect has led to that of the request."""
    noted = request.extensions.get(NOTED)
    if noted is not None and noted[0] != origin(str(request.url)):
        for name in noted[1]:
            request.headers.pop(name, None)


def has_left_origin(request: httpx.Request) -> bool:
    """Return whether a redirect has led to a request from another origin, and note the origin of the first one."""
    here = origin(str(request.url))
    first: str | None = request.extensions.get(_FIRST)
    if first is None:
        request.extensions = {**request.extensions, _FIRST: here}
    return first not in (None, here)


def copy_request(request: httpx.Request) -> httpx.Request:
    """Return a copy of a request, which can be sent at the same time and be traced apart."""
    return _copy(request, request.url, request.headers, dict(request.extensions))


def _copy(request: httpx.Request, url: httpx.URL, headers: httpx.Headers, extensions: dict[str, Any]) -> httpx.Request:
    """Return a copy of a request, which is read where that is: what signs it looks at its content."""
    stream: Any = request.stream
    copy = httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)
    if type(stream) is httpx.ByteStream:
        copy.read()
    return copy


def copy_for_another_call(request: httpx.Request, extensions: Mapping[str, Any]) -> httpx.Request:
    """Return a copy of a request that a call is being made with, for another call at the same time.

    Args:
        request: The request; what was generated for that call is not in the copy.
        extensions: Those that the request had before that call.
    """
    copy, marks = copy_request(request), read_marks(request)
    copy.extensions = dict(extensions)
    for name, (value, _) in marks.assigned.items():
        if copy.headers.get(name) == text_of(value):
            del copy.headers[name]
    if marks is not NO_MARKS:
        vars(marks_of(copy)).update({**vars(marks), "assigned": {}, "unreported": []})
    if hasattr(request, "_content"):
        copy._content = request._content  # which `read` would set
    return copy


def reroute(request: httpx.Request, call: Call) -> httpx.Request:
    """Return a copy of the request for the URL of the call; see `polvo_adapters.shells.requests.rerouting`."""
    headers, extensions, url = request.headers.copy(), dict(request.extensions), httpx.URL(call.url)
    if call.anonymous:
        for name in withheld_headers(headers.items(), credential_places(request)):
            del headers[name]
    if origin(call.url) != origin(str(request.url)):
        headers["host"] = url.netloc.decode("ascii")  # httpx sets it only where it makes the body as well
        extensions.pop("sni_hostname", None)
    return _copy(request, url, headers, extensions)


def translate_response(response: httpx.Response, request: httpx.Request, *, is_region: bool) -> None:
    """Let a client understand a response that came from another URL than it has asked.

    A client takes cookies, and a redirect without a host, for those of the URL that it has asked.

    Args:
        response: The response, with the request that was sent.
        request: The request of the client.
        is_region: Whether the other URL is that of a region, whose redirects start from the client's URL.
    """
    sent, asked = str(response.request.url), str(request.url)
    if origin(sent) != origin(asked):
        response.headers.pop("set-cookie", None)
    if not response.has_redirect_location:
        return
    location = response.headers["location"]
    translated = translate_location(location, sent, asked) if is_region else None
    try:
        response.headers["location"] = translated or urljoin(sent, location)
    except ValueError:  # what the server says is no URL
        return
