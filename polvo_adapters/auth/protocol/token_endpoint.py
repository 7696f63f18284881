"""The description of a token endpoint that differs from RFC 6749: how it is asked, and what its answers mean.

Theory of operation. A grant is a mapping of the standard names (`polvo_adapters.auth.protocol.grants`), a token has the
standard fields. A `TokenEndpoint` translates the one on its way out and a `TokenResponse` the other on its way in; both
are data. Time limits, single flight, rotation and the care for secrets are the same for every endpoint.

**A path** leads to a value of an answer: "access_token"; "body.access_token" for one in an inner object; "tokens.0.id"
for one in a list; "header:X-Subject-Token" for a header; "." for the whole answer, where that is a bare text. Several
paths are tried in order. A name that has dots in it is found as well.

**A template**: in the values of `headers` and `parameters`, also within objects and lists, the standard name of a field
of the request in braces, such as "{client_secret}", stands for its value. A value whose field the request does not have
is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias, Union, get_args

from polvo_adapters.auth.protocol.form_encoding import HARMLESS
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import hide_named, unpicklable

Path: TypeAlias = Union[str, tuple[str, ...], None]  # noqa: UP007 - evaluated at import by Python 3.10 tools
"""Where a value stands in an answer, or several places that are tried in order; None for nowhere."""

Encoding: TypeAlias = Literal["form", "json", "query"]
TimeUnit: TypeAlias = Literal["seconds", "milliseconds", "minutes", "hours", "days"]

UNIT_SECONDS: dict[str, float] = {
    "milliseconds": 0.001,
    "seconds": 1.0,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86_400.0,
}
GRANTS = (
    "authorization_code",
    "client_credentials",
    "device_code",
    "jwt_bearer",
    "password",
    "refresh_token",
    "token_exchange",
)
"""Short names of the grants, as in `OAuth2(flow=...)`."""

FIELDS = frozenset(
    {
        "access_token",
        "actor_token",
        "actor_token_type",
        "assertion",
        "audience",
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "device_code",
        "grant_type",
        "password",
        "redirect_uri",
        "refresh_token",
        "requested_token_type",
        "resource",
        "scope",
        "subject_token",
        "subject_token_type",
        "tenant",
        "token",
        "token_type_hint",
        "username",
    }
)
"""Standard names of the fields of a request, which `names` and templates refer to."""

TEMPLATE = re.compile(r"\{([a-z_]+)\}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
REPEATED = ("scope", "audience", "resource")
"""Settings that are sent with refreshes as well, where they are set."""


@unpicklable
@dataclass(frozen=True)
class TokenRequest:
    """A request for a token that is about to be encoded, for `TokenEndpoint(prepare=...)`.

    Attributes:
        method: Method of the request.
        url: URL of the request.
        headers: Headers of the request.
        fields: Fields of the request, under the names that the endpoint expects.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class TokenResponse:
    """The meaning of the answers of a token endpoint; by default that of RFC 6749 section 5.

    Args:
        access_token: Path to the token.
        refresh_token: Path to the refresh token.
        expires_in: Path to the lifetime.
        expires_at: Path to the end of the lifetime: Unix time in seconds or milliseconds, or a date as text. It is
            compared with the server's own clock only: `issued_at`, or the header `Date` of the answer.
        issued_at: Path to the time of issue, in the same forms.
        expires_unit: Unit of `expires_in`.
        never: Values of `expires_in` that mean a token without an end, such as 0.
        lifetime: Lifetime in seconds that the server documents, for answers that tell none.
        token_type: Path to the type of the token.
        scope: Path to what the token permits.
        error: Path to the error code of a refusal.
        error_description: Path to the text of a refusal.
        success: Values that a granted token comes with, such as {"status": 0}: a path, and a value or a tuple of
            values, in which None stands for a value that is absent. Any other answer is a refusal, whatever its status.
        temporary: Error codes after which the same request may succeed later, such as "ratelimited".
        final: Error codes after which the same request is useless.
        extra: Further values for `Token.extra`: a name, and the path to its value. Further fields beside the token are
            kept there in any case.
        read: As the last resort a function that is called with status, headers and body of an answer, and returns its
            fields, which the paths then lead into.

    Raises:
        ConfigurationError: A value cannot be used; the message names it.
    """

    access_token: Path = "access_token"
    refresh_token: Path = "refresh_token"
    expires_in: Path = "expires_in"
    expires_at: Path = "expires_at"
    issued_at: Path = None
    expires_unit: TimeUnit = "seconds"
    never: tuple[float | str, ...] = ()
    lifetime: float | None = None
    token_type: Path = "token_type"
    scope: Path = "scope"
    error: Path = "error"
    error_description: Path = "error_description"
    success: Mapping[str, Any] = field(default_factory=dict)
    temporary: tuple[str | int, ...] = ()
    final: tuple[str | int, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[int, Mapping[str, str], bytes], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        for name in _PATHS:
            require(_is_path(getattr(self, name)), "TokenResponse", name, getattr(self, name), "a path")
        require(self.access_token is not None, "TokenResponse", "access_token", None, "a path")
        unit, life = self.expires_unit, self.lifetime
        require(unit in UNIT_SECONDS, "TokenResponse", "expires_unit", unit, f"one of {', '.join(UNIT_SECONDS)}")
        is_number = isinstance(life, (int, float)) and not isinstance(life, bool)
        require(life is None or (is_number and life > 0), "TokenResponse", "lifetime", life, "seconds above 0")
        for name in ("never", "temporary", "final"):
            value = _as_tuple(getattr(self, name), "TokenResponse", name)
            object.__setattr__(self, name, value if name == "never" else tuple(map(str, value)))
        for name in ("success", "extra"):
            given = getattr(self, name)
            is_mapping = isinstance(given, Mapping) and all(
                _is_path(path) and path for path in _list_paths(name, given)
            )
            require(is_mapping, "TokenResponse", name, given, "a mapping with paths")
            object.__setattr__(self, name, dict(given))
        both = set(self.temporary) & set(self.final)
        require(not both, "TokenResponse", "temporary", sorted(both), "codes that are not in final")
        require(self.read is None or callable(self.read), "TokenResponse", "read", self.read, "a function")


@dataclass(frozen=True)
class TokenEndpoint:
    """A token endpoint, for `OAuth2(token_url=...)` in the place of its URL.

    Args:
        url: URL of the endpoint. `{tenant}` in it is replaced by the tenant.
        encoding: How the fields are sent: as a "form" or as "json" in the body, or in the "query" of the URL. With
            "json", dots in `names` lead into inner objects. What is in a query appears in the access logs of servers.
        method: Method of the request; by default POST, and GET with "query".
        headers: Further headers; values may be templates.
        parameters: Further fields of every request, under the names that the endpoint expects; values may be templates,
            and with "json" anything that JSON can express.
        names: Names that the endpoint expects in the place of standard ones, such as {"client_id": "appid"}; None
            leaves the field out.
        grant_type: Name of the grant itself, where it is not the standard one, such as "account_credentials"; that of a
            refresh only in the description of an endpoint for refreshes (`refresh`). Or a mapping from `flow` names
            (and "refresh_token") to names, in which None leaves the field out.
        client_authentication: As for OAuth2; besides, "basic_unencoded" is "basic" whose parts are not form-encoded
            first.
        scope_separator: Text between the names of scopes.
        refresh_with: Which of "scope", "audience" and "resource" are sent with a refresh, where they are set.
        refresh: The endpoint for refreshes, where it is another one: its description, or a URL that is asked in the
            same way.
        response: The meaning of answers.
        prepare: As the last resort a function that is given the TokenRequest, which holds secrets, and returns the one
            to send; for signatures.

    Raises:
        ConfigurationError: A value cannot be used; the message names it.

    Source: RFC 6749 section 3.2.
    """

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "POST", "PUT")

    url: str
    encoding: Encoding = "form"
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    names: Mapping[str, str | None] = field(default_factory=dict)
    grant_type: str | Mapping[str, str | None] | None = None
    client_authentication: str | None = None
    scope_separator: str = " "
    refresh_with: tuple[str, ...] = REPEATED
    refresh: TokenEndpoint | str | None = None
    response: TokenResponse = field(default_factory=TokenResponse)
    prepare: Callable[[TokenRequest], TokenRequest] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        kind = type(self).__name__
        require(isinstance(self.url, str) and self.url != "", kind, "url", self.url, "a URL")
        require(self.encoding in get_args(Encoding), kind, "encoding", self.encoding, "form, json or query")
        method = self.method if self.method is not None else "GET" if self.encoding == "query" else "POST"
        require(method in self.METHODS, kind, "method", method, f"one of {', '.join(self.METHODS)}")
        is_body = self.encoding == "query" or method != "GET"
        require(is_body, kind, "method", method, "POST or PUT for an encoding with a body")
        for name in ("headers", "parameters", "names"):
            given = getattr(self, name)
            require(isinstance(given, Mapping), kind, name, type(given).__name__, "a mapping")
            object.__setattr__(self, name, hide_constants(given) if name != "names" else dict(given))
        given = self.client_authentication
        require(given is None or isinstance(given, str), kind, "client_authentication", given, "a text or None")
        self._check_names()
        self._check_templates()
        object.__setattr__(self, "grant_type", self._read_grant_type())
        again = _as_tuple(self.refresh_with, kind, "refresh_with")
        require(set(again) <= set(REPEATED), kind, "refresh_with", again, f"some of {', '.join(REPEATED)}")
        object.__setattr__(self, "refresh_with", again)
        require(isinstance(self.scope_separator, str), kind, "scope_separator", self.scope_separator, "a text")
        is_refresh = self.refresh is None or isinstance(self.refresh, (str, TokenEndpoint))
        require(is_refresh and self.refresh != "", kind, "refresh", self.refresh, "a TokenEndpoint or a URL")
        nested = isinstance(self.refresh, TokenEndpoint) and self.refresh.refresh is not None
        require(not nested, kind, "refresh", self.refresh, "a TokenEndpoint without another one for refreshes")
        if isinstance(self.refresh, TokenEndpoint):
            object.__setattr__(self, "refresh", name_refresh(self.refresh))
        other = self.refresh.client_authentication if isinstance(self.refresh, TokenEndpoint) else None
        require(other in (None, self.client_authentication), kind, "refresh", other, "the same client_authentication")
        require(isinstance(self.response, TokenResponse), kind, "response", self.response, "a TokenResponse")
        require(self.prepare is None or callable(self.prepare), kind, "prepare", self.prepare, "a function")

    def _check_names(self) -> None:
        _check_known("names", self.names)
        for name, value in self.names.items():
            is_text = value is None or (isinstance(value, str) and value != "")
            require(is_text, "TokenEndpoint", f"names[{name!r}]", value, "a text or None")
        sent = [name for name in self.names.values() if name is not None]
        require(len(sent) == len(set(sent)), "TokenEndpoint", "names", sent, "a different name for each field")

    def _check_templates(self) -> None:
        for name, value in self.headers.items():
            is_header = isinstance(name, str) and _NAME.match(name) and isinstance(value, str) and value.isprintable()
            require(bool(is_header), "TokenEndpoint", "headers", name, "names and values that a header can carry")
        for name in self.parameters:
            require(isinstance(name, str) and name != "", "TokenEndpoint", "parameters", name, "names that are texts")
        _check_known("templates", find_templates((self.headers, self.parameters)))
        # The request has these fields anyway: a constant of the same name would win or lose in silence.
        taken = self.parameters.keys() & {*map(self.send_name, ("grant_type", "refresh_token", "code"))}
        advice = "names that the grant does not send; grant_type= names the grant"
        require(not taken, "TokenEndpoint", "parameters", sorted(map(str, taken)), advice)

    def _read_grant_type(self) -> str | dict[str, str | None] | None:
        given = self.grant_type
        if given is None or (isinstance(given, str) and given):
            return given
        is_known = isinstance(given, Mapping) and given.keys() <= set(GRANTS)
        require(is_known, "TokenEndpoint", "grant_type", given, f"a name, or a mapping from {', '.join(GRANTS)}")
        return dict(given) if isinstance(given, Mapping) else None

    def send_name(self, name: str) -> str | None:
        """Return the name that a standard field is sent under, or None where it is left out."""
        return self.names.get(name, name)

    def name_grant(self, grant_type: str) -> str | None:
        """Return the name of a grant at this endpoint, or None where it is left out.

        Args:
            grant_type: The standard name.
        """
        short = grant_type.rpartition(":")[2].replace("-", "_")
        if isinstance(self.grant_type, Mapping):
            return self.grant_type.get(short, grant_type)
        return grant_type if self.grant_type is None or short == "refresh_token" else self.grant_type

    @property
    def for_refresh(self) -> TokenEndpoint:
        """The endpoint that refreshes are sent to."""
        if isinstance(self.refresh, str):
            return replace(self, url=self.refresh, refresh=None)
        return self if self.refresh is None else self.refresh


def name_refresh(endpoint: TokenEndpoint) -> TokenEndpoint:
    """Return an endpoint for refreshes alone, where the name of its grant is that of a refresh."""
    if not isinstance(endpoint.grant_type, str):
        return endpoint
    return replace(endpoint, grant_type={"refresh_token": endpoint.grant_type})


def hide_constants(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return constants with those hidden that are secrets by their names; templates and names of types are none."""
    hidden = hide_named(given)
    return {name: given[name] if _is_harmless(name, given[name]) else value for name, value in hidden.items()}


def _is_harmless(name: str, value: Any) -> bool:
    return name in HARMLESS or (isinstance(value, str) and TEMPLATE.search(value) is not None)


_PATHS = (
    "access_token",
    "refresh_token",
    "expires_in",
    "expires_at",
    "issued_at",
    "token_type",
    "scope",
    "error",
    "error_description",
)


def require(condition: bool, kind: str, name: str, value: object, expected: str) -> None:
    """Raise ConfigurationError unless a condition holds for an argument of a class."""
    if not condition:
        raise ConfigurationError(f"{kind}({name}={value!r}): expected {expected}")


def _is_path(value: object) -> bool:
    paths = value if isinstance(value, tuple) else (value,)
    return bool(paths) and all(path is None or (isinstance(path, str) and path != "") for path in paths)


def _list_paths(name: str, given: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(given) if name == "success" else tuple(given.values())


def _as_tuple(value: Any, kind: str, name: str) -> tuple[Any, ...]:
    """Return a sequence as a tuple; a single text, which is a sequence of letters, is a mistake."""
    require(not isinstance(value, (str, bytes)), kind, name, value, "a sequence")
    try:
        return tuple(value)
    except TypeError:
        raise ConfigurationError(f"{kind}({name}={value!r}): expected a sequence") from None


def find_templates(value: Any) -> Iterator[str]:
    """Yield the names in the templates of a value, however deep they are in it."""
    if isinstance(value, str):
        yield from TEMPLATE.findall(value)
    elif isinstance(value, (Mapping, list, tuple)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from find_templates(each)


def _check_known(what: str, names: Any) -> None:
    for name in names:
        require(name in FIELDS, "TokenEndpoint", what, name, f"one of {', '.join(sorted(FIELDS))}")
