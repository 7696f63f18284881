"""Tokens for `httpx`, synchronous and asynchronous: `httpx.AsyncClient(auth=oauth.httpx())`.

Theory of operation. As `polvo_adapters.auth.tokens.token_auth` for `requests`. A held token is put on the request at
once; whatever may take time runs on another thread, which all tasks that need the same token share, so that the event
loop goes on. A refresh is completed even if its tasks were cancelled: the server's response must not be lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from functools import partial
from typing import Literal

import httpx

from polvo_adapters.auth.attach.carrier import AsyncCarrier, HeldCredential, HTTPXCarrier
from polvo_adapters.auth.attach.httpx_places import has_parameter, put_parameter
from polvo_adapters.auth.attach.httpx_refusals import is_refusal, is_refusal_async
from polvo_adapters.auth.attach.replaced_credentials import describe_place
from polvo_adapters.context.tenant import TenantScope, current_tenant
from polvo_adapters.redaction import unpicklable
from polvo_adapters.refresh.beside import run_beside
from polvo_adapters.shells.credential_owners import add_owner
from polvo_adapters.shells.httpx.renewal import ReplaceableCredential, note_credential
from polvo_adapters.shells.httpx.rerouting import note_origin
from polvo_adapters.shells.request_marks import marks_of


@unpicklable
class AttachedCredential(ReplaceableCredential):
    """The credential of one request, which a transport renews before it sends the request again.

    Args:
        owner: The auth object.
        held: The credential.

    Attributes:
        held: The credential that was put on the request last.
    """

    __slots__ = ("_earlier", "_owner", "held")

    def __init__(self, owner: HTTPXAuth, held: HeldCredential) -> None:
        self._owner, self.held = owner, held
        self._earlier: tuple[HeldCredential, ...] = ()

    @property
    def auth(self) -> HTTPXAuth:
        """The auth object."""
        return self._owner

    def find_in(self, request: httpx.Request) -> HeldCredential | None:
        """Return the credential that a request carries: that of an attempt in a race may be another one."""
        owner = self._owner
        return next((held for held in (self.held, *self._earlier) if owner.is_on(request, held)), None)

    def renew(self, request: httpx.Request) -> None:
        """Put the present credential on a request in the place of an earlier one; see `RenewableCredential`."""
        held = self.find_in(request)
        current: HeldCredential | None = None if held is None else self._owner._auth.renew(held)
        if current is None:
            return
        if current.header != self.held.header:
            self._earlier, self.held = (*self._earlier, self.held), current
        self._owner.put_on(request, current)

    async def renew_async(self, request: httpx.Request) -> None:
        """Do as `renew`, without blocking the event loop."""
        if self.find_in(request) is not None:
            with TenantScope(self.held.tenant):
                await self._owner.get_held()  # what comes now has nothing to wait for
            self.renew(request)

    def __repr__(self) -> str:
        return f"<AttachedCredential of {self._owner!r}>"


class HTTPXAuth(httpx.Auth):
    """Authorization of the requests of `httpx` by a token, which is replaced once when it is refused.

    Args:
        auth: The auth object that holds the token; sessions of `requests` may use it at the same time.
    """

    def __init__(self, auth: HTTPXCarrier) -> None:
        self._auth = auth

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorize a request of `httpx.Client`.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        auth, refreshed = self._auth, False
        held: HeldCredential = auth.get_held()
        for _ in range(3):  # the request, again with another token, and again with another proof
            attached = AttachedCredential(self, held)
            response = yield self._attach(request, attached)
            sent = attached.find_in(response.request)
            if sent is None:
                return  # a redirect to another origin has lost the header
            held = sent  # or a later one, where a transport has sent the request again
            step = self._choose_step(held, response, is_refusal(auth.refusals, response), refreshed)
            if step == "end":
                return
            response.read()
            request = response.request  # a redirect may have changed it
            if step == "replace":
                later, refreshed = auth.after(held), True
                if later is None:
                    self._note_refusal(held, response)
                    return
                held = later

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorize a request of `httpx.AsyncClient`, as `sync_auth_flow` does."""
        auth, refreshed = self._auth, False
        held = await self.get_held()
        for _ in range(3):
            attached = AttachedCredential(self, held)
            response = yield self._attach(request, attached)
            sent = attached.find_in(response.request)
            if sent is None:
                return
            held = sent
            step = self._choose_step(held, response, await is_refusal_async(auth.refusals, response), refreshed)
            if step == "end":
                return
            await response.aread()
            request = response.request
            if step == "replace":
                later, refreshed = await self._replace(held), True
                if later is None:
                    self._note_refusal(held, response)
                    return
                held = later

    async def get_held(self) -> HeldCredential:
        """Return the credential of the current tenant, refreshed if need be."""
        auth = self._auth
        held: HeldCredential | None = auth.peek_held()
        if held is not None:
            return held
        if isinstance(auth, AsyncCarrier):
            obtained: HeldCredential = await auth.aget_held()
            return obtained
        return await run_beside(auth.flights, ("get", current_tenant()), auth.get_held)

    async def _replace(self, held: HeldCredential) -> HeldCredential | None:
        """Return a later token than a refused one, or None if there is none."""
        auth = self._auth
        later: HeldCredential | None
        if isinstance(auth, AsyncCarrier):
            later = await auth.aafter(held)
            return later
        key = ("after", current_tenant(), held.tenant, str(held.header))
        later = await run_beside(auth.flights, key, partial(auth.after, held))
        return later

    def _attach(self, request: httpx.Request, attached: AttachedCredential) -> httpx.Request:
        note_credential(request, attached)
        if self._auth.refusals.judges:
            marks_of(request).judges = self._auth.refusals.judges
        self.put_on(request, attached.held)
        return request

    def put_on(self, request: httpx.Request, held: HeldCredential) -> None:
        """Put a credential on a request."""
        if self._auth.parameter is not None:
            put_parameter(request, self._auth.parameter, held.header)
            return
        headers = self._auth.make_headers(held, request.method, str(request.url))
        note_origin(request, (name for name in headers if name != "Authorization"))  # which httpx itself takes off
        for name, value in headers.items():
            request.headers[name] = value
            owner = getattr(value, "owner", "")
            if owner:
                add_owner(request, name.lower(), owner)

    def is_on(self, request: httpx.Request, held: HeldCredential) -> bool:
        """Return whether a request carries a credential."""
        if self._auth.parameter is not None:
            return has_parameter(request, self._auth.parameter, held.header)
        return self._auth.is_in(held, request.headers)

    def _choose_step(
        self, held: HeldCredential, response: httpx.Response, is_refused: bool, refreshed: bool
    ) -> Literal["end", "prove", "replace"]:
        """Return what follows an answer to a request that carried a credential."""
        auth, request = self._auth, response.request
        place = describe_place(request.method, str(request.url))
        if not is_refused:
            if auth.replaced and response.is_success:
                auth.note_answer(held, place, refused=False)
            return "end"
        can_be_replaced = not refreshed and auth.may_replace(held, place)
        if not isinstance(request.stream, httpx.ByteStream):
            if can_be_replaced:  # the body is gone, and the next request refreshes the token
                auth._mark_refused(held)
            return "end"
        if auth.is_proof_refused(held, str(request.url), response.headers):
            return "prove"
        if can_be_replaced:
            return "replace"
        self._note_refusal(held, response)
        return "end"

    def _note_refusal(self, held: HeldCredential, response: httpx.Response) -> None:
        self._auth.note_answer(held, describe_place(response.request.method, str(response.request.url)), refused=True)

    def __getstate__(self) -> dict[str, HTTPXCarrier]:
        return {"_auth": self._auth}

    def __setstate__(self, state: dict[str, HTTPXCarrier]) -> None:
        self._auth = state["_auth"]

    def __repr__(self) -> str:
        return f"<HTTPXAuth of {self._auth!r}>"
