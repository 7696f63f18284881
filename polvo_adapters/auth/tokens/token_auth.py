"""The auth object that puts a token on requests, refreshes it in time, and replaces it when the API refuses it.

Theory of operation. The tokens of all tenants are held in memory, and most calls take theirs from there at the price of
a look at the clock (`polvo_adapters.refresh.refresh_ahead`). Only if there is no token, or it has expired, the request
itself drives the flow of `polvo_adapters.refresh.refresh_flow`: it refreshes, or waits for the caller that does.

    part         keeps
    -----------  ----------------------------------------------------------------------------
    this object  a HeldToken per tenant: the header, and when to ask the store again
    the store    the lifecycle of the token, sealed: in memory, in a token cache, in a database

**A refused token** (401, or what `refused=` says) is refreshed once, or replaced by one that another caller has
obtained meanwhile, and the request is sent again through `response.connection`, the outermost adapter: every policy
applies again. That happens once per request, if the body can be sent twice, and never to another origin: a redirect to
one has lost the header, and a token that was not sent was not refused. A refusal that goes on with the new token is an
answer; see `polvo_adapters.auth.attach.replaced_credentials`.

**A refresh is completed**, after the deadline of the call that waits for it, and for a moment during the exit of the
program: the response may have the only refresh token that the server still accepts. Calls with a deadline share it. See
`polvo_adapters.refresh.background`.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from requests.auth import AuthBase

from polvo_adapters.auth.attach.credential import OwnedHeaderValue, digest_owner, validate_place
from polvo_adapters.auth.attach.replaced_credentials import ReplacedCredentials
from polvo_adapters.auth.attach.response_hook import ReauthenticateHook
from polvo_adapters.auth.capacity import make_room
from polvo_adapters.auth.options import check_options
from polvo_adapters.auth.protocol.dpop import Proofs
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.refresh_verdict import judge_refresh, spent_error
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.auth.tokens.token_fetch import TokenFetch, overdue_error, undecryptable_error
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.context.call import current_call, settings_scope
from polvo_adapters.context.tenant import TenantScope, current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.credential_refusals import RefusalTest
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.lifecycle import ClearToken, KnownToken, Lifecycle, TokenRefreshed, WantToken
from polvo_adapters.refresh.refresh_ahead import RefreshAhead
from polvo_adapters.refresh.refresh_flow import RefreshFlow
from polvo_adapters.refresh.spent_tokens import SpentTokens, digest_refresh_token
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.runtime.workers import NoThreadError
from polvo_adapters.shells.request_marks import marks_of

if TYPE_CHECKING:
    from requests import PreparedRequest
    from typing_extensions import Unpack

    from polvo_adapters.auth.httpx_auth import HTTPXAuth
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


class TokenAuth(SharedByCopies, RefreshAhead[HeldToken], AuthBase):
    """Authorization of requests by a token that is refreshed; the base of OAuth2 and JWTLogin.

    Args:
        **options: See `polvo_adapters.auth.options.TokenAuthOptions`.

    Raises:
        ValueError: A value is out of range.
    """

    _advice = "check the credentials"
    _max_attempts = 3  # of one refresh
    _parameters: tuple[str, ...] = ()

    def __init__(self, **options: Unpack[TokenAuthOptions]) -> None:
        deadline, max_tenants = options.get("deadline", 30.0), options.get("max_tenants", 1000)
        check_options(type(self).__name__, options)
        clock, listeners = options.get("clock", SYSTEM), options.get("listeners", ())
        self._header, self._scheme = options.get("header", "Authorization"), options.get("scheme")
        validate_place(type(self).__name__, self._header, self._scheme)
        self.refusals = RefusalTest(type(self).__name__, options.get("refused"))
        self._life = Lifecycle(options.get("refresh_before", 60.0), deadline + 1.0, tuple(listeners))
        self._max_tenants = max_tenants
        self._judge, self._repeats_lost = options.get("final"), options.get("repeat_lost_refresh", True)
        self.owner = options.get("owner")
        self._own_name = token_hex(16)
        encrypted, encryption_key = options.get("cache_encryption", True), options.get("encryption_key")
        self._storage_factory = TokenStorageFactory(
            options.get("token_cache"), encrypted, encryption_key, clock, listeners
        )
        super().__init__(deadline=deadline, background=options.get("background", True), clock=clock)

    def _begin(self) -> None:
        self._storages: dict[str, TokenStorage] = {}
        self._starting = [True]
        self._proofs = Proofs()
        self.replaced = ReplacedCredentials()
        self._spent: set[str] = set()
        self._shared = background.SharedCalls()
        super()._begin()

    @property
    def _headers(self) -> tuple[str, ...]:
        """The headers that must not be sent to another origin."""
        return (self._header, "DPoP")

    @property
    def _is_owner_known(self) -> bool:
        """Whether the settings tell the user of the tokens from others; otherwise each object is a user of its own."""
        return True

    def _identify(self, tenant: str) -> tuple[str, str]:
        """Return the key of a tenant's token in the store, and the host that issues it."""
        raise NotImplementedError

    def _fetch_token(self, tenant: str, held: Token | None, seconds: float) -> Token:
        """Return a new token from the server, which replaces the held one, or raise TokenRefreshError."""
        raise NotImplementedError

    def _note_refreshed(self, token: Token) -> None:
        """Do what is to be done with a new token beside keeping it."""

    # On every call ----------------------------------------------------------------------------------------------------

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token on a request.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        held = self._held.get(current_tenant())
        if held is None or self._clock.now() >= held.stale_at:
            held = self._get(current_tenant(), marks_of(request).unreported)
        self._attach(request, held)
        request.register_hook("response", ReauthenticateHook(self, held))
        return request

    def _attach(self, request: PreparedRequest, held: HeldToken) -> None:
        for name, value in self.make_headers(held, request.method or "", request.url or "").items():
            request.headers[name] = value  # faster than their update(), on every call
        if self.refusals.judges:
            marks_of(request).judges = self.refusals.judges

    def _carries(self, request: PreparedRequest, held: HeldToken) -> bool:
        return self.is_in(held, request.headers)

    def is_in(self, held: HeldToken, headers: Mapping[str, Any]) -> bool:
        """Return whether the headers of a request have a token in them."""
        return headers.get(self._header) == held.header

    def peek_held(self) -> HeldToken | None:
        """Return the token of the current tenant, or None if the caller would have to wait for it."""
        return self._peek(current_tenant())

    # Obtaining, replacing and removing tokens -------------------------------------------------------------------------

    def get_held(self) -> HeldToken:
        """Return the token of the current tenant, refreshed if need be.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        return self.peek_held() or self._get(current_tenant(), None)

    def renew(self, held: HeldToken) -> HeldToken | None:
        """Return the token for a request that is sent again, or None if the one that it carries will do.

        A token that is bound to a key needs a new proof each time.

        Args:
            held: The token that the request carries.

        Raises:
            TokenRefreshError: It has expired, and there is no other.
        """
        with TenantScope(held.tenant):
            current = self.get_held()
        return current if current.header != held.header or current.token.key is not None else None

    def token(self) -> Token:
        """Return a token that is valid now, refreshed if need be, for a client other than `requests`.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        return self.get_held().token

    def make_headers(self, held: HeldToken, method: str, url: str) -> dict[str, str]:
        """Return the headers that put a token on a request."""
        headers: dict[str, str] = {self._header: held.header}
        if held.token.key is not None:
            headers["DPoP"] = self._proofs.make_proof(held.token, method, url)
        return headers

    def is_proof_refused(self, held: HeldToken, url: str, headers: Mapping[str, str]) -> bool:
        """Return whether a refused request is to be sent again with the same token, because only its proof is wrong."""
        return held.token.key is not None and self._proofs.is_proof_refused(url, headers)

    def after(self, held: HeldToken, entries: list[Entry] | None = None) -> HeldToken | None:
        """Return a later token than a refused one, or None if there is none.

        Args:
            held: The refused token.
            entries: List that the entries of the report are appended to.

        Raises:
            TokenRefreshError: The token could not be refreshed.
        """
        current = self._held.get(held.tenant)
        if current is None or current.header == held.header:
            with TenantScope(held.tenant):
                current = self._obtain(held.tenant, WantToken(refused=held.known.generation), entries)
            if current.known.generation > held.known.generation:
                self.replaced.add(current.header, self._clock.now())
        return None if current.header == held.header else current

    def may_replace(self, held: HeldToken, place: str) -> bool:
        """Return whether the refusal of a token is a reason to refresh it; otherwise it is the answer.

        Args:
            held: The refused token.
            place: Where it was refused.
        """
        return not self.replaced or self.replaced.may_be_replaced(held.header, place, self._clock.now())

    def note_answer(self, held: HeldToken, place: str, *, refused: bool) -> None:
        """Learn where a token was refused, or has worked.

        Args:
            held: The token.
            place: Where it was sent.
            refused: Whether it was refused.
        """
        if refused:
            self.replaced.note_refusal(held.header, place)
        elif self.replaced:
            self.replaced.note_success(held.header, place)

    parameter = None
    """The query parameter that it is put in: none."""

    @property
    def flights(self) -> background.SharedCalls:
        """The refreshes in progress."""
        return self._shared

    def httpx(self) -> HTTPXAuth:
        """Return the auth object for `httpx` that uses the same tokens: `httpx.AsyncClient(auth=oauth.httpx())`."""
        from polvo_adapters.auth.httpx_auth import HTTPXAuth

        return HTTPXAuth(self)

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
        for _ in range(3):
            fetch = TokenFetch(partial(self._fetch_beside, tenant), key, storage, self._clock, self._deadline)
            want = want._replace(known=self._known_token(tenant))
            flow = RefreshFlow(self._life, key, self._max_attempts, advice=self._advice).flow(call, want)
            told: list[Entry] = [] if entries is None else entries
            outcome = drive(flow, fetch, storage.with_fallback(), self._clock, told, call)
            sealed = fetch.undecryptable
            if outcome.error is None:
                known: KnownToken = outcome.response
                try:
                    token = fetch.tokens.get(known.token) or storage.unseal(key, known.token)
                except DecryptionError:
                    sealed = known.token
                else:
                    held = self._hold(tenant, token, known, self._clock.now())
                    if known.token in fetch.tokens:
                        self._note_refreshed(token)
                    return held
            elif not sealed:
                try:
                    raise outcome.error
                finally:
                    del outcome  # see errors.py, "Errors and frames"
            storage.discard_undecryptable(self._life, key, sealed)
        raise undecryptable_error(host)

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
        digest = digest_refresh_token(refresh_token)
        if self._is_spent(tenant, digest):
            raise spent_error(host)
        try:
            token = request()
        except TokenRefreshError as error:
            is_spent = judge_refresh(error, temporary, repeats_lost=self._repeats_lost)
            try:
                verdict = None if self._judge is None else self._judge(error)
                error.final = error.final if verdict is None else bool(verdict)
                is_spent = is_spent and error.final
            finally:  # whatever the caller's function raises
                if is_spent:
                    self._is_spent(tenant, digest, is_now=True)
            raise
        if token.refresh_token is None:
            self._is_spent(tenant, digest, is_now=True)
        elif token.refresh_token != refresh_token and (held is None or held.refresh_token != refresh_token):
            self._spent.add(digest)  # the settings still have it; others find its successor in the store
        return token

    def _is_spent(self, tenant: str, digest: str, *, is_now: bool = False) -> bool:
        """Return whether a refresh token must not be sent, as this object or any that shares the store remembers.

        Args:
            tenant: Name of the tenant.
            digest: Digest of the refresh token.
            is_now: Whether to remember that from now on it must not.
        """
        if is_now:
            self._spent.add(digest)
        event = Event(SpentTokens(), f"spent {self._identify(tenant)[0]}", digest if is_now else "")
        (spent,) = self._storage_for(tenant).with_fallback().decide((event,))
        return digest in self._spent or digest in spent

    def _known_token(self, tenant: str) -> KnownToken | None:
        """Return what this object knows of the token, for a store that may have lost it."""
        held = self._held.get(tenant)
        if held is None:
            return None
        known = held.known.after(self._clock.now() - held.known_at)
        return known._replace(seconds_left=0.0) if held.refused else known

    def _hold(self, tenant: str, token: Token, known: KnownToken, now: float) -> HeldToken:
        owner = digest_owner(f"{self._identify(tenant)[0]} {'' if self._is_owner_known else self._own_name}")
        held = HeldToken(
            tenant,
            token,
            OwnedHeaderValue.of(owner, self._format(token)),
            known,
            now,
            now + known.seconds_fresh,
        )
        before = self._held.pop(tenant, None)
        if before is not None and before.refused and known.generation > before.known.generation:
            self.replaced.add(held.header, now)
        make_room(self._held, self._max_tenants)[tenant] = held
        return held

    def _format(self, token: Token) -> str:
        """Return the text that is sent."""
        scheme = self._scheme
        if scheme is None:
            scheme = token.token_type if self._header.lower() == "authorization" else ""
        return f"{scheme} {token.access_token}" if scheme else token.access_token

    def _storage_for(self, tenant: str) -> TokenStorage:
        storage = self._storages.get(tenant)
        if storage is None:
            storage = self._storage_factory.make_storage(tenant)
            storage = make_room(self._storages, self._max_tenants).setdefault(tenant, storage)
        return storage

    def _mark_refused(self, held: HeldToken) -> None:
        """Remember that the API refused a token, for a request that cannot be sent again."""
        current = self._held.get(held.tenant)
        if current is not None and current.header == held.header:
            self._held[held.tenant] = current._replace(refused=True, stale_at=float("-inf"))

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_spent", "_storages", "_refreshing", "_starting", "_proofs", "_shared", "replaced")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({_FORMER_ATTRIBUTES.get(name, name): value for name, value in state.items()})
        defaults = {"owner": None, "_header": "Authorization", "_scheme": None, "_judge": None, "_repeats_lost": True}
        for name, value in defaults.items():
            vars(self).setdefault(name, value)
        vars(self).setdefault("refusals", RefusalTest(type(self).__name__))
        vars(self).setdefault("_own_name", token_hex(16))
        self._begin()
