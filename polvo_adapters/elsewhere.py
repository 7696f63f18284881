"""The same request to another URL: for policies that name a region, or an alternative.

Where the call is anonymous, only headers that are known to hold no credential go along. A list of those that may hold
one would never be complete.
"""

from __future__ import annotations

from collections.abc import Iterable

import requests

from polvo_adapters.flow import Call, origin

_HARMLESS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "expect",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "range",
        "transfer-encoding",
        "user-agent",
    }
)


def elsewhere(request: requests.PreparedRequest, call: Call) -> requests.PreparedRequest:
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


def withheld(names: Iterable[str]) -> list[str]:
    """Return the names of headers that an anonymous request leaves out."""
    return [name for name in names if name.lower() not in _HARMLESS]
