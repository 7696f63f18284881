"""A login in the user's browser: the URL to open, and the code that comes back.

Theory of operation. The browser carries the request there and the answer back, so that neither can be trusted. `state`
ties the answer to the request (a code of somebody else's is refused); PKCE ties the code to whoever asked (a stolen
code is of no use without the verifier); `iss` ties the answer to the server (RFC 9207).

    reason                   what the browser brought back
    -----------------------  ----------------------------------------------------
    the server's error code  an error, such as "access_denied"
    "state mismatch"         an answer to another request, or a forged one
    "issuer mismatch"        an answer of another server
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

from polvo_adapters.auth.protocol.server_response import ServerResponse, described, error_code, failure
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import TokenRefreshError

_WHAT = "the login"
_VERIFIER_LENGTH = 64
_CODE = re.compile(r"[\x20-\x7E]{1,65536}\Z")


@dataclass(frozen=True, repr=False)
class AuthorizationRequest:
    """A login that has begun: keep it until the browser comes back, where nobody else can read it.

    Attributes:
        url: The URL to open in the user's browser.
        state: What the answer must repeat.
        code_verifier: What the code is to be redeemed with; a secret.
        redirect_uri: Where the browser will be sent back to.
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
    """Return a new request to an authorization endpoint.

    Args:
        url: The endpoint.
        client_id: The client.
        redirect_uri: Where the browser shall be sent back to.
        scope: What the token shall be good for.
        state: What the answer must repeat; by default drawn at random.
        extra: Further parameters.

    Source: RFC 6749 section 4.1.1, RFC 7636 section 4.
    """
    from oauthlib.oauth2 import WebApplicationClient  # type: ignore[import-untyped]
    from oauthlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]

    client = WebApplicationClient(client_id)
    verifier = client.create_code_verifier(_VERIFIER_LENGTH)
    state = secrets.token_urlsafe(32) if state is None else state
    scheme, _, rest = url.partition("://")
    prepared = prepare_grant_uri(
        f"https://{rest}",  # whether the scheme will do was decided before, on this machine http does
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
    """Return the code of the URL that the browser was sent back to.

    Args:
        redirected_url: That URL, whole.
        request: The request that it answers.
        issuer: Name of the server, where it is known.
        wants_iss: Whether the server has promised to say its name in the answer.

    Raises:
        TokenRefreshError: There is no code, or it must not be used.

    Source: RFC 6749 section 4.1.2, RFC 9207 section 2.4.
    """
    pairs = _pairs(redirected_url)
    fields = dict(pairs)
    hidden = (request.state, request.code_verifier, fields.get("code", ""))
    host = origin(request.url).partition("://")[2]
    if not hmac.compare_digest(fields.get("state", "").encode("utf-8", "replace"), request.state.encode()):
        raise failure(host, _WHAT, "state mismatch", final=True)
    if issuer is not None and fields.get("iss", "" if wants_iss else issuer) != issuer:
        raise failure(host, _WHAT, "issuer mismatch", final=True)
    if "error" in fields:
        raise _refused(host, fields, hidden)
    if len(fields) < len(pairs) or not _CODE.match(fields.get("code", "")):
        raise failure(host, _WHAT, "no code", final=True)
    return fields["code"]


def _refused(host: str, fields: Mapping[str, str], hidden: tuple[str, ...]) -> TokenRefreshError:
    code = error_code(fields["error"], hidden)
    return ServerResponse(host, _WHAT, 0, {}, b"").failure(code, described(fields.get("error_description"), hidden))


def _pairs(url: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []
