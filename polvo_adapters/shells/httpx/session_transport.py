"""The transport of a session: its policies, above the transports that httpx has made for it.

A body that is in memory is handed over as if the client had read it, so that the client does not read it a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from time import perf_counter

import httpx

from polvo_adapters.core.effects import Policy
from polvo_adapters.core.identity import Sender
from polvo_adapters.drivers.aio import AsyncClock
from polvo_adapters.errors import SessionClosedError
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.httpx.header_fields import find_field
from polvo_adapters.shells.httpx.pools import retries_connections
from polvo_adapters.shells.httpx.routes import Routes
from polvo_adapters.shells.httpx.streaming import is_streamed
from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport
from polvo_adapters.stores.base import Store

Find = Callable[[httpx.URL], httpx.AsyncBaseTransport]


class SessionTransport(AsyncPolicyTransport):
    """A transport that sends the requests of a session.

    Args:
        *policies: The policies, outermost first.
        find: Returns the transport of httpx for a URL.
        find_without_certificate: Returns the one for requests that are to hold no credential, or None for the same.
        sender: What of the requests is not in them.
        store: Where state lives that outlives a call.
        clock: Time and chance.
    """

    def __init__(
        self,
        *policies: Policy,
        find: Find,
        find_without_certificate: Find | None,
        sender: Sender,
        store: Store,
        clock: AsyncClock,
    ) -> None:
        super().__init__(*policies, inner=Routes(find), store=store, clock=clock)
        self._sender = sender
        if find_without_certificate is not None:
            self._without_certificate = Routes(find_without_certificate)

    def heed_retries_of(self, transports: Iterable[httpx.AsyncBaseTransport]) -> None:
        """Let the policies retry in the place of these transports, through which requests are sent."""
        self._connects_once = retry_place(self.policies) is not None and any(map(retries_connections, transports))

    def make_closed_error(self) -> SessionClosedError:
        """Return the error that stops further attempts of a call, whose connections would never be closed."""
        return SessionClosedError("the session was closed meanwhile; make another one, or close it after its last call")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        began = perf_counter()
        response = await super().handle_async_request(request)
        if type(response.stream) is httpx.ByteStream and not is_streamed(request):
            if find_field(response.headers, b"content-encoding") is not None:
                await _decode(response, request)
            else:
                _finish_reading(response, response.stream._stream)
            response.elapsed = timedelta(seconds=perf_counter() - began)
        return response


async def _decode(response: httpx.Response, request: httpx.Request) -> None:
    """Read an encoded body; an error has the report of the call, which the transport has returned already."""
    try:
        await response.aread()
    except httpx.DecodingError as error:
        attach_report(error, response.extensions["polvo"], request)
        raise


def _finish_reading(response: httpx.Response, body: bytes) -> None:
    """Let a response have the body that is in memory, as `aread` does."""
    response._content = body
    response._num_bytes_downloaded = len(body)
    response.is_stream_consumed = response.is_closed = True
