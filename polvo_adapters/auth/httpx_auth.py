"""A token for `httpx`, synchronous and asynchronous: `httpx.AsyncClient(auth=oauth.httpx())`.

Theory of operation. As `polvo_adapters.auth.tokens.token_auth` for `requests`. A token that is held is put on the
request at once; whatever may take time runs on another thread, so that the event loop goes on. A refresh whose task was
cancelled is carried to its end all the same: what the server answers must not be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator

import httpx

from polvo_adapters.auth.attach.carrier import HeldCredential, HTTPXCarrier


class HTTPXAuth(httpx.Auth):
    """Put a token on the requests of `httpx`, and replace it once when it is refused.

    Args:
        auth: Whose token; what it holds is shared with the sessions that use it.
    """

    def __init__(self, auth: HTTPXCarrier) -> None:
        self._auth = auth

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorize a request of `httpx.Client`.

        Raises:
            TokenRefreshError: There is no token, and none can be had.
        """
        held: HeldCredential | None = self._auth.held()
        refreshed = False
        for _ in range(3):  # a refused token, and before or after it a nonce for the proof
            if held is None:
                return
            response = yield self._carrying(request, held)
            if not self._is_refused(response, held):
                return
            response.read()
            request = response.request  # a redirect may have led on
            if not self._is_challenged(response, held):
                held, refreshed = None if refreshed else self._auth.after(held), True

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorize a request of `httpx.AsyncClient`; as `sync_auth_flow`."""
        held: HeldCredential | None = self._auth.ready() or await asyncio.to_thread(self._auth.held)
        refreshed = False
        for _ in range(3):
            if held is None:
                return
            response = yield self._carrying(request, held)
            if not self._is_refused(response, held):
                return
            await response.aread()
            request = response.request
            if not self._is_challenged(response, held):
                held, refreshed = None if refreshed else await asyncio.to_thread(self._auth.after, held), True

    def _carrying(self, request: httpx.Request, held: HeldCredential) -> httpx.Request:
        for name, value in self._auth.headers_for(held, request.method, str(request.url)).items():
            request.headers[name] = value
        return request

    def _is_refused(self, response: httpx.Response, held: HeldCredential) -> bool:
        """Tell whether a request is to be sent again; where its body is gone, the next one has the token refreshed."""
        sent = response.request
        if response.status_code != 401 or sent.headers.get("Authorization") != held.header:
            return False  # a redirect may have led elsewhere
        if isinstance(sent.stream, httpx.ByteStream):
            return True
        self._auth._refused(held)
        return False

    def _is_challenged(self, response: httpx.Response, held: HeldCredential) -> bool:
        return self._auth.challenged(held, str(response.request.url), response.headers)

    def __repr__(self) -> str:
        return f"<HTTPXAuth of {self._auth!r}>"
