"""The form in the body of a request to an authorization server, and the values in it that must not be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import hide

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.grants import FormFields

HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
HARMLESS = frozenset(
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
"""Fields that are no secrets. A list of those that are secrets would never be complete."""


def encode(fields: FormFields) -> str:
    """Return the body of a request.

    Args:
        fields: Fields of the form. Those that are None are left out, a sequence is sent once per value.

    Source: RFC 6749 appendix B.
    """
    from oauthlib.common import add_params_to_qs  # type: ignore[import-untyped]
    from oauthlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

    body = add_params_to_qs("", [(name, value) for name, value in _flatten(fields) if name != "grant_type"])
    # oauthlib leaves out empty keywords, and takes some names for its own arguments; in a body it takes any field.
    return str(prepare_token_request(fields["grant_type"], body=body) if "grant_type" in fields else body)


def list_secrets(fields: FormFields) -> tuple[str, ...]:
    """Return the values that must not be shown."""
    return tuple(hide(value) for name, value in _flatten(fields) if name not in HARMLESS)


def _flatten(fields: FormFields) -> Iterator[tuple[str, str]]:
    """Yield each name with each of its values."""
    for name, value in fields.items():
        for each in [value] if isinstance(value, str) else value or ():
            yield name, each


def describe_grant(fields: FormFields) -> str:
    """Return the name of the grant of a token request, for messages.

    Raises:
        ConfigurationError: The fields are not those of a token request.
    """
    grant = fields.get("grant_type")
    if not isinstance(grant, str) or not grant:
        raise ConfigurationError("grant_type: missing; take the fields from polvo_adapters.auth.protocol.grants")
    return f"the {grant.rpartition(':')[2]} grant"
