"""Facts about HTTP that several policies and shells need: methods, and which headers may be kept or passed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from polvo_adapters.core.outcomes import Outcome

_BODILESS = (204, 304)

_FRAMING = frozenset({"connection", "keep-alive", "trailer", "transfer-encoding"})

ON_THE_WIRE = _FRAMING | {"content-encoding", "content-length"}
"""Headers that tell how a body was sent, and are wrong about one that was not."""


def headers_of(outcome: Outcome, method: str | None) -> dict[str, str]:
    """Return the headers of a response that no server has sent: those of the outcome, as they fit its body.

    Args:
        outcome: The outcome that the response is made of.
        method: Method of the request; an answer to HEAD describes a body that it does not have.
    """
    wrong = _FRAMING if method == "HEAD" else ON_THE_WIRE
    told = {name: value for name, value in outcome.headers.items() if name.lower() not in wrong}
    if method != "HEAD" and outcome.status not in _BODILESS:
        told["Content-Length"] = str(len(outcome.body or b""))
    return told


_HARMLESS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "prefer",
        "range",
        "soapaction",
        "te",
        "transfer-encoding",
        "user-agent",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)


def withheld(names: Iterable[str]) -> list[str]:
    """Return the names of headers that an anonymous request leaves out."""
    return [name for name in names if name.lower() not in _HARMLESS]


_DROPPED = frozenset(
    {
        "age",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "set-cookie",
        "set-cookie2",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def lasting(told: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a response that are still true when it is served again; no cookies."""
    return tuple([(name, value) for name, value in told.items() if name.lower() not in _DROPPED])


class Headers(Mapping[str, str]):
    """Names and values of headers; a name is found in any case, and keeps its own."""

    def __init__(self, named: tuple[tuple[str, str], ...]) -> None:
        self._named = {name.lower(): (name, value) for name, value in named}

    def __getitem__(self, name: str) -> str:
        return self._named[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._named.values())

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"Headers({list(self._named)})"


IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be repeated although the server may have acted (RFC 9110 section 9.2.2)."""
