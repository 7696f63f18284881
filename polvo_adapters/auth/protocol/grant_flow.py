"""The grant of each flow of OAuth2: what it needs, and how it is requested.

    flow                 requests a token with                            after a refused refresh token
    -------------------  -----------------------------------------------  --------------------------------
    client_credentials   the client's own credentials                     the same again
    password             a user's name and password                       the same again
    jwt_bearer           a signed assertion                               the same again
    token_exchange       another token                                    the same again
    refresh_token        the refresh token that was given                 `reauthenticate`, or an error
    authorization_code   a code that the user's browser has brought back  `reauthenticate`, or an error
    device_code          a code that the user confirms elsewhere          `reauthenticate`, or an error

The last two begin with a login, which puts the token into the token cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args
from urllib.parse import quote

from polvo_adapters.auth.capacity import make_room
from polvo_adapters.auth.options import GrantOptions, ServerOptions
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.client_authentication import select_assertion
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.redaction import hide

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint

FlowName: TypeAlias = Literal[
    "client_credentials",
    "password",
    "jwt_bearer",
    "token_exchange",
    "refresh_token",
    "authorization_code",
    "device_code",
]

_OWNER = {"refresh_token": ("refresh_token",), "token_exchange": ("subject_token",), "jwt_bearer": ("assertion",)}
_NEEDED = {**_OWNER, "password": ("username", "password")}
_USED = {
    "password": ("username", "password"),
    "jwt_bearer": ("assertion", "subject"),
    "token_exchange": ("subject_token", "exchange"),
    "refresh_token": ("refresh_token",),
}
_MAX_TENANTS = 1000
_UNATTENDED = frozenset({"client_credentials", "password", "jwt_bearer", "token_exchange"})


class GrantFlow:
    """The grant of one flow, with all that it needs.

    Args:
        flow: Name of the flow.
        client_id: The client's name at the authorization server.
        options: The options of the grant.
        server: The options of the server; assertions are signed with its key, and all tokens depend on its `parameters`
            and `dpop`.
        described: The description of the token endpoint; all tokens depend on its parameters and headers.

    Raises:
        ConfigurationError: There is no such flow.
    """

    def __init__(
        self,
        flow: str,
        client_id: str | None,
        options: GrantOptions,
        server: ServerOptions,
        described: TokenEndpoint | None = None,
    ) -> None:
        if flow not in get_args(FlowName):
            raise ConfigurationError(f"OAuth2(flow={flow!r}): expected one of {', '.join(get_args(FlowName))}")
        self.flow = flow
        self._client_id = client_id
        self._scope, self._audience = options.get("scope"), options.get("audience")
        self._resource = options.get("resource")
        self._username, self._subject = options.get("username"), options.get("subject")
        given: Mapping[str, Any] = {**options}
        names = ("refresh_token", "password", "assertion", "subject_token")
        self._secrets = {name: hide(given.get(name)) for name in names}
        self._exchange = {name: hide(value) for name, value in (options.get("exchange") or {}).items()}
        signing: Mapping[str, Any] = {**server}
        signature = ("private_key", "key_id", "algorithm")
        self._signing: dict[str, Any] = {name: hide(signing.get(name)) for name in signature}
        self._signing.update(select_assertion(signing))
        self._lost: tuple[str, ...] = ()
        # An assertion differs each time; `subject` says whose token it is for.
        functions = (name for name in _OWNER.get(flow, ()) if callable(self._secrets[name]))
        self._functions = tuple(name for name in functions if name != "assertion")
        further = {**(server.get("parameters") or {})}
        if described is not None:
            further |= {**described.parameters, **{f"header {name}": each for name, each in described.headers.items()}}
        if self.signs_grant:
            further |= {f"claim {name}": each for name, each in (server.get("claims") or {}).items()}
        self._who = self._digest_settings(further, dpop=server.get("dpop", False))
        self._whom: dict[str, str] = {}

    @property
    def is_unattended(self) -> bool:
        """Whether the grant can be requested again without a user."""
        return self.flow in _UNATTENDED

    @property
    def signs_grant(self) -> bool:
        """Whether the client makes and signs the assertion that is the grant."""
        return self.flow == "jwt_bearer" and self._secrets["assertion"] is None

    def find_unused(self) -> list[str]:
        """Return the names of the options that were given and that the flow does not use."""
        given = {
            "username": self._username,
            "subject": self._subject,
            "exchange": self._exchange or None,
            **self._secrets,
        }
        used = _USED.get(self.flow, ())
        unused = [name for name, value in given.items() if value is not None and name not in used]
        if self.flow == "jwt_bearer" and self._secrets["assertion"] is not None and self._audience is not None:
            unused.append("audience (the assertion has it)")
        return unused

    def list_fields(self) -> list[str]:
        """Return the standard names of the fields that requests have because of the options."""
        given = {"scope": self._scope, "audience": self._audience, "resource": self._resource}
        named = [name for name, value in given.items() if value is not None]
        return [*named, *(name for name in _NEEDED.get(self.flow, ()))]

    def find_missing(self) -> list[str]:
        """Return the names of the options that the flow needs and that were not given."""
        given: dict[str, Any] = {"username": self._username, **self._secrets}
        if self._signing["private_key"] is not None and self._audience is not None:
            given["assertion"] = "is made"
        return [name for name in _NEEDED.get(self.flow, ()) if not given[name]]

    @property
    def is_nameless(self) -> bool:
        """Whether no setting tells the owner of the token from others: a function makes the assertions."""
        return self.flow == "jwt_bearer" and callable(self._secrets["assertion"]) and not self._subject

    def fetch_secret(self, name: str) -> str | None:
        """Return a secret; one that was given as a function is fetched."""
        if name in self._lost:
            raise lost_secret_error(name)
        value = self._secrets[name]
        return hide(value() if callable(value) else value)  # type: ignore[no-any-return]

    def describe_owner(self, tenant: str) -> str:
        """Return a text that tells the owner of a token from others, without a secret in it.

        Args:
            tenant: Name of the tenant, for which functions may return other values.

        Raises:
            TokenRefreshError: A function that returns a secret has failed.
        """
        parts = (self.flow, self._client_id, grants.join_scope(self._scope), self._audience, self._resource)
        digest = self._digest_of_tenant(tenant) if self._functions else self._who
        return " ".join([*map(format_key_part, parts), digest or "-"])

    def _digest_of_tenant(self, tenant: str) -> str:
        """Return a digest of the settings and of the values of functions, which are called the first time only."""
        digest = self._whom.get(tenant)
        if digest is None:
            try:
                values = [self.fetch_secret(name) for name in self._functions]
            except Exception as error:
                names = " or ".join(self._functions)
                message = f"OAuth2: {names} could not be fetched; see the exception before this one"
                raise TokenRefreshError(message, reason=type(error).__name__) from error
            digest = make_room(self._whom, _MAX_TENANTS)[tenant] = digest_parts([self._who, *values])
        return digest

    def _digest_settings(self, parameters: Mapping[str, Any], *, dpop: bool) -> str:
        """Return a digest of the user or token of the grant, and of all other settings that make tokens differ."""
        given = [self._secrets[name] for name in _OWNER.get(self.flow, ()) if not callable(self._secrets[name])]
        return digest_parts(
            [
                self._username if self.flow == "password" else None,
                self._subject if self.flow == "jwt_bearer" else None,
                *given,
                sorted(self._exchange.items()) or None,
                sorted(parameters.items()) or None,
                dpop or None,
            ]
        )

    def build_grant(self) -> grants.FormFields | None:
        """Return the fields of the grant itself, or None if it needs a user."""
        scope, audience, resource = self._scope, self._audience, self._resource
        if self.flow == "client_credentials":
            return grants.client_credentials(scope, audience, resource)
        if self.flow == "password":
            username, password = cast("str", self._username), cast("str", self.fetch_secret("password"))
            return grants.password(username, password, scope, audience, resource)
        if self.flow == "jwt_bearer":
            assertion, subject = self.fetch_secret("assertion"), self._subject or self._client_id
            claims: Any = {"issuer": self._client_id, "subject": subject, "audience": audience}
            return grants.jwt_bearer(assertion, **claims, scope=scope, resource=resource, **self._signing)
        if self.flow == "token_exchange":
            for name in self._lost:
                raise lost_secret_error(name)
            keywords = {"audience": audience, "resource": resource, "scope": scope, **self._exchange}
            return grants.token_exchange(cast("str", self.fetch_secret("subject_token")), **keywords)
        return None

    def select_for_refresh(self, granted: str | None, names: Sequence[str]) -> dict[str, Any]:
        """Return what a refresh asks for, beside the refresh token.

        The scope is sent as it was requested: some servers need it to know which API the token is for. Where the server
        has granted only a part of it, a refresh must not ask for more, and without a scope it means the same part.

        Args:
            granted: The scope that the last token came with, or None.
            names: Names of the settings that the endpoint expects with a refresh.

        Source: RFC 6749 section 6, RFC 8707 section 2.2.
        """
        requested, had = set((grants.join_scope(self._scope) or "").split()), set((granted or "").split())
        is_part = bool(had) and had < requested
        settings = {"scope": None if is_part else self._scope, "resource": self._resource}
        if self.flow != "jwt_bearer":  # where it is the audience of the assertion
            settings["audience"] = self._audience
        return {name: value for name, value in settings.items() if name in names and value is not None}

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value if callable(value) else None for name, value in self._secrets.items()}
        key = self._signing["private_key"]
        lost = [name for name, value in self._secrets.items() if value is not None and kept[name] is None]
        return {
            **vars(self),
            "_secrets": kept,
            "_exchange": {name: value for name, value in self._exchange.items() if not name.endswith("_token")},
            "_signing": {**self._signing, "private_key": key if callable(key) else None},
            "_lost": (*lost, *(name for name in self._exchange if name.endswith("_token"))),
            "_whom": {},
        }


def lost_secret_error(name: str) -> ConfigurationError:
    """Return the error for a secret that was not pickled."""
    return ConfigurationError(
        f"OAuth2: {name} stayed behind when this was pickled; give it as a function that fetches it, or make a new "
        "OAuth2 where it is used"
    )


def digest_parts(parts: Sequence[object]) -> str:
    """Return a digest of what tells owners apart, or an empty string if all parts are empty."""
    text = repr(_reveal(list(parts)))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] if any(parts) else ""


def _reveal(part: Any) -> Any:
    """Return a part with plain texts: the repr of a hidden one is the same for all secrets."""
    if isinstance(part, str):
        return str(part)
    if type(part) is dict:
        return {name: _reveal(value) for name, value in part.items()}
    return type(part)(map(_reveal, part)) if type(part) in (list, tuple) else part


def format_key_part(part: object) -> str:
    """Return a part of a key, such that different lists of parts give different keys."""
    if part is None:
        return "-"
    if isinstance(part, str):
        return "%2D" if part == "-" else quote(part, safe=":/@.,*{}")
    return ",".join(format_key_part(each) for each in cast("Sequence[str]", part))
