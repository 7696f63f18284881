"""What each flow of OAuth2 needs, and which grant it asks with.

    flow                 asks with                                        after a dead refresh token
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

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, TypeAlias, Union, cast, get_args
from urllib.parse import quote

from polvo_adapters.auth.protocol import grants
from polvo_adapters.errors import ConfigurationError, TokenRefreshError

FlowName: TypeAlias = Literal[
    "client_credentials",
    "password",
    "jwt_bearer",
    "token_exchange",
    "refresh_token",
    "authorization_code",
    "device_code",
]
Secret: TypeAlias = Union[str, Callable[[], str], None]  # noqa: UP007 - evaluated at import by Python 3.10 tools
"""A secret, or a function that returns it, which is called whenever it is needed."""

_NEEDED: dict[str, tuple[str, ...]] = {
    "client_credentials": (),
    "password": ("username", "password"),
    "jwt_bearer": ("assertion",),
    "token_exchange": ("subject_token",),
    "refresh_token": ("refresh_token",),
    "authorization_code": (),
    "device_code": (),
}
_WHO = {"refresh_token": ("refresh_token",), "token_exchange": ("subject_token",), "jwt_bearer": ("assertion",)}
_MOST = 1000  # tenants
_UNATTENDED = frozenset({"client_credentials", "password", "jwt_bearer", "token_exchange"})


class GrantFlow:
    """One flow with what it needs; arguments as for `polvo_adapters.auth.OAuth2`.

    Raises:
        ConfigurationError: There is no such flow.
    """

    def __init__(
        self,
        flow: str,
        *,
        client_id: str | None,
        scope: str | Sequence[str] | None,
        audience: str | Sequence[str] | None,
        resource: str | Sequence[str] | None,
        username: str | None,
        subject: str | None,
        secrets: Mapping[str, Secret],
        exchange: Mapping[str, Any],
        signing: Mapping[str, Any],
        parameters: Mapping[str, Any],
        dpop: bool,
    ) -> None:
        if flow not in _NEEDED:
            raise ConfigurationError(f"OAuth2(flow={flow!r}): expected one of {', '.join(get_args(FlowName))}")
        self.flow = flow
        self._client_id = client_id
        self._scope, self._audience, self._resource = scope, audience, resource
        self._username, self._subject = username, subject
        self._secrets = dict(secrets)
        self._exchange = dict(exchange)
        self._signing = dict(signing)
        self._lost: tuple[str, ...] = ()
        # An assertion is another one each time; `subject` tells whose it is.
        functions = (name for name in _WHO.get(flow, ()) if callable(self._secrets[name]))
        self._functions = tuple(name for name in functions if name != "assertion")
        self._who = self._fixed(parameters, dpop=dpop)
        self._whom: dict[str, str] = {}

    @property
    def unattended(self) -> bool:
        """Whether the grant can be asked with again, without a user."""
        return self.flow in _UNATTENDED

    def missing(self) -> list[str]:
        """Return the names of what the flow needs and has not been given."""
        given: dict[str, Any] = {"username": self._username, **self._secrets}
        if self._signing["private_key"] is not None and self._audience is not None:
            given["assertion"] = "is made"
        return [name for name in _NEEDED[self.flow] if not given[name]]

    @property
    def nameless(self) -> bool:
        """Whether nothing tells its owner from others: a function makes the assertions."""
        return self.flow == "jwt_bearer" and callable(self._secrets["assertion"]) and not self._subject

    def secret(self, name: str) -> str | None:
        """Return a secret, fetched if it was given as a function."""
        if name in self._lost:
            raise left_behind(name)
        value = self._secrets[name]
        return value() if callable(value) else value

    def owner(self, tenant: str) -> str:
        """Return what tells the owner of a token from others, without a secret in it.

        Args:
            tenant: The tenant, who may get other values from functions.

        Raises:
            TokenRefreshError: A function that returns a secret has failed.
        """
        asked = (self.flow, self._client_id, grants.client_credentials(self._scope)["scope"])
        who = self._who if not self._functions else self._whose(tenant)
        return " ".join([*(part_of_key(part) for part in (*asked, self._audience, self._resource)), who or "-"])

    def _whose(self, tenant: str) -> str:
        """Return a digest of what functions return as well, the first time that they are asked."""
        who = self._whom.get(tenant)
        if who is None:
            try:
                values = [self.secret(name) for name in self._functions]
            except Exception as error:
                raise TokenRefreshError(
                    f"OAuth2: {' or '.join(self._functions)} could not be fetched; see the exception before this one",
                    reason=type(error).__name__,
                ) from error
            while len(self._whom) >= _MOST:
                self._whom.pop(next(iter(self._whom)), None)
            who = self._whom[tenant] = _digest([self._who, *values])
        return who

    def _fixed(self, parameters: Mapping[str, Any], *, dpop: bool) -> str:
        """Return a digest of the user or token that is asked with, and of all else that makes tokens differ."""
        given = [self._secrets[name] for name in _WHO.get(self.flow, ()) if not callable(self._secrets[name])]
        return _digest(
            [
                self._username if self.flow == "password" else None,
                self._subject if self.flow == "jwt_bearer" else None,
                *given,
                sorted(self._exchange.items()) or None,
                sorted(parameters.items()) or None,
                dpop or None,
            ]
        )

    def grant(self) -> grants.Fields | None:
        """Return the fields of the grant itself, or None where it needs a user."""
        made = {
            "client_credentials": self._client_credentials,
            "password": self._password,
            "jwt_bearer": self._jwt_bearer,
            "token_exchange": self._token_exchange,
        }.get(self.flow)
        return None if made is None else made()

    def _client_credentials(self) -> grants.Fields:
        return grants.client_credentials(self._scope, self._audience, self._resource)

    def _password(self) -> grants.Fields:
        return grants.password(cast("str", self._username), cast("str", self.secret("password")), self._scope)

    def _jwt_bearer(self) -> grants.Fields:
        return grants.jwt_bearer(
            self.secret("assertion"),
            issuer=self._client_id,
            subject=self._subject or self._client_id,
            audience=cast("str | None", self._audience),
            scope=self._scope,
            **self._signing,
        )

    def _token_exchange(self) -> grants.Fields:
        for name in self._lost:
            raise left_behind(name)
        keywords = {"audience": self._audience, "resource": self._resource, "scope": self._scope, **self._exchange}
        return grants.token_exchange(cast("str", self.secret("subject_token")), **keywords)

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


def left_behind(name: str) -> ConfigurationError:
    """Return the error for a secret that was not pickled."""
    return ConfigurationError(
        f"OAuth2: {name} stayed behind when this was pickled; give it as a function that fetches it, or make a new "
        "OAuth2 where it is used"
    )


def _digest(parts: Sequence[object]) -> str:
    """Return a digest of what tells one from another, or an empty string where nothing does."""
    return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16] if any(parts) else ""


def part_of_key(part: object) -> str:
    """Return a part of a key, so that no two lists of parts look the same."""
    if part is None:
        return "-"
    if isinstance(part, str):
        return "%2D" if part == "-" else quote(part, safe=":/@.,*{}")
    return ",".join(part_of_key(each) for each in cast("Sequence[str]", part))
