"""What goes over the wire for a call, and what a reply is made of, for both kinds of clients.

An exception of the transport is not passed on: its text may hold a URL with a query, and its request the credential.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from polvo_adapters import headers as quota_headers
from polvo_adapters.core.calls import find_host, origin
from polvo_adapters.errors import ConfigurationError, PolvoError, TokenRefreshError
from polvo_adapters.services.taruvi.credentials import Credential
from polvo_adapters.services.taruvi.operations import NO_BODY, Call, Reply
from polvo_adapters.services.taruvi.settings import ClientSettings
from polvo_adapters.version import __version__

FOLLOWED = ("GET", "HEAD")
"""Methods whose redirects are followed by the session; those of others keep their method and body, or are refused."""

_CLIENT = f"polvo_adapters/{__version__} (python/{platform.python_version()})"
_MOVED = (307, 308)
_LOGIN_REFUSALS = (400, 401, 403)


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

    def bound(self, call: Call, left: float | None) -> dict[str, Any]:
        """Return the limits of a call in seconds: of each attempt, and of all of them together.

        Args:
            call: The call.
            left: Seconds that are left for the operations that it is one of, or None.
        """
        timeout = self.settings.timeout if call.timeout is None else call.timeout
        whole = timeout * (self.settings.max_retries + 1) + 2.0**self.settings.max_retries
        return {"timeout": timeout, "deadline": whole if left is None else max(0.001, min(whole, left))}

    def reply(
        self, call: Call, status: int, headers: Mapping[str, str], body: bytes, url: str, attempts: int, now: float
    ) -> Reply:
        """Return the reply that a response is."""
        return Reply(
            status=status,
            body=body,
            kind=headers.get("Content-Type", ""),
            headers=headers,
            host=find_host(self.settings.api_url),
            retry_after=quota_headers.retry_after(headers, now),
            attempts=attempts,
            is_authenticated=self.credential.auth is not None and not call.anonymous,
            secret=self.credential.secret,
            moved=self._find_moved(call, status, headers.get("Location", ""), url),
        )

    def failure(self, error: BaseException, name: str, *, is_timeout: bool, attempts: int) -> Reply:
        """Return the reply that a failure is.

        Args:
            error: The exception.
            name: What happened, in a few words.
            is_timeout: Whether time was up.
            attempts: How often the request was sent.
        """
        reason = "timeout" if is_timeout else "connection"
        # The messages of this library's errors hold no secret by design; those of others may.
        problem = str(error) if isinstance(error, PolvoError) else f"{name} ({type(error).__name__})"
        if isinstance(error, ConfigurationError):
            reason = "argument"
        if isinstance(error, TokenRefreshError):
            problem = f"the login failed: {problem}"
            if error.status in _LOGIN_REFUSALS:
                reason = "login"
            elif 200 <= error.status < 300:
                reason = "answer"
        return Reply(
            host=find_host(self.settings.api_url),
            retry_after=getattr(error, "retry_after", None),
            attempts=getattr(error, "attempts", 0) or attempts,
            problem=problem,
            reason=reason,
        )

    def _find_moved(self, call: Call, status: int, location: str, url: str) -> str:
        """Return the path below that of the API that a call has moved to, or an empty string."""
        if status not in _MOVED or not location or call.method in FOLLOWED:
            return ""
        target, base = urljoin(url, location), self.settings.api_url
        prefix = urlsplit(base).path
        parts = urlsplit(target)
        if origin(target) != origin(base) or not parts.path.startswith(f"{prefix}/"):
            return ""
        return parts.path[len(prefix) :] + (f"?{parts.query}" if parts.query else "")
