"""The transport of the resilient client, which lets the call know of each answer."""

from __future__ import annotations

import httpx

from polvo_adapters.client.call_record import current_record
from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport


class ClientTransport(AsyncPolicyTransport):
    """A transport that keeps the report of the last answer, for errors that httpx raises above it.

    Such are an answer that cannot be decoded, and a redirect that cannot be followed. Arguments as for
    AsyncPolicyTransport.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        response = await super().handle_async_request(request)
        record = current_record.get()
        if record is not None:
            record.report = response.extensions.get("polvo")
        return response
