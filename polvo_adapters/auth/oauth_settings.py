"""What an OAuth2 object is made of, checked at construction: settings that would fail at the first request fail now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from polvo_adapters.auth.protocol.grant_flow import GrantFlow
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import unpicklable

_OF_ASSERTION = ("claims", "assertion_headers", "assertion_lifetime", "leeway")


@unpicklable
class OAuth2Settings(NamedTuple):
    """The settings of an OAuth2 object.

    Attributes:
        grant_flow: The flow, with its grant.
        server: Keywords of the authorization server.
        endpoint: The token endpoint, described.
        is_shared: Whether other processes use the same token cache.
        has_fetch: Whether a function of the user's obtains the tokens.
        is_elsewhere: Whether tokens are sent in another way than as `Authorization: Bearer`.
    """

    grant_flow: GrantFlow
    server: Mapping[str, Any]
    endpoint: TokenEndpoint
    is_shared: bool
    has_fetch: bool
    is_elsewhere: bool

    def __repr__(self) -> str:
        return f"<OAuth2Settings of the flow {self.grant_flow.flow}>"


def check_settings(settings: OAuth2Settings) -> None:
    """Check settings that depend on one another.

    Raises:
        ConfigurationError: Some cannot work together, or one is missing; the message names it.
    """
    if settings.server.get("dpop") and settings.is_elsewhere:
        raise ConfigurationError(
            "OAuth2(dpop=True): such tokens are sent as Authorization: DPoP; omit header and scheme"
        )
    if settings.has_fetch:
        if settings.server["client_id"] is None and settings.is_shared:
            raise ConfigurationError("OAuth2(fetch=...): missing client_id, which names the token in the token_cache")
        return
    flow = settings.grant_flow
    missing = _list_missing(settings)
    if missing:
        hint = "a value that is None may come from an environment variable that is not set"
        raise ConfigurationError(f"OAuth2(flow={flow.flow!r}): missing {', '.join(missing)}; {hint}")
    unused = flow.find_unused()
    if unused:
        raise ConfigurationError(f"OAuth2(flow={flow.flow!r}): this flow does not use {', '.join(unused)}")
    _check_assertion(settings)
    _check_parameters(settings)


def _list_missing(settings: OAuth2Settings) -> list[str]:
    """Return the names of settings that the flow needs and that are not there."""
    missing, server = settings.grant_flow.find_missing(), settings.server
    if not server["client_id"]:
        missing.insert(0, "client_id")
    if server["client_secret"] == "":
        missing.append("client_secret (it is empty)")
    if not server["token_url"] and not server.get("issuer"):
        missing.append("token_url (or issuer)")
    if settings.grant_flow.is_nameless and settings.is_shared:
        missing.append("subject (what the assertions are about; it names the token in the token_cache)")
    return missing


def _check_assertion(settings: OAuth2Settings) -> None:
    """Raise ConfigurationError for settings of an assertion where the client signs none."""
    server = settings.server
    names = [name for name in _OF_ASSERTION if server.get(name) is not None]
    methods = (server.get("client_authentication"), settings.endpoint.client_authentication)
    method = next(filter(None, methods), None if server["client_secret"] is None else "basic")
    if names and not settings.grant_flow.signs_grant and method not in (None, "private_key_jwt"):
        raise ConfigurationError(f"OAuth2: {', '.join(names)}: the client signs no assertion, but uses {method!r}")


def _check_parameters(settings: OAuth2Settings) -> None:
    """Raise ConfigurationError for a parameter with the name of a field that another option sets."""
    flow, endpoint = settings.grant_flow, settings.endpoint
    if flow.flow == "refresh_token" and endpoint.refresh is None and isinstance(endpoint.grant_type, str):
        raise ConfigurationError(
            f"TokenEndpoint(grant_type={endpoint.grant_type!r}): it is not sent with refreshes; give a mapping, "
            f'{{"refresh_token": {endpoint.grant_type!r}}}'
        )
    constants = {**endpoint.parameters, **(settings.server.get("parameters") or {})}
    both = [name for name in flow.list_fields() if endpoint.send_name(name) in constants]
    if both:
        raise ConfigurationError(f"OAuth2(parameters=...): {', '.join(both)} is an option of its own, and is set too")
