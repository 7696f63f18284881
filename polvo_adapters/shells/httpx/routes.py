"""The transports of a client, one for each kind of URL, below one transport with policies.

A client of httpx has a transport for each proxy and each mount. A session has its policies once, above all of them, so
that a call which a region or a fallback takes to another host goes there by the transport for that host.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx


class Routes(httpx.AsyncBaseTransport):
    """A transport that hands each request to the one that is for its URL; the client closes them.

    Args:
        find: Returns the transport for a URL.
    """

    def __init__(self, find: Callable[[httpx.URL], httpx.AsyncBaseTransport]) -> None:
        self.find = find

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request by the transport for its URL."""
        return await self.find(request.url).handle_async_request(request)
