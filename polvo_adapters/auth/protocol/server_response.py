"""What an authorization server answers, as a `Token` or as an error that can be shown.

Theory of operation. An answer is JSON; a few old servers send a form instead. It is believed as little as possible:
every value is checked, what is malformed is an error with a reason of the list below, and nothing else is ever raised.

    reason                     what was answered                                       final
    -------------------------  ------------------------------------------------------  -----
    the server's error code    `error`, of the characters of RFC 6749 section 5.2      some
    "error"                    `error` of another form
    "redirect"                 a redirect; it is not followed, it would carry secrets
    "status <n>"               an error status without `error`
    "not json"                 neither JSON nor a form, such as a page for people
    "no access_token"          no token in it
    "invalid access_token"     one that no header could carry, or longer than 64 KiB
    "invalid expires_in"       not a number above 0
    "unsupported token_type"   neither Bearer nor DPoP, or not the one asked for

The library oauthlib is not used on this side: of `expires_in` it drops what is malformed instead of saying so, and of
JSON that is no object it raises whatever comes to pass.

**What is shown.** Servers repeat in their errors what they were sent. Neither a description nor an error code
of their own is shown where it has anything in common with a secret that was sent.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.shells.requests.one_shot import Channel, OneShotError, send_one

FINAL = frozenset(
    {
        "access_denied",
        "expired_token",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""Codes after which asking again with the same credentials cannot help."""

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
"""Codes of the RFCs; they repeat nothing, whatever was sent."""

_ADVICE = {
    "access_denied": "the user, or a rule of the server, refused",
    "expired_token": "the user took too long; begin anew",
    "invalid_client": "check client_id, client_secret and client_authentication",
    "invalid_grant": "what was presented is expired, revoked or used up; log in again",
    "invalid_scope": "ask for scopes that the client may have",
    "connection": "check the URL, proxies and network; the request may have arrived all the same",
    "redirect": "redirects are not followed, they would carry secrets along; name the final URL",
    "not json": "check that the URL is that of the endpoint, and not of a page for people",
    "timeout": "the server is too slow, or out of reach",
    "tls": "check verify and cert",
    "unauthorized_client": "the server does not let this client use this grant",
    "unsupported_grant_type": "the server does not know this grant",
    "unsupported token_type": "a token of this type cannot be used; check the dpop setting",
}

_CODE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]{1,64}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?\Z")
_TOKEN = re.compile(r"[\x21-\x7E]+\Z")
_LONGEST = 65_536
_SHOWN, _LOOKED_AT, _RUN = 200, 400, 8
_TEN_YEARS = 10 * 365 * 86_400.0
_OWN = ("access_token", "token_type", "expires_in", "refresh_token", "scope")
_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}


def failure(
    host: str,
    what: str,
    reason: str,
    description: str = "",
    *,
    status: int = 0,
    final: bool = False,
    retry_after: float | None = None,
) -> TokenRefreshError:
    """Return an error that says who failed to give what, why, and what to do.

    Args:
        host: The authorization server.
        what: What it was asked for.
        reason: Why there is none.
        description: What the server said about it.
        status: Status of its answer, or 0.
        final: Whether asking again cannot help.
        retry_after: Seconds after which it wants to be asked again, or None.
    """
    said = f" ({description})" if description else ""
    at = f", status {status}" if status and not reason.startswith("status ") else ""
    advice = _ADVICE.get(reason, "")
    if retry_after is not None:
        advice = f"ask again after {retry_after:g} s"
    return TokenRefreshError(
        f"{what} failed at {host}: {reason}{at}{said}" + (f"; {advice}" if advice else ""),
        host=host,
        reason=reason,
        status=status,
        final=final,
        retry_after=retry_after,
    )


@dataclass(frozen=True, repr=False)
class ServerResponse:
    """A response of an authorization server.

    Attributes:
        host: The server.
        what: What it was asked for, for messages.
        status: Its status.
        headers: Its headers.
        body: Its body, whole.
        secrets: What of the request must not be shown.
        retry_after: Seconds after which it wants to be asked again, or None.
    """

    host: str
    what: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: tuple[str, ...] = ()
    retry_after: float | None = None

    def failure(self, reason: str, description: str = "") -> TokenRefreshError:
        """Return the error for this response.

        Args:
            reason: Why, in one of the words of this module.
            description: What the server said about it, checked already.
        """
        return failure(
            self.host,
            self.what,
            reason,
            description,
            status=self.status,
            final=reason in FINAL and self.status < 500 and self.status != 429,
            retry_after=self.retry_after,
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
    """Send one request to an authorization server, and return its response whatever it says.

    Args:
        channel: How to get there.
        method: Its method.
        url: Its URL.
        what: What is asked for, for messages.
        headers: Its headers.
        body: Its body, encoded.
        secrets: What of the request must not be shown.

    Raises:
        TokenRefreshError: There is no response; the reasons are those of `polvo_adapters.shells.requests.one_shot`.
    """
    try:
        response = send_one(channel, method, url, headers=headers, body=body)
    except OneShotError as error:
        problem = failure(error.host, what, error.reason, status=error.status, retry_after=error.retry_after)
    else:
        host, status, fields, content, retry_after = response
        return ServerResponse(host, what, status, fields, content, secrets, retry_after)
    raise problem


def accepted(answer: ServerResponse) -> dict[str, Any] | None:
    """Return the fields of an answer that is no error, or None where it has none.

    Raises:
        TokenRefreshError: It is an error.
    """
    if 300 <= answer.status < 400:
        raise answer.failure("redirect")
    fields = _fields(answer)
    error = None if fields is None else fields.get("error")
    if fields is not None and error not in (None, "", False):
        raise answer.failure(
            error_code(error, answer.secrets), described(fields.get("error_description"), answer.secrets)
        )
    if not 200 <= answer.status < 300:
        raise answer.failure(f"status {answer.status}")
    return fields


def require_fields(answer: ServerResponse) -> dict[str, Any]:
    """Return the fields of an answer.

    Raises:
        TokenRefreshError: It is an error, or has none.
    """
    fields = accepted(answer)
    if fields is None:
        raise answer.failure("not json")
    return fields


def token(answer: ServerResponse, key: str | None = None) -> Token:
    """Return the token of an answer.

    Args:
        answer: The answer.
        key: The private key that the token was to be bound to, in PEM, or None.

    Raises:
        TokenRefreshError: There is none in it, or none that could be used.

    Source: RFC 6749 section 5.
    """
    fields = require_fields(answer)
    access_token = fields.get("access_token")
    if access_token in (None, ""):
        raise answer.failure("no access_token")
    if not isinstance(access_token, str) or len(access_token) > _LONGEST or not _TOKEN.match(access_token):
        raise answer.failure("invalid access_token")
    given = fields.get("token_type") or "Bearer"
    kind = _TYPES.get(given.lower()) if isinstance(given, str) else None
    if kind is None or (kind == "DPoP") != (key is not None):
        raise answer.failure("unsupported token_type")
    expires_in = seconds(fields.get("expires_in"), answer)
    extra = {name: value for name, value in fields.items() if name not in _OWN}
    refresh_token = _text(fields.get("refresh_token"))
    return Token(access_token, kind, expires_in, refresh_token, _scope(fields.get("scope")), key, extra)


def refuses_client(answer: ServerResponse) -> bool:
    """Tell whether the server does not accept the client's credentials (RFC 6749 section 5.2)."""
    fields = _fields(answer) if answer.status in (400, 401) else None
    return fields is not None and fields.get("error") == "invalid_client"


def wants_nonce(answer: ServerResponse) -> bool:
    """Tell whether the server wants to see a nonce of its own in the proof (RFC 9449 section 8)."""
    fields = _fields(answer) if answer.status in (400, 401) else None
    return fields is not None and fields.get("error") == "use_dpop_nonce"


def seconds(value: Any, answer: ServerResponse) -> float | None:
    """Return a lifetime in seconds, or None where there is none, or one of more than ten years.

    Raises:
        TokenRefreshError: It is no number, or not above 0.
    """
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.match(value.strip(" ")):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise answer.failure("invalid expires_in")
    return None if value > _TEN_YEARS else float(value)


def described(text: Any, secrets: tuple[str, ...]) -> str:
    """Return what a server says as far as it may be shown: printable ASCII, short, and free of secrets.

    Args:
        text: What it said.
        secrets: What of the request must not be shown.
    """
    if not isinstance(text, str) or _reveals(text[:_LOOKED_AT], secrets):
        return ""
    shown = "".join(character if " " <= character <= "~" else " " for character in text[:_SHOWN])
    return " ".join(shown.split())


def error_code(error: Any, secrets: tuple[str, ...]) -> str:
    """Return an error code as far as it may be shown, and "error" in the place of any other.

    Args:
        error: What the server said.
        secrets: What of the request must not be shown.

    Source: RFC 6749 section 5.2.
    """
    if not isinstance(error, str) or not _CODE.match(error):
        return "error"
    return error if error in _KNOWN or not _reveals(error, secrets) else "error"


def _reveals(text: str, secrets: tuple[str, ...]) -> bool:
    """Tell whether a text has a whole secret, or eight characters in a row of one, in plain or encoded form."""
    forms = {text.casefold(), "".join(text.split()).casefold()}
    for _ in range(3):
        text = html.unescape(unquote_plus(text))
        forms.add(text.casefold())
    for secret in filter(None, secrets):
        for each in _disguised(secret):
            if any(each in form for form in forms):
                return True
            if any(form[at : at + _RUN] in each for form in forms for at in range(len(form) - _RUN + 1)):
                return True
    return False


def _disguised(secret: str) -> set[str]:
    """Return a secret as it may be shown: plain, or encoded in some way."""
    data = secret.encode("utf-8", "surrogatepass")
    encoded = (b64encode(data), urlsafe_b64encode(data))
    texts = [secret, quote_plus(secret, errors="replace"), data.hex(), *(each.decode().rstrip("=") for each in encoded)]
    return {text.casefold() for text in texts}


def _fields(answer: ServerResponse) -> dict[str, Any] | None:
    try:
        text = answer.body.decode("utf-8-sig")
    except ValueError:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _form(text)
    return value if isinstance(value, dict) else None


def _form(text: str) -> dict[str, Any] | None:
    """Read a form, which old servers send in place of JSON."""
    from oauthlib.common import extract_params  # type: ignore[import-untyped]

    pairs = extract_params(text) if len(text) <= 4 * _LONGEST else None
    fields: dict[str, Any] = dict(pairs or ())
    return fields if "access_token" in fields or "error" in fields else None


def _scope(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    return _text(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None
