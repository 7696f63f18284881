"""One-call coroutines that share connections, one pool for each event loop.

As `polvo_adapters.shells.requests.api`: each call has a session of its own, so that no cookie, header or credential
outlives it. All calls of the process share one state, and those of one event loop share connections, which are closed
with the loop.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.loop_ends import LoopEnd
from polvo_adapters.shells.httpx.session import AsyncSession
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.shells.httpx.session_transport import SessionTransport
    from polvo_adapters.shells.httpx.verbs import RequestOptions


class LoopPools:
    """The connections that the calls of each event loop share.

    They are closed with it, or by `aclose`.
    """

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[AsyncSession, LoopEnd]] = {}
        self._lock = threading.Lock()
        forks.register(self)

    def lend(self) -> SessionTransport:
        """Return the transport that the calls of this event loop send through.

        Raises:
            ConfigurationError: This is no event loop of asyncio.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("the verbs of polvo.aio need asyncio; use polvo.AsyncSession here") from None
        found = self._by_loop.get(loop)
        if found is None:
            session = AsyncSession(store=self._store)
            found = session, LoopEnd(partial(self._close, loop, session))
            with self._lock:
                for other in [other for other in self._by_loop if other.is_closed()]:
                    del self._by_loop[other]  # one that ended in another way
                self._by_loop[loop] = found
        return found[0]._policy_transport

    async def _close(self, loop: asyncio.AbstractEventLoop, session: AsyncSession) -> None:
        with self._lock:
            self._by_loop.pop(loop, None)
        await session.aclose()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        found = self._by_loop.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].close()

    def after_fork_in_child(self) -> None:
        """Leave connections and event loops to the parent."""
        self._lock = threading.Lock()
        self._by_loop = {}


_pools = LoopPools()


async def aclose() -> None:
    """Close the connections that the verbs share in this event loop; they open new ones where they are used again."""
    await _pools.aclose()


class _NoTransport(httpx.AsyncBaseTransport):
    """In the place of the transport that httpx would make for a session which sends through another one."""


_NO_TRANSPORT = _NoTransport()


class _OneCall(AsyncSession):
    """A session for one call, without connections of its own."""

    _shown_as = "polvo.aio"

    def __init__(self, transport: SessionTransport) -> None:
        self._lent = transport
        super().__init__(store=transport.store)

    def _make_transport(self, _: dict[str, Any], client: dict[str, Any], auth: Any, timeout: Any) -> Any:
        client = {**client, "transport": _NO_TRANSPORT}
        httpx.AsyncClient.__init__(self, auth=auth, timeout=timeout, **client)
        return self._lent


async def request(method: str, url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send one request through the standard stack.

    Args:
        method: HTTP method.
        url: Absolute URL.
        **keywords: Those of `httpx.request`, and of `polvo.call`. `timeout` is 30 seconds where it is not given, and
            redirects are followed.

    Returns:
        The response; its `polvo` is the report of the call.

    Raises:
        httpx.HTTPError: As httpx does.
        RateLimitError: 429 or another error for want of quota, after all retries.
    """
    return await _OneCall(_pools.lend()).request(method, url, **keywords)


async def get(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a GET request; see `request`."""
    return await request("GET", url, **keywords)


async def options(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send an OPTIONS request; see `request`."""
    return await request("OPTIONS", url, **keywords)


async def head(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a HEAD request, redirects not followed as in `requests`; see `request`."""
    keywords.setdefault("follow_redirects", False)
    return await request("HEAD", url, **keywords)


async def post(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a POST request; see `request`."""
    return await request("POST", url, **keywords)


async def put(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a PUT request; see `request`."""
    return await request("PUT", url, **keywords)


async def patch(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a PATCH request; see `request`."""
    return await request("PATCH", url, **keywords)


async def delete(url: Any, **keywords: Unpack[RequestOptions]) -> httpx.Response:
    """Send a DELETE request; see `request`."""
    return await request("DELETE", url, **keywords)
