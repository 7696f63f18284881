"""One logical call, and the origin by which its state is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.redaction import strip_url

Body: TypeAlias = Literal["none", "replayable", "rewindable", "once", "single-use"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Call(NamedTuple):
    """One logical call, as policies see it.

    Attributes:
        method: Upper-case HTTP method.
        url: Absolute URL.
        body: Whether the body can be sent again: "none", "replayable" (several times at once), "rewindable" (one after
            the other), "once", or "single-use" where a signature may not be sent twice.
        started: When the call began, in seconds of the shell's clock.
        deadline: When the call must be over, on the same clock, or None.
        idempotent: Whether the caller declared it safe to send again, whatever the method.
        credential: Digest of what tells the caller, or an empty string; see `polvo_adapters.core.identity`.
        identity: Digest of all that may select the response, where a policy keeps responses.
        attempt: 1, plus the number of earlier attempts that failed or were late.
        anonymous: Whether the shell leaves out all that could be a credential.
        stored_token: Content of a token store, where the call is to refresh it.
        tenant: Name of the tenant that the call is made for, or an empty string.
        key: The idempotency key, or an empty string.
        content: Digest of method and body, where a policy keeps a record of keys.
        secret_parameters: Names of the query parameters in which an auth object of this package has put a credential.
        request_id: The request id, where a policy gives calls one, or an empty string.
        selectors: Digests of each thing that may select the response, where a policy keeps a record of keys.
        asked: Whether the shell sends by urllib3, so that a `Retry` of the caller's can be asked after each attempt.
        repeated: Whether the same request was given up before, so that the code above repeats it.
        unsafe: Whether the caller declared it not safe to send again, whatever the method.
        labels: Names and values that the caller gave it, for reports, the log and listeners; never for keys of state.
        listeners: Functions that are called with a `CallEvent` for everything that is decided about it.
        rerouted: Whether it goes to another server than the caller named, by a fallback or a redirect, so that regions
            leave it alone.
        judges: Functions of the user's own that say what an answer is; see `polvo_adapters.core.judges`.
        patient: Whether waits between attempts do not count against its deadline.
        place: Its URL, and the origin and the host of that, where the shell has worked them out.
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
    request_id: str = ""
    selectors: str = ""
    asked: bool = False
    repeated: bool = False
    unsafe: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    listeners: tuple[Callable[[Any], object], ...] = ()
    rerouted: bool = False
    judges: tuple[Callable[[Any], Any], ...] = ()
    patient: bool = False
    place: tuple[str, str, str] | None = None

    @property
    def is_one_shot(self) -> bool:
        """Whether the request can be sent once, for its body or its signature."""
        return self.body == "once" or self.body == "single-use"

    def __repr__(self) -> str:
        hidden = ("stored_token", "place")
        shown = {name: value for name, value in zip(self._fields, self, strict=True) if name not in hidden}
        shown["url"] = strip_url(self.url)
        return f"Call({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def with_deadline(self, deadline: float | None) -> Call:
        """Return the call with another deadline, several times as fast as `_replace`."""
        return new_tuple(Call, (*self[:4], deadline, *self[5:]))

    def after_wait(self, seconds: float) -> Call:
        """Return the call after a wait between attempts, with a later deadline where waits do not count."""
        return self.with_deadline(self.deadline + seconds) if self.patient and self.deadline is not None else self

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454), without the default port: the key of state."""
        place, url = self.place, self.url
        return place[1] if place is not None and place[0] is url else _origin_and_host(url)[0]

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        place, url = self.place, self.url
        return place[2] if place is not None and place[0] is url else _origin_and_host(url)[1]


def find_place(url: str) -> tuple[str, str, str]:
    """Return a URL, its origin and its host, as `Call.place` has them."""
    origin, host = _origin_and_host(url)
    return url, origin, host


def origin(url: str) -> str:
    """Return scheme, host and port of a URL in lower case, without credentials and default port (RFC 6454)."""
    return _origin_and_host(url)[0]


def find_host(url: str) -> str:
    """Return host and port of a URL, without the default port, for messages."""
    return _origin_and_host(url)[1]


def _origin_and_host(url: str) -> tuple[str, str]:
    end = url.find("/", url.find("://") + 3)
    prefix = url if end < 0 else url[:end]
    if "@" in prefix or "?" in prefix:  # a cache of the process keeps nothing that may be a credential
        return _parse_prefix(prefix)
    return _parse_known_prefix(prefix)


@lru_cache(maxsize=1024)
def _parse_known_prefix(prefix: str) -> tuple[str, str]:
    return _parse_prefix(prefix)


def _parse_prefix(prefix: str) -> tuple[str, str]:
    try:
        parts = urlsplit(prefix)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        scheme, slashes, rest = prefix.rpartition("://")
        rest = rest.rpartition("@")[2]  # a URL that cannot be read may still hold a credential
        return scheme + slashes + rest, rest
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}", host
