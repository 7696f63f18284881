"""Tokens for `httpx`, synchronous and asynchronous: `httpx.AsyncClient(auth=oauth.httpx())`.

Theory of operation. As `polvo_adapters.auth.tokens.token_auth` for `requests`. A held token is put on the request at
once; whatever may take time runs on another thread, which all tasks that need the same token share, so that the event
loop goes on. A refresh is completed even if its tasks were cancelled: the server's response must not be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import httpx

from polvo_adapters.auth.attach.carrier import HeldCredential, HTTPXCarrier
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.workers import NoThreadError
from polvo_adapters.shells.credential_owners import add_owner

_T = TypeVar("_T")

_LONGEST = 60.0  # seconds until a refresh that hangs is left alone, and the next task begins another


class HTTPXAuth(httpx.Auth):
    """Authorization of the requests of `httpx` by a token, which is replaced once when it is refused.

    Args:
        auth: The auth object that holds the token; sessions of `requests` may use it at the same time.
    """

    def __init__(self, auth: HTTPXCarrier) -> None:
        self._auth = auth
        self._shared = SharedCalls()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorize a request of `httpx.Client`.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        held: HeldCredential | None = self._auth.get_held()
        refreshed = False
        for _ in range(3):  # the request, again with another token, and again with another proof
            if held is None:
                return
            response = yield self._attach(request, held)
            if not self._is_refused(response, held):
                return
            response.read()
            request = response.request  # a redirect may have changed it
            if not self._auth.is_proof_refused(held, str(request.url), response.headers):
                held, refreshed = None if refreshed else self._auth.after(held), True

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorize a request of `httpx.AsyncClient`, as `sync_auth_flow` does."""
        held: HeldCredential | None = self._auth.peek_held()
        if held is None:
            held = await self._run_beside(("get", current_tenant()), self._auth.get_held)
        refreshed = False
        for _ in range(3):
            if held is None:
                return
            response = yield self._attach(request, held)
            if not self._is_refused(response, held):
                return
            await response.aread()
            request = response.request
            if not self._auth.is_proof_refused(held, str(request.url), response.headers):
                held, refreshed = None if refreshed else await self._replace(held), True

    async def _replace(self, held: HeldCredential) -> HeldCredential | None:
        """Return a later token than a refused one, or None if there is none."""
        key = ("after", current_tenant(), held.tenant, held.header)
        later: HeldCredential | None = await self._run_beside(key, partial(self._auth.after, held))
        return later

    async def _run_beside(self, key: Hashable, work: Callable[[], _T]) -> _T:
        """Return what a function returns that may block, called once for all tasks that need the same now."""
        try:
            shared = self._shared.join(key, lambda _: work(), SYSTEM.now(), _LONGEST)
            await asyncio.wrap_future(shared.over)
            return shared.take()
        except NoThreadError:
            pass  # leave the handler first, so that no error refers to this one
        try:
            result = asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)
        except RuntimeError:  # the interpreter shuts down, and there are no other tasks to wait
            return work()
        return await result

    def _attach(self, request: httpx.Request, held: HeldCredential) -> httpx.Request:
        for name, value in self._auth.make_headers(held, request.method, str(request.url)).items():
            request.headers[name] = value
            owner = getattr(value, "owner", "")
            if owner:
                add_owner(request, name.lower(), owner)
        return request

    def _is_refused(self, response: httpx.Response, held: HeldCredential) -> bool:
        """Return whether a request is to be sent again; if its body is gone, the next request refreshes the token."""
        sent = response.request
        if response.status_code != 401 or sent.headers.get("Authorization") != held.header:
            return False  # a redirect to another origin has lost the header
        if isinstance(sent.stream, httpx.ByteStream):
            return True
        self._auth._mark_refused(held)
        return False

    def __getstate__(self) -> dict[str, HTTPXCarrier]:
        return {"_auth": self._auth}

    def __setstate__(self, state: dict[str, HTTPXCarrier]) -> None:
        self._auth = state["_auth"]
        self._shared = SharedCalls()

    def __repr__(self) -> str:
        return f"<HTTPXAuth of {self._auth!r}>"
