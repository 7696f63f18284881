"""The form that a request to an authorization server consists of, and what of it must not be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.grants import Fields

HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_HARMLESS = frozenset(
    {
        "actor_token_type",
        "audience",
        "client_assertion_type",
        "client_id",
        "grant_type",
        "redirect_uri",
        "requested_token_type",
        "resource",
        "scope",
        "subject_token_type",
        "token_type_hint",
    }
)
"""Fields that are no secrets. A list of those that are would never be complete."""


def encoded(fields: Fields) -> str:
    """Return the body of a request.

    Args:
        fields: What it consists of. Those that are None are left out, a sequence is sent once per value.

    Source: RFC 6749 appendix B.
    """
    from oauthlib.common import add_params_to_qs  # type: ignore[import-untyped]
    from oauthlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if value is not None and name != "grant_type":
            pairs += [(name, each) for each in ([value] if isinstance(value, str) else value)]
    body = add_params_to_qs("", pairs)
    # As keywords, names of its own arguments could not be fields, and empty ones would be left out.
    return str(prepare_token_request(fields["grant_type"], body=body) if "grant_type" in fields else body)


def secrets(fields: Fields) -> tuple[str, ...]:
    """Return the values that must not be shown."""
    hidden: list[str] = []
    for name, value in fields.items():
        if value is not None and name not in _HARMLESS:
            hidden += [value] if isinstance(value, str) else value
    return tuple(hidden)


def named(fields: Fields) -> str:
    """Return what a token request asks for, for messages.

    Raises:
        ConfigurationError: It is no token request.
    """
    grant = fields.get("grant_type")
    if not isinstance(grant, str) or not grant:
        raise ConfigurationError("grant_type: missing; take the fields from polvo_adapters.auth.protocol.grants")
    return f"the {grant.rpartition(':')[2]} grant"
