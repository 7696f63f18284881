"""Copies of a request of httpx: for a race, and for another URL; see `polvo_adapters.shells.requests.rerouting`."""

from __future__ import annotations

from typing import Any

import httpx

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.destinations import withheld_headers


def copy_request(request: httpx.Request) -> httpx.Request:
    """Return a copy of a request, which can be sent at the same time and be traced apart."""
    stream: Any = request.stream
    extensions = dict(request.extensions)
    return httpx.Request(request.method, request.url, headers=request.headers, stream=stream, extensions=extensions)


def reroute(request: httpx.Request, call: Call) -> httpx.Request:
    """Return a copy of the request for the URL of the call; see `polvo_adapters.shells.requests.rerouting`."""
    headers, extensions, url = request.headers.copy(), dict(request.extensions), httpx.URL(call.url)
    if call.anonymous:
        for name in withheld_headers(headers.keys()):
            del headers[name]
    if origin(call.url) != origin(str(request.url)):
        headers["host"] = url.netloc.decode("ascii")  # httpx sets it only where it makes the body as well
        extensions.pop("sni_hostname", None)
    stream: Any = request.stream
    return httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)
