"""What goes over the wire for a call, and what a reply is made of, for both kinds of clients.

An exception of the transport is not passed on: its text may hold a URL with a query, and its request the credential.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import requests

from polvo_adapters import headers as quota_headers
from polvo_adapters.core.calls import find_host, origin
from polvo_adapters.errors import ConfigurationError, PolvoError, RateLimitError, TokenRefreshError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.taruvi.credentials import Credential
from polvo_adapters.services.taruvi.operations import NO_BODY, Call, Reply
from polvo_adapters.services.taruvi.settings import ClientSettings
from polvo_adapters.version import __version__

FOLLOWED = ("GET", "HEAD")
"""Methods whose redirects are followed by the session; those of others keep their method and body, or are refused."""

_CLIENT = f"polvo_adapters/{__version__} (python/{platform.python_version()})"
_MOVED = (307, 308)
_SHORTEST_SECRET = 4  # what is shorter stands in many a text by chance


@unpicklable
class WireResponse(NamedTuple):
    """A response, in the terms of no library.

    Attributes:
        status: Its status.
        headers: Its headers.
        body: Its body.
        url: URL that it came from.
        attempts: How often the request was sent.
        now: The time of day.
        sent: The headers of the request, and of those that were redirected.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    attempts: int
    now: float
    sent: Sequence[Mapping[str, Any]]

    def __repr__(self) -> str:
        return f"<WireResponse {self.status}>"


class Wire(NamedTuple):
    """What a client sends with its calls.

    Attributes:
        settings: The settings of the client.
        credential: What authenticates it.
        headers: The headers of every call.
    """

    settings: ClientSettings
    credential: Credential
    headers: Mapping[str, str]

    @classmethod
    def of(cls, settings: ClientSettings, credential: Credential) -> Wire:
        """Return what a client with these settings sends."""
        fields = {"Accept": "application/json", "User-Agent": _CLIENT, "X-Taruvi-Client": _CLIENT, **settings.execution}
        if settings.site_slug is not None:
            fields["Host"] = f"{settings.site_slug}.localhost"
        return cls(settings, credential, fields)

    def encode(self, call: Call) -> tuple[str, dict[str, str], bytes | None]:
        """Return URL, headers and body of a call; the body is None where it has files or none."""
        fields = dict(self.headers)
        if not call.files:
            fields["Content-Type"] = "application/json"
        body = None if call.body is NO_BODY else json.dumps(call.body).encode()
        return self.settings.api_url + call.path, fields, body

    def reply(self, call: Call, received: WireResponse) -> Reply:
        """Return the reply that a response is."""
        headers = received.headers
        return Reply(
            status=received.status,
            body=received.body,
            kind=headers.get("Content-Type", ""),
            headers=headers,
            host=find_host(self.settings.api_url),
            retry_after=quota_headers.retry_after(headers, received.now),
            attempts=received.attempts,
            is_authenticated=self.credential.auth is not None and not call.anonymous,
            secrets=_list_secrets(call, self.credential, received.sent),
            moved=self._find_moved(call, received),
        )

    def failure(self, error: BaseException, name: str, *, is_timeout: bool, attempts: int) -> Reply:
        """Return the reply that a failure is.

        Args:
            error: The exception.
            name: What happened, in a few words.
            is_timeout: Whether time was up.
            attempts: How often the request was sent.
        """
        # The messages of this library's errors hold no secret by design; those of others may.
        problem = str(error) if isinstance(error, PolvoError) else f"{name} ({type(error).__name__})"
        reason, status = _find_reason(error, is_timeout=is_timeout), 0
        if isinstance(error, TokenRefreshError):
            problem = problem if problem.startswith("the login") else f"the login failed: {problem}"
            if error.status:
                reason, status = ("response" if error.status < 300 else "login"), error.status
        return Reply(
            status=status,
            host=find_host(self.settings.api_url),
            retry_after=getattr(error, "retry_after", None),
            attempts=getattr(error, "attempts", 0) or attempts,
            problem=problem,
            reason=reason,
        )

    def _find_moved(self, call: Call, received: WireResponse) -> str:
        """Return the path below that of the API that a call has moved to, or an empty string."""
        location = received.headers.get("Location", "")
        if received.status not in _MOVED or not location or call.method in FOLLOWED:
            return ""
        base = self.settings.api_url
        try:
            target = urljoin(received.url, location)
            prefix, parts = urlsplit(base).path, urlsplit(target)
            is_near = origin(target) == origin(base) and parts.path.startswith(f"{prefix}/")
        except ValueError:
            return ""  # it is no URL
        if not is_near:
            return ""
        return parts.path[len(prefix) :] + (f"?{parts.query}" if parts.query else "")


def _find_reason(error: BaseException, *, is_timeout: bool) -> str:
    if isinstance(error, ConfigurationError):
        return "argument"
    if isinstance(error, RateLimitError):
        return "rate limit"
    if is_timeout or isinstance(error, requests.Timeout):
        return "timeout"
    is_other = isinstance(error, PolvoError) and not isinstance(error, (requests.ConnectionError, TokenRefreshError))
    return "other" if is_other or "Redirect" in type(error).__name__ else "connection"


def _list_secrets(call: Call, credential: Credential, sent: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what no text may show of a call, the longest first, also as it looks in JSON and in a URL."""
    found = {credential.secret, *call.secrets}
    for headers in sent:
        found.add(headers.get("Authorization", "").rpartition(" ")[2])
        found.add(headers.get("X-Session-Token", ""))
    texts = {form for text in found for form in (text, json.dumps(text)[1:-1], quote(text, safe=""))}
    return tuple(sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True))
