"""The response of an authorization server, and the error that it is, which is safe to show.

Theory of operation. An error names the server, the request, the reason and what to do. `token_response` says which
reasons there are, and reads the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from polvo_adapters.core.durations import format_seconds
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.one_shot import OneShotError
from polvo_adapters.shells.requests.one_shot import Channel, send_one

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
    "connection": "check the URL, proxies and network",
    "redirect": "redirects are not followed, they would carry secrets; set the final URL",
    "not json": "check that the URL is that of the endpoint, and not of a web page",
    "timeout": "the server is too slow, or cannot be reached",
    "tls": "check verify and cert",
    "unsupported token_type": "a token of this type cannot be used; check the dpop setting",
}

_STATUS_ADVICE = {
    400: "check what the request asks for: scope, audience, and the credentials of the client",
    401: "check the credentials of the client",
    403: "the server does not let this client have a token; ask its operator",
    429: "ask less often, and share the token in a token_cache",
    500: "report it to the operator of the server",
    502: "ask again later",
    503: "ask again later",
    504: "ask again later",
    404: "check the URL of the endpoint",
    405: "the endpoint expects another method; see TokenEndpoint(url, method=...)",
    415: 'the endpoint expects another encoding; see TokenEndpoint(url, encoding="json")',
}

FINAL = frozenset(_FINAL_ADVICE)
"""Codes after which another request with the same credentials is useless."""


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
        place: Host and path, for messages.
    """

    host: str
    what: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    secrets: tuple[str, ...] = ()
    retry_after: float | None = None
    place: str = ""

    def make_failure(self, failure: OneShotError) -> TokenRefreshError:
        """Return an error for a request without a response, which says whether the server may have received it."""
        if not failure.cause:
            return self.make_error(failure.reason)
        sent = "the server may have received the request" if failure.lost else "nothing was sent"
        text = f"{self.what} failed at {self.place}: {failure.cause}; {sent}; {failure.advice}"
        return TokenRefreshError(text, host=self.host, reason=failure.reason, retry_after=self.retry_after)

    def make_error(self, reason: str, description: str = "", *, final: bool | None = None) -> TokenRefreshError:
        """Return an error whose message names the server, the request, the reason, and what to do.

        Args:
            reason: A reason of the table of `token_response`, or of the module that calls.
            description: The server's own description, without secrets.
            final: Whether another request is useless; by default it is after any code of FINAL.
        """
        status, retry_after = self.status, self.retry_after
        if final is None:
            final = reason in FINAL and status < 500 and status != 429
        message = f"{self.what} failed at {self.place or self.host}: {reason}"
        if status and not reason.startswith("status "):
            message += f", status {status}"
        if description:
            message += f" ({description})"
        advice = _ADVICE.get(reason, _STATUS_ADVICE.get(status))
        if retry_after is not None:
            advice = f"ask again after {format_seconds(retry_after, 6)} s"
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
        missing = ServerResponse(error.host, what, error.status, retry_after=error.retry_after, place=error.place)
        problem = missing.make_failure(error)
        problem.lost = error.lost
    else:
        host, status, fields, content, retry_after = response
        place = host + urlsplit(url).path
        return ServerResponse(host, what, status, fields, content, secrets, retry_after, place)
    raise problem
