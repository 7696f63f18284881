"""A quota and a refusal, in the same form for every dialect.

Theory of operation. What is absent is None, never 0: a server that does not say how much is left has not said that
nothing is. Times are seconds from now, so that the clock of the server does not matter.

Two numbers tell how far to trust a quota: `confidence` says how sure the reading is, `resolution` by how much the reset
may be off because the server rounded it. A client that waits for `reset + resolution` is on the safe side.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

CERTAIN = 1.0
"""The dialect fixes name and unit, or the value says its own unit, as a date does."""
LIKELY = 0.9
"""The unit follows from the magnitude, and no other would fit: a Unix time, not a delay of fifty years."""
GUESSED = 0.6
"""The number may have another meaning, or was computed from other numbers."""


class Quota(NamedTuple):
    """One quota as a server announced it.

    Attributes:
        name: The server's own name for the policy, resource, bucket or dimension, in lower case where it is a
            part of a header name: "core", "requests", "tokens", "daily", "minute"; "" where it has none.
        limit: Size in `unit`, per window, or the capacity of a bucket.
        remaining: What is left, in `unit`.
        reset: Seconds from now until there is quota, or more of it; never negative.
        window: Length of the window in seconds; of a bucket, the time in which it refills from empty.
        unit: "requests", "tokens", "content-bytes", "concurrent-requests", "points", "percent", "requests-per-second"
            (then `limit` is a rate), or what the server calls it.
        scope: What it counts for: "", "user", "app", "global" (all requests count in it), "shared", or the partition
            key (`pk`, as sent) of the IETF drafts from the eighth on.
        confidence: How sure the reading is: `CERTAIN`, `LIKELY` or `GUESSED`.
        resolution: By how many seconds `reset` may be too early or too late because it was announced in whole
            seconds (1.0) or minutes (60.0); 0.0 if it is exact.
        dialect: How it was announced: "ietf-03", "ietf-06", "ietf-07", "ietf-08", "x-ratelimit", or the vendor.
        group: The server's own bucket or resource that separates state for the same key: resource of GitHub,
            bucket of Discord, endpoint of Linear, name of GitLab; else "".
    """

    name: str = ""
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    window: float | None = None
    unit: str = "requests"
    scope: str = ""
    confidence: float = CERTAIN
    resolution: float = 0.0
    dialect: str = ""
    group: str = ""


Kind: TypeAlias = Literal["rate", "concurrency", "exhausted"]


class Throttled(NamedTuple):
    """A server's refusal to process this request now.

    Attributes:
        kind: "rate" asks for a slower pace, "concurrency" for fewer requests at once; "exhausted" means that a
            plan's quota is used up, so that waiting for seconds does not help.
        retry_after: Seconds until the server wants the request again, or None where it did not say.
        quotas: Names of the violated quotas where the server names them; they match `Quota.name` where the
            response announced the quota as well.
        reason: Short words for a person: "429", "403, GitHub secondary rate limit", "200, GraphQL THROTTLED".
        scope: What it is about: "global" for everything, "method" for this method of the API alone, "user", "shared",
            or "" where the server does not say.
        processed: Whether a part of the request was processed all the same, so that a repeat may do that part twice.
    """

    kind: Kind
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()
    reason: str = ""
    scope: str = ""
    processed: bool = False


class Complaint(NamedTuple):
    """A refusal that a body states.

    Attributes:
        kind: As in `Throttled`.
        reason: Short words for a person: "GraphQL THROTTLED", "insufficient_quota".
        retry_after: Seconds until the server wants the request again, or None.
        quotas: Names of the violated quotas.
        exact: Whether `retry_after` is finer than what the headers say.
        pause: Seconds to wait where nothing else is known, or None.
        scope: As in `Throttled`.
        processed: As in `Throttled`.
        moment: Unix time until which the server asks to wait, by its own clock, or None.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()
    exact: bool = False
    pause: float | None = None
    scope: str = ""
    processed: bool = False
    moment: float | None = None
