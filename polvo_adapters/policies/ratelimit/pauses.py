"""For how long a response that is no refusal asks to wait."""

from __future__ import annotations

from polvo_adapters import headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.headers.body import find_pause

_ROUNDED = 1.5  # seconds by which two headers about one moment may differ


def read_pause(outcome: Outcome) -> tuple[float, bool]:
    """Return for how long a response that is no refusal asks to wait, and whether it speaks of a rate limit.

    A 202 means the progress of a job, and a redirect its target, not the next request (RFC 9110 section 10.2.3).

    Args:
        outcome: The outcome of an attempt.
    """
    if not 200 <= outcome.status < 300 or outcome.status in (201, 202):
        return 0.0, False
    pause = find_pause(outcome.body)
    if pause:
        return pause, False
    # To look for a header that is not there costs an exception in the mapping of requests.
    named = getattr(outcome.headers, "_store", outcome.headers)
    pause = headers.retry_after(outcome.headers, outcome.wall) if "retry-after" in named else None
    if not pause or _repeats_reset(pause, outcome):
        return 0.0, False
    return pause, any("ratelimit" in name.lower().replace("-", "") for name in outcome.headers)


def _repeats_reset(pause: float, outcome: Outcome) -> bool:
    """Return whether a Retry-After only repeats when a quota ends of which something is left.

    flask-limiter and slowapi send it so with every response. Azure DevOps means it, and sends a delay besides.
    """
    quotas = headers.parse(outcome.headers, outcome.status, outcome.wall)
    return any(
        quota.remaining and quota.reset is not None and abs(quota.reset - pause) <= _ROUNDED
        for quota in quotas
        if quota.dialect != "azure-devops"
    )
