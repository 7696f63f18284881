"""What a server says about its quotas, in headers and bodies, as numbers.

Theory of operation. Servers announce quotas in some twenty dialects. What they mean is the same: a name, a size,
what is left, and when there is more. `parse` turns the headers of one response into a list of `Quota`, one for
each quota that the response speaks of; `parse_body` does so for the few APIs that put it into the body;
`throttled` tells whether, and how, a response is a refusal for want of quota, which is not always a 429;
`retry_after` and `should_retry` read what the server says about coming back.

    names        a header name ──▶ which dialect, which dimension, which role; remembered by name
    reading      headers ──▶ known fields ──▶ the readers of their dialects ──▶ distinct quotas ──▶ resets from now
    ietf         the four generations of the RateLimit drafts, on top of `structured` (RFC 9651)
    vendors      everybody else
    resets       a text ──▶ seconds or a moment: magnitude, dates, durations, clock skew
    times        Retry-After, dates, verdicts
    throttling   status, headers and body ──▶ whether this is a refusal; `body` knows what bodies say

Nothing here raises: what makes no sense is not there. Values longer than 4 KiB are not looked at, and no response
yields more than 32 quotas, so that the work for one response is bounded, whoever sent it. There is no clock in
here either; the caller says what time it is.

The parts are loaded when they are first used (PEP 562): a program that never meets a quota does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.headers.times import retry_after, should_retry

if TYPE_CHECKING:
    from polvo_adapters.headers.body import parse_body
    from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY, Quota, Throttled
    from polvo_adapters.headers.reading import parse
    from polvo_adapters.headers.throttling import throttled

__all__ = [
    "CERTAIN",
    "GUESSED",
    "LIKELY",
    "Quota",
    "Throttled",
    "parse",
    "parse_body",
    "retry_after",
    "should_retry",
    "throttled",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home: Any
    if name == "parse":
        from polvo_adapters.headers import reading as home
    elif name == "throttled":
        from polvo_adapters.headers import throttling as home
    elif name == "parse_body":
        from polvo_adapters.headers import body as home
    else:
        from polvo_adapters.headers import quota as home
    value: Any = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
