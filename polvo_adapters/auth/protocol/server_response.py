"""The response of an authorization server, as a `Token` or as an error that is safe to show.

Theory of operation. A response is JSON; a few old servers send a form instead. Nothing in it is trusted: every value is
checked, and what is malformed becomes an error with a reason of the list below. No other exception is raised.

    reason                     response                                                final
    -------------------------  ------------------------------------------------------  -----
    the server's error code    `error`, of the characters of RFC 6749 section 5.2      some
    "error"                    `error` of another form
    "redirect"                 a redirect; it is not followed, it would carry secrets
    "status <n>"               an error status without `error`
    "not json"                 neither JSON nor a form, such as a web page
    "no access_token"          no token in it
    "invalid access_token"     a token that no header can carry, or over 64 KiB
    "invalid expires_in"       not a number above 0
    "unsupported token_type"   neither Bearer nor DPoP, or not the requested one

The library oauthlib does not read responses here: it drops a malformed `expires_in` without an error, and JSON that is
no object makes it raise arbitrary exceptions.

**What is shown.** Servers repeat in their errors what they were sent. A description, or an error code that no RFC
defines, is shown only if it has nothing in common with a secret of the request.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.requests.one_shot import Channel, OneShotError, send_one

_FINAL_ADVICE = {
    "access_denied": "the user, or a rule of the server, refused",
    "expired_token": "the user took too long; begin another login",
    "invalid_client": "check client_id, client_secret and client_authentication",
    "invalid_grant": "the grant is expired, revoked or used up; log in again",
    "invalid_request": "",
    "invalid_scope": "request scopes that the client may have",
    "invalid_target": "",
    "unauthorized_client": "the server does not let this client use this grant",
    "unsupported_grant_type": "the server does not know this grant",
}
_ADVICE = {
    **_FINAL_ADVICE,
    "connection": "check the URL, proxies and network; the server may have received the request",
    "redirect": "redirects are not followed, they would carry secrets; set the final URL",
    "not json": "check that the URL is that of the endpoint, and not of a web page",
    "timeout": "the server is too slow, or cannot be reached",
    "tls": "check verify and cert",
    "unsupported token_type": "a token of this type cannot be used; check the dpop setting",
}

FINAL = frozenset(_FINAL_ADVICE)
"""Codes after which another request with the same credentials is useless."""

_KNOWN = FINAL | {
    "authorization_pending",
    "consent_required",
    "interaction_required",
    "invalid_dpop_proof",
    "login_required",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unsupported_token_type",
    "use_dpop_nonce",
}
"""Codes of the RFCs, which repeat nothing of the request."""

_CODE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]{1,64}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?\Z")
_TOKEN = re.compile(r"[\x21-\x7E]+\Z")
_LONGEST = 65_536
_SHOWN, _LOOKED_AT, _RUN = 200, 400, 8
_TEN_YEARS = 10 * 365 * 86_400.0
_OWN = ("access_token", "token_type", "expires_in", "refresh_token", "scope")
_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}


@unpicklable
@dataclass(frozen=True, repr=False)
class ServerResponse:
    """The response of an authorization server, or its absence.

    Attributes:
        host: The server.
        what: What was requested, for messages.
        status: Status of the response, or 0 if there is none.
        headers: Headers of the response.
        body: Body of the response.
        secrets: Values of the request that must not be shown.
        retry_after: Seconds that the server asks to wait before the next request, or None.
    """

    host: str
    what: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    secrets: tuple[str, ...] = ()
    retry_after: float | None = None

    def make_error(self, reason: str, description: str = "", *, final: bool = False) -> TokenRefreshError:
        """Return an error whose message names the server, the request, the reason, and what to do.

        Args:
            reason: A reason of the table of this module, or of the module that calls.
            description: The server's own description, without secrets.
            final: Whether another request is useless; it is after any code of FINAL.
        """
        status, retry_after = self.status, self.retry_after
        final = final or (reason in FINAL and status < 500 and status != 429)
        message = f"{self.what} failed at {self.host}: {reason}"
        if status and not reason.startswith("status "):
            message += f", status {status}"
        if description:
            message += f" ({description})"
        advice = _ADVICE.get(reason) if retry_after is None else f"ask again after {retry_after:g} s"
        if advice:
            message += f"; {advice}"
        return TokenRefreshError(
            message, host=self.host, reason=reason, status=status, final=final, retry_after=retry_after
        )


def request_once(
    channel: Channel,
    method: str,
    url: str,
    what: str,
    *,
    headers: dict[str, str] | None = None,
    body: str | None = None,
    secrets: tuple[str, ...] = (),
) -> ServerResponse:
    """Send one request to an authorization server, and return its response, of any status.

    Args:
        channel: The way to the server.
        method: Method of the request.
        url: URL of the request.
        what: What is requested, for messages.
        headers: Headers of the request.
        body: Encoded body of the request.
        secrets: Values of the request that must not be shown.

    Raises:
        TokenRefreshError: There is no response; the reasons are those of `polvo_adapters.shells.requests.one_shot`.
    """
    try:
        response = send_one(channel, method, url, headers=headers, body=body)
    except OneShotError as error:
        missing = ServerResponse(error.host, what, error.status, retry_after=error.retry_after)
        problem = missing.make_error(error.reason)
    else:
        host, status, fields, content, retry_after = response
        return ServerResponse(host, what, status, fields, content, secrets, retry_after)
    raise problem


def parse_success(response: ServerResponse) -> dict[str, Any] | None:
    """Return the fields of a response that is no error, or None if it has none.

    Raises:
        TokenRefreshError: The response is an error.
    """
    if 300 <= response.status < 400:
        raise response.make_error("redirect")
    fields = _parse_fields(response)
    error = None if fields is None else fields.get("error")
    if fields is not None and error not in (None, "", False):
        description = redact_description(fields.get("error_description"), response.secrets)
        raise response.make_error(redact_code(error, response.secrets), description)
    if not 200 <= response.status < 300:
        raise response.make_error(f"status {response.status}")
    return fields


def require_fields(response: ServerResponse) -> dict[str, Any]:
    """Return the fields of a response.

    Raises:
        TokenRefreshError: The response is an error, or has no fields.
    """
    fields = parse_success(response)
    if fields is None:
        raise response.make_error("not json")
    return fields


def parse_token(response: ServerResponse, key: str | None = None) -> Token:
    """Return the token of a response.

    Args:
        response: The response.
        key: The private key, in PEM, that the token was to be bound to, or None.

    Raises:
        TokenRefreshError: The response has no token that can be used.

    Source: RFC 6749 section 5.
    """
    fields = require_fields(response)
    access_token = fields.get("access_token")
    if access_token in (None, ""):
        raise response.make_error("no access_token")
    if not isinstance(access_token, str) or len(access_token) > _LONGEST or not _TOKEN.match(access_token):
        raise response.make_error("invalid access_token")
    given = fields.get("token_type") or "Bearer"
    token_type = _TYPES.get(given.lower()) if isinstance(given, str) else None
    if token_type is None or (token_type == "DPoP") != (key is not None):
        raise response.make_error("unsupported token_type")
    expires_in = parse_seconds(fields.get("expires_in"), response)
    scope = fields.get("scope")
    if isinstance(scope, list) and all(isinstance(each, str) for each in scope):
        scope = " ".join(scope)
    extra = {name: value for name, value in fields.items() if name not in _OWN}
    refresh_token = _text_or_none(fields.get("refresh_token"))
    return Token(access_token, token_type, expires_in, refresh_token, _text_or_none(scope), key, extra)


def credential_error(response: ServerResponse) -> object:
    """Return the `error` of a response that refuses the client's credentials or its proof, or None for any other.

    It is "invalid_client" if the server does not accept the client's credentials, and "use_dpop_nonce" if the proof has
    to contain a nonce of the server.

    Source: RFC 6749 section 5.2, RFC 9449 section 8.
    """
    fields = _parse_fields(response) if response.status in (400, 401) else None
    return None if fields is None else fields.get("error")


def parse_seconds(value: Any, response: ServerResponse) -> float | None:
    """Return a lifetime in seconds, or None if there is none, or one of more than ten years.

    Raises:
        TokenRefreshError: The value is no number, or not above 0.
    """
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.match(value.strip(" ")):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise response.make_error("invalid expires_in")
    return None if value > _TEN_YEARS else float(value)


def redact_description(text: Any, secrets: tuple[str, ...]) -> str:
    """Return what may be shown of the server's description: printable ASCII, short, and free of secrets.

    Args:
        text: The description.
        secrets: Values of the request that must not be shown.
    """
    if not isinstance(text, str) or _reveals(text[:_LOOKED_AT], secrets):
        return ""
    shown = "".join(character if " " <= character <= "~" else " " for character in text[:_SHOWN])
    return " ".join(shown.split())


def redact_code(error: Any, secrets: tuple[str, ...]) -> str:
    """Return an error code, or "error" for a code that must not be shown.

    Args:
        error: The server's `error`.
        secrets: Values of the request that must not be shown.

    Source: RFC 6749 section 5.2.
    """
    if not isinstance(error, str) or not _CODE.match(error):
        return "error"
    return error if error in _KNOWN or not _reveals(error, secrets) else "error"


def _reveals(text: str, secrets: tuple[str, ...]) -> bool:
    """Return whether a text has a whole secret, or eight characters in a row of one, in plain or encoded form."""
    forms = {text.casefold(), "".join(text.split()).casefold()}
    for _ in range(3):
        text = html.unescape(unquote_plus(text))
        forms.add(text.casefold())
    for secret in filter(None, secrets):
        for each in _encode_variants(secret):
            if any(each in form for form in forms):
                return True
            if any(form[at : at + _RUN] in each for form in forms for at in range(len(form) - _RUN + 1)):
                return True
    return False


def _encode_variants(secret: str) -> set[str]:
    """Return the forms that a secret may be shown in: plain, and in several encodings."""
    data = secret.encode("utf-8", "surrogatepass")
    encoded = (b64encode(data), urlsafe_b64encode(data))
    texts = [secret, quote_plus(secret, errors="replace"), data.hex(), *(each.decode().rstrip("=") for each in encoded)]
    return {text.casefold() for text in texts}


def _parse_fields(response: ServerResponse) -> dict[str, Any] | None:
    try:
        text = response.body.decode("utf-8-sig")
    except ValueError:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _parse_form(text)
    return value if isinstance(value, dict) else None


def _parse_form(text: str) -> dict[str, Any] | None:
    """Return the fields of a form, which old servers send in place of JSON."""
    from oauthlib.common import extract_params  # type: ignore[import-untyped]

    pairs = extract_params(text) if len(text) <= 4 * _LONGEST else None
    fields: dict[str, Any] = dict(pairs or ())
    return fields if "access_token" in fields or "error" in fields else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None
