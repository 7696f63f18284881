"""What a server says about its quotas, in headers and bodies, as numbers.

Theory of operation. Servers announce quotas in some twenty dialects that mean the same: a name, a size, what is left,
and when there is more. `parse` returns a `Quota` for each quota in the headers of a response, `parse_body` those of the
few APIs that announce quotas in the body. `throttled` returns whether, and how, a response refuses for want of quota,
which is not always a 429. `retry_after` and `should_retry` return what the server says about coming back.

    names        a header name ──▶ its dialect, dimension and role; remembered by name
    reading      headers ──▶ known fields ──▶ the readers of their dialects ──▶ distinct quotas ──▶ resets from now
    ietf         the four generations of the RateLimit drafts, on top of `structured` (RFC 9651)
    dialects     dialects that are rows of data, which users can add to
    vendors      all other dialects
    resets       a text ──▶ seconds or a moment: magnitude, dates, durations, clock skew
    times        Retry-After, verdicts, dates
    throttling   status, headers and body ──▶ whether this is a refusal
    complaints   what bodies say of one; `refusal_headers`: what headers say besides quotas

Nothing here raises an error: what makes no sense is left out. Values longer than 4 KiB are ignored, and no response
yields more than 32 quotas, so that the work for one response is bounded. There is no clock here; the caller passes
the time.

The modules are loaded when they are first used (PEP 562): a program that never meets a quota does not pay for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from polvo_adapters.headers.times import retry_after, should_retry

if TYPE_CHECKING:
    from polvo_adapters.headers.body import parse_body
    from polvo_adapters.headers.dialects import Dialect
    from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY, Quota, Throttled
    from polvo_adapters.headers.reading import parse, register
    from polvo_adapters.headers.throttling import throttled

__all__ = [
    "CERTAIN",
    "GUESSED",
    "LIKELY",
    "Dialect",
    "Quota",
    "Throttled",
    "parse",
    "parse_body",
    "register",
    "retry_after",
    "should_retry",
    "throttled",
]

_HOMES = {
    "Dialect": "dialects",
    "parse": "reading",
    "register": "reading",
    "parse_body": "body",
    "throttled": "throttling",
}
"""The modules of names; those of all others are in `quota`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'quota')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
