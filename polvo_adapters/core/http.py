"""Facts about HTTP that several policies and shells need: methods, header names, which headers to keep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from polvo_adapters.core.outcomes import Outcome

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What may be the name of a header: a token (RFC 9110 section 5.6.2)."""

_BODILESS = (204, 304)


def header_names(*groups: str) -> frozenset[str]:
    """Return the set of the header names in strings that separate them by spaces."""
    return frozenset(name for group in groups for name in group.split())


_FRAMING = frozenset({"connection", "keep-alive", "trailer", "transfer-encoding"})

_ON_THE_WIRE = _FRAMING | {"content-encoding", "content-length"}
"""Headers that describe the transmission of a body, and are wrong for a body that was not transmitted."""


def synthesized_headers(outcome: Outcome, method: str | None) -> dict[str, str]:
    """Return the headers of a response that no server has sent: those of the outcome, as they fit its body.

    Args:
        outcome: The outcome to make the response of.
        method: Method of the request; a response to HEAD describes a body that it does not have.
    """
    wrong = _FRAMING if method == "HEAD" else _ON_THE_WIRE
    headers = {name: value for name, value in outcome.headers.items() if name.lower() not in wrong}
    if method != "HEAD" and outcome.status not in _BODILESS:
        headers["Content-Length"] = str(len(outcome.body or b""))
    return headers


_TRANSIENT = _FRAMING | header_names(
    "age proxy-authenticate proxy-authentication-info proxy-connection set-cookie set-cookie2 te upgrade"
)


def lasting_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a response that are still true when the response is served again; cookies are left out."""
    return tuple([(name, value) for name, value in headers.items() if name.lower() not in _TRANSIENT])


def text_of(value: str | bytes) -> str:
    """Return the name or the value of a header as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Headers(Mapping[str, str]):
    """Names and values of headers; names are looked up in any case and keep theirs."""

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


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that ask for no change of state (RFC 9110 section 9.2.1)."""

IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}
"""Methods that may be repeated although the server may have acted (RFC 9110 section 9.2.2)."""
