"""What comes of one request to an authorization server or a vault, made by either library.

reason         what happened
-------------  --------------------------------------------------
"timeout"      the time is over
"connection"   no connection, or one that broke off
"tls"          the certificate of the server or of the client is not accepted
"too large"    a response of more than 1 MiB
"not json"     a body that cannot be decoded
"status <n>"   an error whose Retry-After is beyond the deadline; `retry_after`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from polvo_adapters.redaction import unpicklable

UNANSWERED = ("connection", "timeout", "tls")
"""The reasons of requests to which no server has responded."""


@unpicklable
class OneShotResponse(NamedTuple):
    """A response that was read completely.

    Attributes:
        host: Host of the server.
        status: Status of the response.
        headers: Headers of the response.
        body: Body of the response; that of a redirect is left out.
        retry_after: Seconds that the server asks to wait, or None.
    """

    host: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    retry_after: float | None

    def __repr__(self) -> str:
        return f"<OneShotResponse {self.status} of {self.host}>"  # the body may be a token


class OneShotError(Exception):
    """A request without a usable response. The error holds nothing of the request, which may hold secrets.

    Attributes:
        host: Host of the server.
        place: Host and path, without what may be a secret in it.
        cause: What happened in plain words, or an empty string.
        advice: What to do about that, or an empty string.
        reason: The reason, one of the table of this module.
        status: Status of the response, or 0.
        retry_after: Seconds that the server asks to wait, or None.
        lost: Whether the request may have reached the server, and no status came back.
    """

    def __init__(
        self, host: str, reason: str, *, status: int = 0, retry_after: float | None = None, lost: bool = False
    ) -> None:
        super().__init__(f"{host}: {reason}")
        self.place, self.cause, self.advice = host, "", ""
        self.host, self.reason = host, reason
        self.status, self.retry_after = status, retry_after
        self.lost = lost
