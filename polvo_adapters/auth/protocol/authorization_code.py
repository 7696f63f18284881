"""A login in the user's browser: the URL to open, and the code that comes back.

Theory of operation. The browser carries the request there and the answer back, so that neither can be trusted. `state`
ties the answer to the request (the code of another login is refused); PKCE ties the code to this program (a stolen code
is useless without the verifier); `iss` ties the answer to the server (RFC 9207).

    reason                   what the browser brought back
    -----------------------  ----------------------------------------------------
    the server's error code  an error, such as "access_denied"
    "state mismatch"         an answer to another request, or a forged one
    "issuer mismatch"        the answer of another server
    "no code"                neither a code nor an error, or several
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.core.calls import find_host, origin
from polvo_adapters.shells.server_words import redact_code, redact_description

_VERIFIER_LENGTH = 64
_FIELDS = frozenset({"code", "error", "error_description", "error_uri", "expires_in", "iss", "scope", "state"})
_CODE = re.compile(r"[\x20-\x7E]{1,65536}\Z")


@dataclass(frozen=True, repr=False)
class AuthorizationRequest:
    """A login that has begun; keep it secret until the browser comes back.

    Attributes:
        url: The URL to open in the user's browser.
        state: Text that the answer must repeat.
        code_verifier: Text that the token request needs besides the code; a secret.
        redirect_uri: URL that the browser is sent back to.
    """

    url: str
    state: str
    code_verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return f"<AuthorizationRequest to {origin(self.url)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AuthorizationRequest holds a secret and is not pickled; keep its fields sealed")


def start_authorization(
    url: str, client_id: str, redirect_uri: str, scope: str | None, state: str | None, extra: Mapping[str, str]
) -> AuthorizationRequest:
    """Return a new request to an authorization endpoint; arguments as for `AuthorizationServer.authorization_request`.

    Source: RFC 6749 section 4.1.1, RFC 7636 section 4.
    """
    from oauthlib.oauth2 import WebApplicationClient  # type: ignore[import-untyped]
    from oauthlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]

    client = WebApplicationClient(client_id)
    verifier = client.create_code_verifier(_VERIFIER_LENGTH)
    state = secrets.token_urlsafe(32) if state is None else state
    scheme, _, rest = url.partition("://")
    prepared = prepare_grant_uri(
        f"https://{rest}",  # oauthlib accepts no http, which is allowed on this machine; the scheme was checked before
        client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=scope,
        state=state,
        code_challenge=client.create_code_challenge(verifier, "S256"),
        code_challenge_method="S256",
        **extra,
    )
    return AuthorizationRequest(scheme + prepared.removeprefix("https"), state, verifier, redirect_uri)


def extract_code(redirected_url: str, request: AuthorizationRequest, issuer: str | None, *, wants_iss: bool) -> str:
    """Return the code of the URL that the browser was sent back to, for `AuthorizationServer.code_from`.

    Args:
        redirected_url: The whole URL.
        request: The request that it answers.
        issuer: Name of the server, if it is known.
        wants_iss: Whether the server has announced that it repeats its name in the answer.

    Raises:
        TokenRefreshError: There is no code, or it must not be used.

    Source: RFC 6749 section 4.1.2, RFC 9207 section 2.4.
    """
    pairs = _parse_query(redirected_url)
    fields = dict(pairs)
    answer = ServerResponse(find_host(request.url), "the login")
    if not hmac.compare_digest(fields.get("state", "").encode("utf-8", "replace"), request.state.encode()):
        raise answer.make_error("state mismatch", final=True)
    if issuer is not None and fields.get("iss", "" if wants_iss else issuer) != issuer:
        raise answer.make_error("issuer mismatch", final=True)
    if "error" in fields:
        sent_secrets = (request.state, request.code_verifier, fields.get("code", ""))
        description = redact_description(fields.get("error_description"), sent_secrets)
        raise answer.make_error(redact_code(fields["error"], sent_secrets), description)
    if len(fields) < len(pairs) or not _CODE.match(fields.get("code", "")):
        raise answer.make_error("no code", final=True)
    return fields["code"]


def list_further(redirected_url: str) -> dict[str, str]:
    """Return what a server has added to the URL that the browser was sent back to, beside the fields of RFC 6749."""
    return {name: value for name, value in _parse_query(redirected_url) if name not in _FIELDS}


def _parse_query(url: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []
