"""The verbs of an asynchronous session, which take what is said for one call besides the keywords of httpx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncSessionOptions(StackOptions, total=False):
    """The keywords of the standard stack, and those of `httpx.AsyncClient`."""

    params: Any
    headers: Any
    cookies: Any
    verify: Any
    cert: Any
    http1: bool
    http2: bool
    proxy: Any
    mounts: Mapping[str, httpx.AsyncBaseTransport | None] | None
    limits: httpx.Limits
    max_redirects: int
    follow_redirects: bool
    event_hooks: Any
    transport: httpx.AsyncBaseTransport | None
    trust_env: bool
    default_encoding: Any


class RequestOptions(CallOptions, total=False):
    """What all verbs take: the keywords of httpx, and those of `polvo.call`."""

    content: Any
    data: Any
    files: Any
    json: Any
    params: Any
    headers: Any
    cookies: Any
    auth: Any
    follow_redirects: Any
    timeout: Any  # one of httpx as well
    extensions: Any


class AsyncVerbs(httpx.AsyncClient):
    """The verbs, which all go through `request`."""

    if TYPE_CHECKING:

        async def request(self, method: str, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
            """Send a request; see `AsyncSession.request`."""

    async def get(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a GET request; see `AsyncSession.request`."""
        return await self.request("GET", url, **keywords)

    async def options(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send an OPTIONS request; see `AsyncSession.request`."""
        return await self.request("OPTIONS", url, **keywords)

    async def head(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a HEAD request, redirects not followed as in `requests`; see `AsyncSession.request`."""
        keywords.setdefault("follow_redirects", False)
        return await self.request("HEAD", url, **keywords)

    async def post(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a POST request; see `AsyncSession.request`."""
        return await self.request("POST", url, **keywords)

    async def put(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a PUT request; see `AsyncSession.request`."""
        return await self.request("PUT", url, **keywords)

    async def patch(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a PATCH request; see `AsyncSession.request`."""
        return await self.request("PATCH", url, **keywords)

    async def delete(self, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a DELETE request; see `AsyncSession.request`."""
        return await self.request("DELETE", url, **keywords)
