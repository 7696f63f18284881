"""Secrets as credentials: fetched when a request is sent, and fetched again when the server refuses them.

Theory of operation. As for tokens (`polvo_adapters.auth.tokens.token_auth`), with the secret's own life in the place of
the token's: the value that is held is put on the request; a 401 has it fetched once more, because it may have been
rotated, and where it is another one the request is sent again with that, if its body can be. It never goes to another
origin.

Quota, circuit and last good answers belong to the secret, and not to the value that it happens to have.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

from requests.auth import AuthBase

from polvo_adapters.auth.attach.carrier import UNHEARD
from polvo_adapters.auth.attach.credential import OwnedHeaderValue
from polvo_adapters.auth.attach.response_hook import ReauthenticateHook
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.refresh.lifecycle import OVERDUE, KnownToken
from polvo_adapters.secrets.provider import failure
from polvo_adapters.secrets.secret import Secret, Value
from polvo_adapters.shells.credential_digest import note_in_query

if TYPE_CHECKING:
    from requests import PreparedRequest


class Sent(NamedTuple):
    """What a request carries.

    Attributes:
        value: The secret.
        header: What is sent of it.
        tenant: Nobody's in particular.
    """

    value: Value
    header: OwnedHeaderValue
    tenant: str = ""

    @property
    def known(self) -> KnownToken:
        """Return which generation it is."""
        return self.value.known

    def __repr__(self) -> str:
        return f"<Sent {self.value!r}>"


class SecretAuth(AuthBase):
    """Authorize requests by a secret.

    Args:
        secret: The secret.
        header: Name of the header that it is sent in.
        prefix: What stands before it, such as "Bearer"; an empty string for nothing.
        query: Name of a query parameter to send it in instead. It shows wherever the URL does, such as in exceptions
            and logs: where the API takes a header, use that.
        username: For HTTP Basic: the name whose password it is.

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
    ) -> None:
        if not isinstance(secret, Secret):
            raise ConfigurationError(f"{type(self).__name__}: expected a Secret, got {type(secret).__name__}")
        if username is not None and (":" in username or not username.isprintable()):
            raise ConfigurationError("basic: the username must have no colon and no control characters in it")
        self._secret = secret
        self._header, self._prefix, self._query, self._username = header, prefix, query, username
        owner = f"{secret!r} {query is None} {header} {prefix} {query} {username}"
        self._owner = blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        self._held: dict[str, Sent] = {}

    @property
    def _headers(self) -> tuple[str, ...]:
        """Return the headers that must not go to another origin."""
        return (self._header,) if self._query is None else ()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the secret on a request.

        Raises:
            SecretError: There is none, and none can be had.
        """
        entries: list[Entry] = []
        value = self._secret.current(entries)
        if self._secret.overdue:
            which = f"generation {value.known.generation}"
            entries.append(StateChange(f"secret {self._secret.source}", which, OVERDUE, "it cannot be refreshed"))
        if entries:
            vars(request).setdefault(UNHEARD, []).extend(entries)
        sent = self._sent(value)
        self._attach(request, sent)
        request.register_hook("response", ReauthenticateHook(self, sent))
        return request

    def _sent(self, value: Value) -> Sent:
        held = self._held.get("")
        if held is None or held.value is not value:
            held = self._held[""] = Sent(value, OwnedHeaderValue.of(self._owner, self._text(value.value)))
        return held

    def _text(self, value: str) -> str:
        if self._query is not None:
            return value
        if self._username is not None:
            return "Basic " + base64.b64encode(f"{self._username}:{value}".encode()).decode()
        text = f"{self._prefix} {value}" if self._prefix else value
        if not text.isascii() or not text.isprintable() or text != text.strip():
            provider, name, _ = self._secret.source
            advice = "no header can carry it; look for a line break, a space at its end, or what is not ASCII"
            raise failure(provider.scheme, name, "no text", advice)
        return text

    # What the hook asks for; see `polvo_adapters.auth.attach.response_hook`

    def _attach(self, request: PreparedRequest, held: Sent) -> None:
        if self._query is None:
            request.headers[self._header] = held.header
            return
        parts = urlsplit(request.url or "")
        others = [pair for pair in parts.query.split("&") if pair and not self._is_named(pair)]
        query = "&".join([*others, urlencode({self._query: str(held.header)})])
        request.url = urlunsplit(parts._replace(path=parts.path or "/", query=query))
        note_in_query(request, self._query)

    def _is_named(self, pair: str) -> bool:
        return pair.partition("=")[0] == quote_plus(self._query or "")

    def _carries(self, request: PreparedRequest, held: Sent) -> bool:
        if self._query is None:
            return request.headers.get(self._header) == held.header
        pair = urlencode({self._query: str(held.header)})
        return pair in urlsplit(request.url or "").query.split("&")

    def challenged(self, held: Sent, url: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Tell that no server asks for more than the secret."""
        return False

    def after(self, held: Sent, entries: list[Entry] | None = None) -> Sent | None:
        """Return what is to be sent in the place of what was refused, or None where that is still the same.

        Args:
            held: What the request carried.
            entries: What is done for it is appended here.

        Raises:
            SecretError: The secret could not be fetched, and is not to be used any more.
        """
        later = self._secret.after(held.value, entries)
        return None if later is None else self._sent(later)

    def _refused(self, held: Sent) -> None:
        """Remember that a secret was refused, where the request cannot be sent again."""
        self._secret.reject(held.value)

    # What others see --------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if "_held" not in vars(self):
            return f"<{type(self).__name__}, half made>"  # in a traceback that shows locals
        where = self._header if self._query is None else f"query {self._query}"
        return f"<SecretAuth {self._secret!r} in {where}>"

    def __copy__(self) -> SecretAuth:
        return self

    def __deepcopy__(self, memo: object) -> SecretAuth:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_held": {}}


def secret(
    value: Secret | str,
    *,
    header: str = "Authorization",
    prefix: str | None = None,
    query: str | None = None,
) -> SecretAuth:
    """Authorize requests by a secret, in any header or query parameter.

    Args:
        value: The secret, or its URI.
        header: Name of the header.
        prefix: What stands before it; None for "Bearer" in Authorization, and nothing in other headers.
        query: Name of a query parameter to send it in instead.
    """
    if prefix is None:
        prefix = "Bearer" if header.lower() == "authorization" else ""
    return SecretAuth(Secret(value) if isinstance(value, str) else value, header, prefix, query=query)


def basic(username: str, password: Secret | str) -> AuthBase:
    """Send a username and a password: HTTP Basic (RFC 7617), in UTF-8.

    Args:
        username: The name.
        password: The password, or a Secret; a text is the password itself, and not a URI.
    """
    if isinstance(password, Secret):
        return SecretAuth(password, username=username)
    from polvo_adapters.auth.attach.credential import HeaderAuth

    if not isinstance(password, str) or ":" in username:
        raise ConfigurationError("basic: the username must have no colon in it, and the password must be a text")
    return HeaderAuth("Authorization", "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())
