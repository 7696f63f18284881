"""The tokens of all tenants: held in memory, kept in a store, refreshed by one of all callers that share them.

Theory of operation. Most calls take their token from memory, at the price of a look at the clock
(`polvo_adapters.refresh.refresh_ahead`). Only if there is no token, or it has expired, the request itself drives the
flow of `polvo_adapters.refresh.refresh_flow`: it refreshes, or waits for the caller that does.

    part         keeps
    -----------  ----------------------------------------------------------------------------
    this object  a HeldToken per tenant: the header, and when to ask the store again
    the store    the lifecycle of the token, sealed: in memory, in a token cache, in a database

**A refresh is completed**, after the deadline of the call that waits for it, and for a moment during the exit of the
program: the response may have the only refresh token that the server still accepts. Calls with a deadline share it. See
`polvo_adapters.refresh.background`.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from polvo_adapters.auth.attach.credential import OwnedHeaderValue
from polvo_adapters.auth.capacity import make_room
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.refresh_token_use import RefreshTokenUse
from polvo_adapters.auth.tokens.refresh_verdict import judge_refresh, spent_error
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.auth.tokens.token_fetch import TokenFetch, overdue_error, undecryptable_error
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.context.call import current_call, settings_scope
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.lifecycle import ClearToken, KnownToken, Lifecycle, TokenRefreshed, WantToken
from polvo_adapters.refresh.refresh_ahead import RefreshAhead
from polvo_adapters.refresh.refresh_flow import RefreshFlow
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.workers import NoThreadError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.auth.options import TokenAuthOptions

_FORMER_ATTRIBUTES = {
    "_asking": "_grant_flow",
    "_lost": "_lost_secrets",
    "_meant_for": "_target",
    "_places": "_storage_factory",
    "_server_keywords": "_server_options",
}
"""New names of attributes in pickles that earlier versions wrote."""


class HeldToken(NamedTuple):
    """The token of one tenant, as requests carry it.

    Attributes:
        tenant: Name of the tenant.
        token: The token.
        header: Value of the header that the API takes the token in.
        known: What the store said of it.
        known_at: When the store said it.
        stale_at: When to ask the store again.
        refused: Whether the API has refused it.
    """

    tenant: str
    token: Token
    header: OwnedHeaderValue
    known: KnownToken
    known_at: float
    stale_at: float
    refused: bool = False


class TokenSource(RefreshAhead[HeldToken]):
    """The tokens of all tenants.

    Args:
        **options: See `polvo_adapters.auth.options.TokenAuthOptions`.

    Raises:
        ValueError: A value is out of range.
    """

    _advice = "check the credentials"
    _max_attempts = 3  # of one refresh

    def __init__(self, **options: Unpack[TokenAuthOptions]) -> None:
        deadline, self._max_tenants = options.get("deadline", 30.0), options.get("max_tenants", 1000)
        clock, listeners = options.get("clock", SYSTEM), options.get("listeners", ())
        self._life = Lifecycle(options.get("refresh_before", 60.0), deadline + 1.0, tuple(listeners))
        self._judge, self._repeats_lost = options.get("final"), options.get("repeat_lost_refresh", True)
        encrypted, encryption_key = options.get("cache_encryption", True), options.get("encryption_key")
        self._storage_factory = TokenStorageFactory(
            options.get("token_cache"), encrypted, encryption_key, clock, listeners
        )
        super().__init__(deadline=deadline, background=options.get("background", True), clock=clock)

    def _begin(self) -> None:
        self._storages: dict[str, TokenStorage] = {}
        self._starting = [True]
        self._spent: set[str] = set()
        self._shared = background.SharedCalls()
        super()._begin()

    def _identify(self, tenant: str) -> tuple[str, str]:
        """Return the key of a tenant's token in the store, and the host that issues it."""
        raise NotImplementedError

    def _fetch_token(self, tenant: str, held: Token | None, seconds: float) -> Token:
        """Return a new token from the server, which replaces the held one, or raise TokenRefreshError."""
        raise NotImplementedError

    def _note_refreshed(self, token: Token) -> None:
        """Do what is to be done with a new token beside keeping it."""

    def _make_header(self, tenant: str, token: Token) -> OwnedHeaderValue:
        """Return the value of the header that requests of a tenant carry the token in."""
        raise NotImplementedError

    # For callers ------------------------------------------------------------------------------------------------------

    def peek_held(self) -> HeldToken | None:
        """Return the token of the current tenant, or None if the caller would have to wait for it."""
        return self._peek(current_tenant())

    def get_held(self) -> HeldToken:
        """Return the token of the current tenant, refreshed if need be.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        return self.peek_held() or self._get(current_tenant(), None)

    def token(self) -> Token:
        """Return a token that is valid now, refreshed if need be, for a client other than `requests`.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        return self.get_held().token

    @property
    def flights(self) -> background.SharedCalls:
        """The refreshes in progress."""
        return self._shared

    def forget(self) -> None:
        """Delete the token of the current tenant, here and in the token cache."""
        tenant = current_tenant()
        self._held.pop(tenant, None)
        self._storage_for(tenant).with_fallback().decide((Event(self._life, self._identify(tenant)[0], ClearToken()),))

    def keep(self, token: Token) -> None:
        """Use a token that was obtained otherwise, such as by a login, for the current tenant; put it into the cache.

        Args:
            token: The token; its lifetime counts from now.
        """
        tenant = current_tenant()
        key, _ = self._identify(tenant)
        storage = self._storage_for(tenant)
        store = storage.with_fallback()
        store.decide((Event(self._life, key, TokenRefreshed(storage.seal(key, token), token.expires_in)),))
        (known,) = store.decide((Event(self._life, key, WantToken(refresh="nothing")),))
        if type(known) is KnownToken:
            self._hold(tenant, token, known, self._clock.now())

    # Refreshing -------------------------------------------------------------------------------------------------------

    def _obtain(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> HeldToken:
        """Obtain a token, within the deadline of the call that needs it."""
        now, call = self._clock.now(), current_call()
        if call is None or call.deadline is None or call.deadline >= now + self._deadline:
            return self._refresh(tenant, want, entries)
        # On another thread: the refresh must not end with the call, see "A refresh is completed" above.
        work, seconds = partial(self._refresh, tenant, want), self._deadline + 1.0
        try:
            shared = self._shared.join((tenant, want), work, now, seconds, delays_exit=self._is_single_use(tenant))
            return shared.result(call.deadline - now, self._clock, entries)
        except queue.Empty:
            raise overdue_error(self._identify(tenant)[1]) from None
        except NoThreadError:
            pass  # leave the handler first, so that no error refers to this one
        return self._refresh(tenant, want, entries, call.deadline)

    def _is_single_use(self, tenant: str) -> bool:
        held = self._held.get(tenant)
        return held is not None and self._uses_refresh_token(held.token)

    def _uses_refresh_token(self, token: Token | None) -> bool:
        """Return whether a refresh sends a refresh token, in the place of a token or of none."""
        return token is not None and token.refresh_token is not None

    def _refresh(
        self,
        tenant: str,
        want: WantToken,
        entries: list[Entry] | None = None,
        deadline: float = math.inf,
    ) -> HeldToken:
        """Drive the flow of a refresh to its end, and give it up at a deadline, or after the time of this object."""
        key, host = self._identify(tenant)
        storage = self._storage_for(tenant)
        storage.load_sealer()
        started = self._clock.now()
        call = Call(
            "POST", f"https://{host}/", "replayable", started, min(started + self._deadline, deadline), tenant=tenant
        )
        if self._starting:
            self._starting.clear()
            want = want._replace(anew=True)
        told: list[Entry] = [] if entries is None else entries
        for _ in range(3):  # the last one with tokens in memory, if the store cannot be read
            fetch = TokenFetch(partial(self._fetch_beside, tenant), key, storage, self._clock, self._deadline)
            want = want._replace(known=self._known_token(tenant))
            flow = RefreshFlow(self._life, key, self._max_attempts, advice=self._advice).flow(call, want)
            outcome = drive(flow, fetch, storage.with_fallback(), self._clock, told, call)
            sealed = fetch.undecryptable
            if outcome.error is None:
                held = self._hold_known(tenant, outcome.response, fetch)
                if held is not None:
                    return held
                sealed = outcome.response.token
            elif not sealed:
                try:
                    raise outcome.error
                finally:
                    del outcome  # see errors.py, "Errors and frames"
            storage.discard_undecryptable(self._life, key, sealed)
        raise undecryptable_error(host)

    def _hold_known(self, tenant: str, known: KnownToken, fetch: TokenFetch) -> HeldToken | None:
        """Hold the token that the store knows after a refresh, and return it, or None if it cannot be unsealed."""
        try:
            token = fetch.unseal(known.token)
        except DecryptionError:
            return None
        held = self._hold(tenant, token, known, self._clock.now())
        if known.token in fetch.tokens:
            self._note_refreshed(token)
        return held

    def _fetch_beside(self, tenant: str, held: Token | None, seconds: float) -> Token:
        if self._uses_refresh_token(held):
            background.delay_exit()
        with settings_scope(None):  # what is said for the call that needs the token is not about this one
            return self._fetch_token(tenant, held, seconds)

    def _refresh_by(
        self,
        tenant: str,
        host: str,
        refresh_token: str,
        held: Token | None,
        temporary: Sequence[str | int],
        request: Callable[[], Token],
    ) -> Token:
        """Return the token that a refresh token brings, which is not sent if the server may have used it up.

        Args:
            tenant: Name of the tenant.
            host: Host of the server.
            refresh_token: The refresh token.
            held: The last token, or None.
            temporary: Error codes after which it can be sent again.
            request: Sends it.

        Raises:
            TokenRefreshError: There is no token; `final` says whether the refresh token is dead.
        """
        use = RefreshTokenUse(refresh_token, self._identify(tenant)[0], self._storage_for(tenant), self._spent)
        if use.is_spent():
            raise spent_error(host)
        try:
            token = request()
        except TokenRefreshError as error:
            is_spent = judge_refresh(error, temporary, repeats_lost=self._repeats_lost)
            use.note_failure(error, self._judge, is_spent=is_spent)
            raise
        use.note_success(token, held)
        return token

    def _known_token(self, tenant: str) -> KnownToken | None:
        """Return what this object knows of the token, for a store that may have lost it."""
        held = self._held.get(tenant)
        if held is None:
            return None
        known = held.known.after(self._clock.now() - held.known_at)
        return known._replace(seconds_left=0.0) if held.refused else known

    def _hold(self, tenant: str, token: Token, known: KnownToken, now: float) -> HeldToken:
        header = self._make_header(tenant, token)
        held = HeldToken(tenant, token, header, known, now, now + known.seconds_fresh)
        self._held.pop(tenant, None)  # so that it stands last, as the one that was used last
        make_room(self._held, self._max_tenants)[tenant] = held
        return held

    def _storage_for(self, tenant: str) -> TokenStorage:
        storage = self._storages.get(tenant)
        if storage is None:
            storage = self._storage_factory.make_storage(tenant)
            storage = make_room(self._storages, self._max_tenants).setdefault(tenant, storage)
        return storage

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_spent", "_storages", "_refreshing", "_starting", "_shared")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({_FORMER_ATTRIBUTES.get(name, name): value for name, value in state.items()})
        for name, value in {"_judge": None, "_repeats_lost": True}.items():
            vars(self).setdefault(name, value)
        self._begin()
