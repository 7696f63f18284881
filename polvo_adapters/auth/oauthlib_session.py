"""What an `OAuth2Session` of requests-oauthlib knows of its tokens, in the terms of `OAuth2`.

Theory of operation. Such a session refreshes when it finds the token expired, in each thread and process for itself,
and keeps the result by its `token_updater`. What it was given says all that `OAuth2` needs:

    of the session                   of OAuth2
    -------------------------------  ---------------------------------------------------------------------------
    `token`                          the first token, and with it the first refresh token
    `auto_refresh_url`               `token_url`
    `auto_refresh_kwargs`            client_id, client_secret (sent in the form, as there), and `parameters`
    `token_updater`                  is called with each new token, as a dict of the same form
    `client_id`, `scope`             the same
    adapters, proxies, verification  `session`

What cannot be taken over is refused, because the refresh would differ in silence: compliance hooks of the refresh and
of requests, and tokens in the query or the body.

Source: https://requests-oauthlib.readthedocs.io/en/latest/oauth2_workflow.html#refreshing-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_lifetime import parse_duration
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import unpicklable

_MEMBERS = ("token", "auto_refresh_url", "auto_refresh_kwargs", "token_updater", "client_id", "scope")
_HOOKS = ("refresh_token_request", "refresh_token_response", "protected_request")
_KNOWN = ("access_token", "token_type", "expires_in", "expires_at", "refresh_token", "scope")


@unpicklable
class SessionSettings(NamedTuple):
    """What was read of a session.

    Attributes:
        keywords: Keywords of OAuth2.
        token: The token that the session has, or None.
        updater: The function that keeps each new token, or None.
    """

    keywords: dict[str, Any]
    token: Token | None
    updater: Callable[[dict[str, Any]], object] | None

    def __repr__(self) -> str:
        return f"<SessionSettings, {'with' if self.token else 'no'} token>"


def read_session(session: Any, wall: float) -> SessionSettings:
    """Return what a session knows.

    Args:
        session: An `OAuth2Session` of requests-oauthlib.
        wall: Unix time, by which it says when its token expires.

    Raises:
        ConfigurationError: It is none, or has settings that cannot be taken over.
    """
    missing = [name for name in _MEMBERS if not hasattr(session, name)]
    if missing:
        raise ConfigurationError(
            f"OAuth2.from_session: expected an OAuth2Session of requests-oauthlib, got {type(session).__name__}"
        )
    _require_nothing_else(session)
    token = _read_token(session.token or {}, wall)
    extra = dict(session.auto_refresh_kwargs)
    keywords: dict[str, Any] = {
        "client_id": extra.pop("client_id", None) or session.client_id,
        "client_secret": extra.pop("client_secret", None),
        "token_url": session.auto_refresh_url,
        "scope": session.scope,
        "parameters": extra or None,
        "session": session,
    }
    if keywords["client_secret"]:
        keywords["client_authentication"] = "post"
    if token is not None and token.refresh_token is not None:
        keywords["refresh_token"] = token.refresh_token
    elif getattr(session._client, "grant_type", "") == "client_credentials":
        keywords["flow"] = "client_credentials"
    else:
        keywords["flow"] = "refresh_token"
    return SessionSettings(
        {name: value for name, value in keywords.items() if value is not None}, token, session.token_updater
    )


def write_token(token: Token, wall: float) -> dict[str, Any]:
    """Return a token as the `token_updater` of a session is given it.

    Args:
        token: The token, issued just now.
        wall: Unix time.
    """
    fields: dict[str, Any] = {**token.extra, "access_token": token.access_token, "token_type": token.token_type}
    if token.refresh_token is not None:
        fields["refresh_token"] = token.refresh_token
    if token.scope is not None:
        fields["scope"] = token.scope.split()
    if token.expires_in is not None:
        fields.update(expires_in=token.expires_in, expires_at=wall + token.expires_in)
    return fields


def _require_nothing_else(session: Any) -> None:
    hooks = getattr(session, "compliance_hook", {})
    found = [name for name in _HOOKS if hooks.get(name)]
    if found:
        raise ConfigurationError(
            f"OAuth2.from_session: the session has compliance hooks ({', '.join(found)}); describe what they do by "
            "keywords of OAuth2, and give from_session a session without them"
        )
    place = getattr(session._client, "default_token_placement", "auth_header")
    if place != "auth_header":
        raise ConfigurationError(f"OAuth2.from_session: the session sends its token in another place: {place}")


def _read_token(fields: Mapping[str, Any], wall: float) -> Token | None:
    access_token = fields.get("access_token")
    if not access_token:
        return None
    scope, expires_at, expires_in = fields.get("scope"), fields.get("expires_at"), fields.get("expires_in")
    end, seconds = parse_duration(expires_at), parse_duration(expires_in)  # what is odd says nothing
    if end is not None:
        seconds = max(0.0, end - wall)
    return Token(
        access_token,
        expires_in=seconds,
        refresh_token=fields.get("refresh_token"),
        scope=" ".join(scope) if isinstance(scope, (list, tuple, set)) else scope,
        extra={name: value for name, value in fields.items() if name not in _KNOWN},
    )
