"""One logical call, and the origin that its state is kept by."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

Body: TypeAlias = Literal["none", "replayable", "rewindable", "once"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Call(NamedTuple):
    """One logical call, as policies see it.

    Attributes:
        method: Upper-case HTTP method.
        url: Absolute URL.
        body: Whether the body can be sent again: "none", "replayable" (several times at once), "rewindable" (one
            after the other) or "once".
        started: When the call began, in seconds of the shell's clock.
        deadline: When it must be over, on the same clock, or None.
        idempotent: Whether the user declared it safe to send again, whatever the method.
        credential: A digest of the credential that it carries, or an empty string.
        identity: A digest of all that its answer may depend on besides the URL, where a policy keeps answers.
        attempt: 1, and one more for every attempt before this one that failed or was late.
        anonymous: Whether the shell leaves out all that could be a credential.
        stored_token: What a token store holds, where the call is to refresh it.
        tenant: On whose behalf it is made, or an empty string.
        key: Its idempotency key, or an empty string.
        content: A digest of method and body, where a policy keeps a record of keys.
        secret_parameters: Names of the query parameters that hold a credential, where a policy keeps a record of keys.
    """

    method: str
    url: str
    body: Body = "none"
    started: float = 0.0
    deadline: float | None = None
    idempotent: bool = False
    credential: str = ""
    identity: str = ""
    attempt: int = 1
    anonymous: bool = False
    stored_token: str = ""
    tenant: str = ""
    key: str = ""
    content: str = ""
    secret_parameters: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True) if name != "stored_token")
        return f"Call({', '.join(shown)})"

    def with_deadline(self, deadline: float) -> Call:
        """Return the call with another deadline; `_replace` takes several times as long."""
        return tuple.__new__(Call, (*self[:4], deadline, *self[5:]))

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454), the default port left out: what state is keyed by."""
        return _origin_and_host(self.url)[0]

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return _origin_and_host(self.url)[1]


def origin(url: str) -> str:
    """Return scheme, host and port of a URL in lower case, without credentials and default port (RFC 6454)."""
    return _origin_and_host(url)[0]


def _origin_and_host(url: str) -> tuple[str, str]:
    end = url.find("/", url.find("://") + 3)
    return _parsed(url if end < 0 else url[:end])


@lru_cache(maxsize=1024)
def _parsed(prefix: str) -> tuple[str, str]:
    try:
        parts = urlsplit(prefix)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        scheme, slashes, rest = prefix.rpartition("://")
        rest = rest.rpartition("@")[2]  # what cannot be read may hold a credential all the same
        return scheme + slashes + rest, rest
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}", host
