"""The same request to another URL: for policies that name a region, or an alternative.

An anonymous call keeps only the headers that are known to hold no credential; a list of those that may hold one would
never be complete. It keeps the headers that change the meaning of a request: a POST that says that it is a DELETE must
not become a POST.
"""

from __future__ import annotations

import requests

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.http import withheld_headers


def reroute(request: requests.PreparedRequest, call: Call) -> requests.PreparedRequest:
    """Return a copy of the request for the URL of the call."""
    copy = request.copy()
    if origin(call.url) != origin(request.url or ""):
        copy.headers.pop("Host", None)
    if call.anonymous:
        for name in withheld_headers(copy.headers):
            del copy.headers[name]
        copy._cookies = None  # or a retry of the session would add them again
    copy.url = call.url
    return copy


def drop_foreign_cookies(response: requests.Response, request: requests.PreparedRequest) -> None:
    """Keep a session from storing the cookies of a response from another origin as cookies of the first one.

    They stay in the headers and in `response.cookies`.

    Args:
        response: The response.
        request: The request that the session has sent.
    """
    if origin(response.url or "") == origin(request.url or ""):
        return
    original = getattr(response.raw, "_original_response", None)
    if original is not None:
        del original.msg["Set-Cookie"]
