"""Secrets as credentials: fetched when a request is sent, and fetched again when the server refuses them.

Theory of operation. As for tokens (`polvo_adapters.auth.tokens.token_auth`), with the lifecycle of the secret in place
of the token's: the held value is put on the request. After a 401, or what `refused=` says, it is fetched once more,
because it may have been rotated; if the value has changed and the body can be sent again, the request is sent again.
The value never goes to another origin.

Quota, circuit and stored responses belong to the secret, and not to its present value.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

from requests.auth import AuthBase

from polvo_adapters.auth.attach.credential import (
    CredentialURL,
    HeaderAuth,
    OwnedHeaderValue,
    can_be_header,
    digest_owner,
    require_no_rules,
    require_prepared,
    validate_place,
)
from polvo_adapters.auth.attach.replaced_credentials import ReplacedCredentials
from polvo_adapters.auth.attach.response_hook import ReauthenticateHook
from polvo_adapters.core.credential_refusals import RefusalTest, Refused
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.core.setting_kinds import TEXT, check_settings
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.refresh.lifecycle import OVERDUE, KnownToken
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.secrets.provider import fetch_error
from polvo_adapters.secrets.secret import Secret, Value
from polvo_adapters.shells.credential_owners import add_credential_parameter
from polvo_adapters.shells.request_marks import marks_of

if TYPE_CHECKING:
    from requests import PreparedRequest

    from polvo_adapters.auth.httpx_auth import HTTPXAuth
    from polvo_adapters.refresh.background import SharedCalls


class HeldSecret(NamedTuple):
    """A secret as requests carry it.

    Attributes:
        value: The secret.
        header: The text that is sent.
        tenant: An empty string: a secret belongs to no tenant.
    """

    value: Value
    header: OwnedHeaderValue
    tenant: str = ""

    @property
    def known(self) -> KnownToken:
        """The generation of the secret, and its times."""
        return self.value.known

    def __repr__(self) -> str:
        return f"<HeldSecret {self.value!r}>"


_KINDS = dict.fromkeys(("query", "username", "owner"), TEXT | None)


class SecretAuth(SharedByCopies, AuthBase):
    """Authorization of requests by a secret.

    Args:
        secret: The secret.
        header: Name of the header that it is sent in.
        prefix: Text before the secret, such as "Bearer"; an empty string for nothing.
        query: Name of a query parameter to send the secret in instead. Other code that logs URLs or builds messages of
            them may show it, as urllib3 does: if the API accepts a header, use that.
        username: For HTTP Basic: the name that the secret is the password of.
        owner: Name of the party that the secret belongs to, for what is kept across calls: quotas, responses. By
            default that is the source of this Secret, in this process.
        refused: What the API's refusal of the secret looks like besides 401: statuses, a function of the `Answer`, a
            `CredentialRefusal`, the name of a dialect, or several of these; see
            `polvo_adapters.core.credential_refusals`.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    def __init__(
        self,
        secret: Secret,
        header: str = "Authorization",
        prefix: str = "Bearer",
        *,
        query: str | None = None,
        username: str | None = None,
        owner: str | None = None,
        refused: Refused = None,
    ) -> None:
        if not isinstance(secret, Secret):
            raise ConfigurationError(f"{type(self).__name__}: expected a Secret, got {type(secret).__name__}")
        check_settings(type(self).__name__, {"query": query, "username": username, "owner": owner}, _KINDS, shows=False)
        if username is not None and (":" in username or not username.isprintable()):
            raise ConfigurationError("basic: the username must have no colon and no control characters in it")
        validate_place(type(self).__name__, header, prefix)
        self.refusals = RefusalTest(type(self).__name__, refused)
        self._secret = secret
        self._header, self._prefix, self._query, self._username = header, prefix, query, username
        known_by = f"of {secret.origin}" if owner is None else f"named {owner}"
        self._owner = digest_owner(f"{known_by} {query is None} {header} {prefix} {query} {username}")
        self._held: dict[str, HeldSecret] = {}
        self.replaced = ReplacedCredentials()

    @property
    def _headers(self) -> tuple[str, ...]:
        """The headers that must not be sent to another origin."""
        return (self._header,) if self._query is None else ()

    @property
    def _parameters(self) -> tuple[str, ...]:
        """The query parameters that it is put in."""
        return () if self._query is None else (self._query,)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the secret on a request.

        Raises:
            SecretError: There is no secret, and none can be fetched.
        """
        require_prepared(self, request)
        entries: list[Entry] = []
        held = self._hold(self._secret.current(entries))
        value = held.value
        if self._secret.overdue:
            before = f"generation {value.known.generation}"
            entries.append(StateChange(f"secret {self._secret.source}", before, OVERDUE, "it cannot be refreshed"))
        if entries:
            marks_of(request).unreported.extend(entries)
        self._attach(request, held)
        request.register_hook("response", ReauthenticateHook(self, held))
        return request

    def _hold(self, value: Value) -> HeldSecret:
        held = self._held.get("")
        if held is None or held.value is not value:
            held = self._held[""] = HeldSecret(value, OwnedHeaderValue.of(self._owner, self._format(value.value)))
        return held

    def _format(self, value: str) -> str:
        if self._query is not None:
            return value
        if self._username is not None:
            return _format_basic(self._username, value)
        text = f"{self._prefix} {value}" if self._prefix else value
        if not can_be_header(text):
            provider, name, _ = self._secret.source
            advice = "no header can carry it; look for a line break, a space at its end, or a character outside ASCII"
            raise fetch_error(provider.scheme, name, "no text", advice)
        return text

    # For the response hook; see `polvo_adapters.auth.attach.carrier`

    def _attach(self, request: PreparedRequest, held: HeldSecret) -> None:
        if self.refusals.judges:
            marks_of(request).judges = self.refusals.judges
        if self._query is None:
            request.headers[self._header] = held.header
            return
        parts = urlsplit(request.url or "")
        others = [pair for pair in parts.query.split("&") if pair and not self._is_credential(pair)]
        query = "&".join([*others, urlencode({self._query: str(held.header)})])
        request.url = CredentialURL.of(self._query, urlunsplit(parts._replace(path=parts.path or "/", query=query)))
        add_credential_parameter(request, self._query, self._owner)

    def _is_credential(self, pair: str) -> bool:
        return pair.partition("=")[0] == quote_plus(self._query or "")

    def _carries(self, request: PreparedRequest, held: HeldSecret) -> bool:
        if self._query is None:
            return self.is_in(held, request.headers)
        pair = urlencode({self._query: str(held.header)})
        return pair in urlsplit(request.url or "").query.split("&")

    # For httpx

    def httpx(self) -> HTTPXAuth:
        """Return the auth object for `httpx` that sends the same secret: `httpx.AsyncClient(auth=auth.httpx())`."""
        from polvo_adapters.auth.httpx_auth import HTTPXAuth

        return HTTPXAuth(self)

    @property
    def flights(self) -> SharedCalls:
        """The fetches in progress that tasks wait for."""
        return self._secret.flights

    @property
    def parameter(self) -> str | None:
        """Name of the query parameter that it is put in; None where it goes into a header."""
        return self._query

    async def aget_held(self) -> HeldSecret:
        """Return the secret, fetched if need be, without blocking the event loop; as `get_held`."""
        return self._hold(await self._secret.acurrent())

    async def aafter(self, held: HeldSecret) -> HeldSecret | None:
        """Return the present value of the secret without blocking the event loop; as `after`."""
        later = await self._secret.aafter(held.value)
        return None if later is None else self._hold(later)

    def peek_held(self) -> HeldSecret | None:
        """Return the secret, or None if the caller would have to wait for it."""
        value = self._secret.peek()
        return None if value is None else self._hold(value)

    def get_held(self) -> HeldSecret:
        """Return the secret, fetched if need be.

        Raises:
            SecretError: There is no secret, and none can be fetched.
        """
        return self._hold(self._secret.current())

    def make_headers(self, held: HeldSecret, method: str, url: str) -> dict[str, str]:  # noqa: ARG002
        """Return the header that puts the secret on a request."""
        return {self._header: held.header}

    def is_in(self, held: HeldSecret, headers: Mapping[str, Any]) -> bool:
        """Return whether the headers of a request have the secret in them."""
        return headers.get(self._header) == held.header

    # For both

    def renew(self, held: HeldSecret) -> HeldSecret | None:
        """Return the secret for a request that is sent again, or None if the one that it carries will do.

        Args:
            held: The secret that the request carries.

        Raises:
            SecretError: Its time is over, and there is no other.
        """
        current = self.get_held()
        return current if current.header != held.header else None

    def may_replace(self, held: HeldSecret, place: str) -> bool:  # noqa: ARG002
        """Return True: to look whether a secret was rotated spends nothing, and the Secret sees to the pace."""
        return True

    def note_answer(self, held: HeldSecret, place: str, *, refused: bool) -> None:
        """Do nothing; see `may_replace`."""

    def is_proof_refused(self, held: HeldSecret, url: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Return False: a secret needs no proof."""
        return False

    def after(self, held: HeldSecret, entries: list[Entry] | None = None) -> HeldSecret | None:
        """Return the present value of the secret, or None if it is the refused one.

        Args:
            held: The refused value.
            entries: List that the entries of the report are appended to.

        Raises:
            SecretError: The secret could not be fetched, and its last value must not be used any more.
        """
        later = self._secret.after(held.value, entries)
        return None if later is None else self._hold(later)

    def _mark_refused(self, held: HeldSecret) -> None:
        """Remember that the server refused a secret, for a request that cannot be sent again."""
        self._secret.reject(held.value)

    def __repr__(self) -> str:
        if "_held" not in vars(self):
            return f"<{type(self).__name__}, half made>"  # in a traceback that shows locals
        where = self._header if self._query is None else f"query {self._query}"
        return f"<SecretAuth {self._secret!r} in {where}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_held", "replaced")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _held={}, replaced=ReplacedCredentials())
        vars(self).setdefault("refusals", RefusalTest(type(self).__name__))


def secret(
    value: Secret | str,
    *,
    header: str = "Authorization",
    prefix: str | None = None,
    query: str | None = None,
    refused: Refused = None,
) -> SecretAuth:
    """Return the authorization by a secret, in any header or query parameter.

    Args:
        value: The secret, or its URI.
        header: Name of the header.
        prefix: Text before the secret; None for "Bearer" in Authorization, and for nothing in other headers.
        query: Name of a query parameter to send the secret in instead.
        refused: What the API's refusal of the secret looks like besides 401; see `SecretAuth`.
    """
    if prefix is None:
        prefix = "Bearer" if header.lower() == "authorization" else ""
    return SecretAuth(Secret(value) if isinstance(value, str) else value, header, prefix, query=query, refused=refused)


def basic(username: str, password: Secret | str, *, refused: Refused = None) -> AuthBase:
    """Return the authorization by username and password: HTTP Basic (RFC 7617), in UTF-8.

    Args:
        username: The username.
        password: The password, or a Secret; a text is the password itself, and not a URI.
        refused: For a Secret: what the API's refusal of it looks like besides 401; see `SecretAuth`.
    """
    given = {"username": username, "password": "" if isinstance(password, Secret) else password}
    check_settings("basic", given, dict.fromkeys(given, TEXT), ConfigurationError, shows=False)
    if isinstance(password, Secret):
        return SecretAuth(password, username=username, refused=refused)
    require_no_rules("basic", refused)
    if ":" in username:
        raise ConfigurationError("basic: the username must have no colon in it")
    return HeaderAuth("Authorization", _format_basic(username, password))


def _format_basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
