"""The auth object that puts a token on requests, and replaces it when the API refuses it.

Theory of operation. `polvo_adapters.auth.tokens.token_source` has a token for each request, refreshed in time. This
object puts it on the request, and a hook looks at the response (`polvo_adapters.auth.attach.response_hook`).

**A refused token** (401, or what `refused=` says) is refreshed once, or replaced by one that another caller has
obtained meanwhile, and the request is sent again through `response.connection`, the outermost adapter: every policy
applies again. That happens once per request, if the body can be sent twice, and never to another origin: a redirect to
one has lost the header, and a token that was not sent was not refused. A refusal that goes on with the new token is an
answer; see `polvo_adapters.auth.attach.replaced_credentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from requests.auth import AuthBase

from polvo_adapters.auth.attach.credential import OwnedHeaderValue, digest_owner, require_prepared, validate_place
from polvo_adapters.auth.attach.replaced_credentials import ReplacedCredentials
from polvo_adapters.auth.attach.response_hook import ReauthenticateHook
from polvo_adapters.auth.options import check_options
from polvo_adapters.auth.protocol.dpop import Proofs
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.token_source import HeldToken, TokenSource
from polvo_adapters.context.tenant import TenantScope, current_tenant
from polvo_adapters.core.credential_refusals import RefusalTest
from polvo_adapters.core.report import Entry
from polvo_adapters.refresh.lifecycle import KnownToken, WantToken
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.shells.request_marks import marks_of

if TYPE_CHECKING:
    from requests import PreparedRequest
    from typing_extensions import Unpack

    from polvo_adapters.auth.httpx_auth import HTTPXAuth
    from polvo_adapters.auth.options import TokenAuthOptions

__all__ = ["HeldToken", "TokenAuth"]


class TokenAuth(SharedByCopies, TokenSource, AuthBase):
    """Authorization of requests by a token that is refreshed; the base of OAuth2 and JWTLogin.

    Args:
        **options: See `polvo_adapters.auth.options.TokenAuthOptions`.

    Raises:
        ValueError: A value is out of range.
    """

    _parameters: tuple[str, ...] = ()
    parameter = None
    """The query parameter that the token is put in: none."""

    def __init__(self, **options: Unpack[TokenAuthOptions]) -> None:
        check_options(type(self).__name__, options)
        self._header, self._scheme = options.get("header", "Authorization"), options.get("scheme")
        validate_place(type(self).__name__, self._header, self._scheme)
        self.refusals = RefusalTest(type(self).__name__, options.get("refused"))
        self.owner = options.get("owner")
        self._own_name = token_hex(16)
        super().__init__(**options)

    def _begin(self) -> None:
        self._proofs = Proofs()
        self.replaced = ReplacedCredentials()
        super()._begin()

    @property
    def _headers(self) -> tuple[str, ...]:
        """The headers that must not be sent to another origin."""
        return (self._header, "DPoP")

    @property
    def _is_owner_known(self) -> bool:
        """Whether the settings tell the user of the tokens from others; otherwise each object is a user of its own."""
        return True

    # On every call ----------------------------------------------------------------------------------------------------

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token on a request.

        Raises:
            TokenRefreshError: There is no token, and none can be obtained.
        """
        require_prepared(self, request)
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

    def make_headers(self, held: HeldToken, method: str, url: str) -> dict[str, str]:
        """Return the headers that put a token on a request."""
        headers: dict[str, str] = {self._header: held.header}
        if held.token.key is not None:
            headers["DPoP"] = self._proofs.make_proof(held.token, method, url)
        return headers

    def httpx(self) -> HTTPXAuth:
        """Return the auth object for `httpx` that uses the same tokens: `httpx.AsyncClient(auth=oauth.httpx())`."""
        from polvo_adapters.auth.httpx_auth import HTTPXAuth

        return HTTPXAuth(self)

    def _make_header(self, tenant: str, token: Token) -> OwnedHeaderValue:
        scheme = self._scheme
        if scheme is None:
            scheme = token.token_type if self._header.lower() == "authorization" else ""
        owner = digest_owner(f"{self._identify(tenant)[0]} {'' if self._is_owner_known else self._own_name}")
        return OwnedHeaderValue.of(owner, f"{scheme} {token.access_token}" if scheme else token.access_token)

    # Where the API has refused a token --------------------------------------------------------------------------------

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

    def _hold(self, tenant: str, token: Token, known: KnownToken, now: float) -> HeldToken:
        before, held = self._held.get(tenant), super()._hold(tenant, token, known, now)
        if before is not None and before.refused and known.generation > before.known.generation:
            self.replaced.add(held.header, now)
        return held

    def _mark_refused(self, held: HeldToken) -> None:
        """Remember that the API refused a token, for a request that cannot be sent again."""
        current = self._held.get(held.tenant)
        if current is not None and current.header == held.header:
            self._held[held.tenant] = current._replace(refused=True, stale_at=float("-inf"))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("_proofs", "replaced")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = {"owner": None, "_header": "Authorization", "_scheme": None}  # for pickles of earlier versions
        vars(self).update(defaults, refusals=RefusalTest(type(self).__name__), _own_name=token_hex(16))
        super().__setstate__(state)
