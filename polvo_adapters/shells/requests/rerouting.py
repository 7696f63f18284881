"""The same request to another URL: for policies that name a region, or an alternative.

Where the call is anonymous, only headers that are known to hold no credential go along. A list of those that may hold
one would never be complete. Among those that go along are the ones without which it would be another request: a POST
that says that it is a DELETE must not become a POST.
"""

from __future__ import annotations

import requests

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.http import withheld


def reroute(request: requests.PreparedRequest, call: Call) -> requests.PreparedRequest:
    """Return a copy of the request that goes where the call says."""
    copy = request.copy()
    if origin(call.url) != origin(request.url or ""):
        copy.headers.pop("Host", None)
    if call.anonymous:
        for name in withheld(copy.headers):
            del copy.headers[name]
        copy._cookies = None  # or a retry of the session would put them in again
    copy.url = call.url
    return copy


def drop_foreign_cookies(response: requests.Response, request: requests.PreparedRequest) -> None:
    """Have a session not store the cookies of a response from another origin: it would take them for the first one's.

    They stay in the headers and in `response.cookies`.

    Args:
        response: The response.
        request: The request as the session has sent it.
    """
    if origin(response.url or "") == origin(request.url or ""):
        return
    original = getattr(response.raw, "_original_response", None)
    if original is not None:
        del original.msg["Set-Cookie"]
