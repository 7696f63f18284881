"""The auth object that puts a token on requests, has it refreshed in time, and replaces it when it is refused.

Theory of operation. What is known of a token is held in memory, per tenant, and a request gets it from there: nothing
else happens on most calls. When it is stale, the first request that finds out has it refreshed on another thread, and
goes on with what there is. Only where there is none, or it has expired, the request itself drives the flow of
`polvo_adapters.refresh.refresh_flow`, and is the one who refreshes or one of those who wait.

    part         keeps
    -----------  ------------------------------------------------------------------------
    this object  Held, per tenant: the header, when to ask again, the response hook
    the store    the life of the token, sealed: in memory, a token cache, a database

**A refused token** (401) is refreshed once, or the one that somebody else has obtained meanwhile is taken, and the
request is sent again through `response.connection`, the outermost adapter: every policy applies again. It happens once
per request, if the body can be sent twice, and never to another origin: where a redirect has led elsewhere the header
is no longer there, and what is not there has not been refused.

**A refresh is carried to its end**, past the deadline of the call that waits for it and past the end of the program:
the answer may hold the only refresh token that the server still accepts.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from requests.auth import AuthBase

from polvo_adapters.auth.attach.carrier import UNHEARD
from polvo_adapters.auth.attach.credential import OwnedHeaderValue
from polvo_adapters.auth.attach.response_hook import ReauthenticateHook
from polvo_adapters.auth.protocol.dpop import Proofs
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.token_fetch import TokenFetch, overdue, undecryptable
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.context.call import call_started
from polvo_adapters.context.tenant import TenantScope, current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.lifecycle import ClearToken, KnownToken, Lifecycle, TokenRefreshed, WantToken
from polvo_adapters.refresh.refresh_ahead import RefreshAhead
from polvo_adapters.refresh.refresh_flow import RefreshFlow
from polvo_adapters.runtime.clock import Clock

if TYPE_CHECKING:
    from requests import PreparedRequest

    from polvo_adapters.auth.httpx_auth import HTTPXAuth

T = TypeVar("T")


class HeldToken(NamedTuple):
    """What requests of one tenant are given.

    Attributes:
        tenant: The tenant.
        token: The token.
        header: Value of the Authorization header.
        known: What the store said of it.
        at: When that was.
        stale: When to ask again.
        refused: Whether the API has refused it.
    """

    tenant: str
    token: Token
    header: OwnedHeaderValue
    known: KnownToken
    at: float
    stale: float
    refused: bool = False


class TokenAuth(RefreshAhead[HeldToken], AuthBase):
    """Authorize requests by a token that is refreshed; the base of OAuth2 and JWTLogin.

    Args:
        refresh_before: Seconds before its end from which on a token is refreshed.
        deadline: Seconds after which a refresh is given up, waiting for others included.
        background: Whether stale tokens are refreshed on another thread. Otherwise the request that finds out waits.
        max_tenants: For how many tenants tokens are held in memory.
        listeners: Called with a Change whenever a token was refreshed or could not be, and when its storage changed.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(
        self,
        *,
        refresh_before: float,
        deadline: float,
        background: bool,
        max_tenants: int,
        listeners: Sequence[Callable[[StateChange], object]],
        clock: Clock,
    ) -> None:
        if not 0 < deadline < float("inf"):
            raise ConfigurationError(f"{type(self).__name__}(deadline={deadline!r}): expected a number of seconds")
        if max_tenants < 1:
            raise ConfigurationError(f"{type(self).__name__}(max_tenants={max_tenants!r}): expected at least 1")
        self._life = Lifecycle(refresh_before, deadline + 1.0, tuple(listeners))
        self._max_tenants = max_tenants
        super().__init__(deadline=deadline, background=background, clock=clock)

    def _begin(self) -> None:
        self._storages: dict[str, TokenStorage] = {}
        self._starting = [True]
        self._proofs = Proofs()
        super()._begin()

    # What a kind of token differs in ---------------------------------------------------------------------------------

    def _owner(self, tenant: str) -> tuple[str, str]:
        """Return the key of a tenant's token in the store, and the host that issues it."""
        raise NotImplementedError

    def _ask(self, tenant: str, held: Token | None, seconds: float) -> Token:
        """Return a new token from the server, in the place of what is held; raise TokenRefreshError."""
        raise NotImplementedError

    def _storage(self, tenant: str) -> TokenStorage:
        """Return a new Storage for a tenant."""
        raise NotImplementedError

    _advice = "check the credentials"
    _headers = ("Authorization", "DPoP")

    # On every call ----------------------------------------------------------------------------------------------------

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token on a request.

        Raises:
            TokenRefreshError: There is none, and none can be had.
        """
        held = self._held.get(current_tenant())
        if held is None or self._clock.now() >= held.stale:
            held = self._current(current_tenant(), vars(request).setdefault(UNHEARD, []))
        self._attach(request, held)
        request.register_hook("response", ReauthenticateHook(self, held))
        return request

    def _attach(self, request: PreparedRequest, held: HeldToken) -> None:
        request.headers["Authorization"] = held.header
        if held.token.key is not None:
            request.headers["DPoP"] = self._proofs.proof(held.token, request.method or "", request.url or "")

    def _carries(self, request: PreparedRequest, held: HeldToken) -> bool:
        return request.headers.get("Authorization") == held.header

    def ready(self) -> HeldToken | None:
        """Return what the current tenant is given as long as nobody has to wait for it, else None."""
        return self._ready(current_tenant())

    # When there is something to do ------------------------------------------------------------------------------------

    def held(self) -> HeldToken:
        """Return what the current tenant is given, refreshed if need be.

        Raises:
            TokenRefreshError: There is none, and none can be had.
        """
        return self.ready() or self._current(current_tenant(), None)

    def token(self) -> Token:
        """Return a token that is valid now, refreshed if need be: for what is not sent by `requests`.

        Raises:
            TokenRefreshError: There is none, and none can be had.
        """
        return self.held().token

    def headers_for(self, held: HeldToken, method: str, url: str) -> dict[str, str]:
        """Return the headers that put a token on a request."""
        headers: dict[str, str] = {"Authorization": held.header}
        if held.token.key is not None:
            headers["DPoP"] = self._proofs.proof(held.token, method, url)
        return headers

    def challenged(self, held: HeldToken, url: str, headers: Mapping[str, str]) -> bool:
        """Tell whether a refused request is to be sent again with the same token, because its proof lacks a nonce."""
        return held.token.key is not None and self._proofs.challenged(url, headers)

    def after(self, held: HeldToken, entries: list[Entry] | None = None) -> HeldToken | None:
        """Return a later token than one that was refused, or None where there is none to be had.

        Args:
            held: What the request carried.
            entries: What is done for it is appended here.

        Raises:
            TokenRefreshError: The token could not be refreshed.
        """
        current = self._held.get(held.tenant)
        if current is None or current.header == held.header:
            with TenantScope(held.tenant):
                current = self._obtain(held.tenant, WantToken(refused=held.known.generation), entries)
        return None if current.header == held.header else current

    def httpx(self) -> HTTPXAuth:
        """Return the same for `httpx`: `httpx.AsyncClient(auth=oauth.httpx())`."""
        from polvo_adapters.auth.httpx_auth import HTTPXAuth

        return HTTPXAuth(self)

    def forget(self) -> None:
        """Delete the token of the current tenant, here and in the token cache."""
        tenant = current_tenant()
        self._held.pop(tenant, None)
        self._kept(tenant).resort().decide((Event(self._life, self._owner(tenant)[0], ClearToken()),))

    def keep(self, token: Token) -> None:
        """Use a token that comes from elsewhere, such as a login, for the current tenant; put it into the token cache.

        Args:
            token: The token; its lifetime counts from now.
        """
        tenant = current_tenant()
        key, _ = self._owner(tenant)
        storage = self._kept(tenant)
        store = storage.resort()
        store.decide((Event(self._life, key, TokenRefreshed(storage.seal(key, token), token.expires_in)),))
        (known,) = store.decide((Event(self._life, key, WantToken(refresh="nothing")),))
        if type(known) is KnownToken:
            self._hold(tenant, token, known, self._clock.now())

    def _obtain(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> HeldToken:
        """Obtain a token, within the time of the call that needs it."""
        now, begun = self._clock.now(), call_started.get()
        if begun is None or begun.deadline is None or begun.deadline >= now + self._deadline:
            return self._driven(tenant, want, entries)
        # A refresh is not cut short with the call: the answer may hold the only refresh token that is still accepted.
        refresh = background.BackgroundCall(partial(self._driven, tenant, want, entries))
        try:
            return refresh.result(begun.deadline - now, self._clock)
        except queue.Empty:
            raise overdue(self._owner(tenant)[1]) from None

    def _driven(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> HeldToken:
        """Drive the flow of a refresh to its end."""
        key, host = self._owner(tenant)
        storage = self._kept(tenant)
        storage.prepare()
        started = self._clock.now()
        call = Call("POST", f"https://{host}/", "replayable", started, started + self._deadline)
        if self._starting:
            self._starting.clear()
            want = want._replace(anew=True)
        for _ in range(3):
            refreshing = TokenFetch(partial(self._ask, tenant), key, storage, self._clock, self._deadline)
            flow = RefreshFlow(self._life, key, advice=self._advice).flow(
                call, want._replace(known=self._known(tenant))
            )
            outcome = drive(flow, refreshing, storage.resort(), self._clock, [] if entries is None else entries)
            sealed = refreshing.unsealable
            if outcome.error is None:
                known: KnownToken = outcome.response
                try:
                    token = refreshing.tokens.get(known.token) or storage.unseal(key, known.token)
                except DecryptionError:
                    sealed = known.token
                else:
                    return self._hold(tenant, token, known, self._clock.now())
            elif not sealed:
                try:
                    raise outcome.error
                finally:
                    del outcome  # or the error, its traceback and this frame would keep each other alive
            storage.give_up(self._life, key, sealed)
        raise undecryptable(host)

    def _known(self, tenant: str) -> KnownToken | None:
        """Return what this object has to say to a store that may have forgotten."""
        held = self._held.get(tenant)
        if held is None:
            return None
        known = held.known.after(self._clock.now() - held.at)
        return known._replace(left=0.0) if held.refused else known

    def _hold(self, tenant: str, token: Token, known: KnownToken, now: float) -> HeldToken:
        owner = blake2b(self._owner(tenant)[0].encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        header = OwnedHeaderValue.of(owner, f"{token.token_type} {token.access_token}")
        held = HeldToken(tenant, token, header, known, now, now + known.fresh)
        self._held.pop(tenant, None)
        bounded(self._held, self._max_tenants)[tenant] = held
        return held

    def _kept(self, tenant: str) -> TokenStorage:
        storage = self._storages.get(tenant)
        if storage is None:
            storage = bounded(self._storages, self._max_tenants).setdefault(tenant, self._storage(tenant))
        return storage

    def _refused(self, held: HeldToken) -> None:
        """Remember that a token was refused, where the request cannot be sent again."""
        current = self._held.get(held.tenant)
        if current is not None and current.header == held.header:
            self._held[held.tenant] = current._replace(refused=True, stale=float("-inf"))

    def _on_behalf_of(self, who: str) -> AbstractContextManager[object]:
        return TenantScope(who)

    def _after_fork(self) -> None:
        super()._after_fork()
        for storage in self._storages.values():
            storage.after_fork()

    def __copy__(self) -> TokenAuth:
        return self  # whoever copies a session goes on with the same token, and has it refreshed by one of all

    def __deepcopy__(self, memo: object) -> TokenAuth:
        return self

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_storages", "_refreshing", "_starting", "_proofs")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()


def bounded(kept: dict[str, T], most: int) -> dict[str, T]:
    """Make room for one more: what was put in first goes."""
    while len(kept) >= most:
        kept.pop(next(iter(list(kept)), ""), None)  # a copy: other threads may put something in at the same time
    return kept
