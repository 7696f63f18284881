"""The keywords of the standard stack, once for every class and function that takes them.

`polvo.Session`, `polvo.ResilientAdapter`, `polvo.install` and `polvo_adapters.policies.stack.standard` take them by
`**options: Unpack[StackOptions]`, so that editors and type checkers complete and check each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from urllib3 import Retry

    from polvo_adapters.core.notices import CallEvent
    from polvo_adapters.policies.asked_retry import AskedRetry
    from polvo_adapters.policies.breaker import CircuitBreaker
    from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
    from polvo_adapters.policies.call_listeners import CallListeners
    from polvo_adapters.policies.deadline import CallDeadline, Deadline
    from polvo_adapters.policies.fallback import Alternative, Fallback
    from polvo_adapters.policies.hedge import Hedge
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.ratelimit import RateLimit
    from polvo_adapters.policies.regions import Regions
    from polvo_adapters.policies.request_ids import RequestIDs
    from polvo_adapters.policies.resume import Resume
    from polvo_adapters.policies.retry import ExponentialBackoff

RetryLike: TypeAlias = "ExponentialBackoff | AskedRetry | Retry | Mapping[str, Any] | bool | None"
DeadlineLike: TypeAlias = "Deadline | CallDeadline | float | Literal[False] | None"
RateLimitLike: TypeAlias = "RateLimit | str | Mapping[str, Any] | Literal[False] | None"
CircuitBreakerLike: TypeAlias = "CircuitBreaker | Mapping[str, Any] | bool | None"
BulkheadLike: TypeAlias = "Bulkhead | AdaptiveBulkhead | Mapping[str, Any] | int | str | None"
HedgeLike: TypeAlias = "Hedge | Mapping[str, Any] | float | bool | None"
FallbackLike: TypeAlias = "Fallback | Alternative | Sequence[Alternative] | Literal[False] | None"
RegionsLike: TypeAlias = "Regions | Sequence[str] | Mapping[str, Any] | Literal[False] | None"
IdempotencyLike: TypeAlias = "IdempotencyKeys | Mapping[str, Any] | str | bool | None"
ListenersLike: TypeAlias = "CallListeners | Sequence[Callable[[CallEvent], object]] | Literal[False] | None"
RequestIDLike: TypeAlias = "RequestIDs | str | bool | None"
ResumeLike: TypeAlias = "Resume | bool | None"


class OptionalPolicies(TypedDict, total=False):
    """The policies that are off unless they are asked for. A mapping stands for a policy made of its keywords.

    False switches each of them off, as None does.

    Attributes:
        rate_limit: "adaptive" to read the quota from the responses, a TokenBucket or SlidingWindow for a known rate, an
            AdaptiveRateLimit or a mapping of its keywords, or None for no limit.
        circuit_breaker: True for the defaults, a CircuitBreaker, a mapping of its keywords, or None for none.
        bulkhead: Number of calls at a time, "adaptive" to find it out, a Bulkhead, a mapping of its keywords, or None.
        hedge: True to send a late call a second time, the seconds after which it is late, a Hedge, a mapping of its
            keywords, or None.
        fallback: "stale" for the last good response, other alternatives to a failure, a Fallback, or None.
        regions: Base URLs of the same service, a Regions, a mapping of its keywords, or None.
        idempotency: True for a key per call, by which the server recognizes a repeat, "hash" for a key made of the
            request, an IdempotencyKeys, a mapping of its keywords, or None. With keys, POST and PATCH are retried too.
        request_id: True for an `X-Request-ID` per call, the name of another header, a RequestIDs, or None.
        resume: True for streamed bodies that go on where they broke off, as often as they are retried; a Resume, or
            None. See `polvo_adapters.policies.resume`.
        listeners: Functions that are called with a `CallEvent` for everything that is decided about a call, or None.
    """

    rate_limit: RateLimitLike
    circuit_breaker: CircuitBreakerLike
    bulkhead: BulkheadLike
    hedge: HedgeLike
    fallback: FallbackLike
    regions: RegionsLike
    idempotency: IdempotencyLike
    request_id: RequestIDLike
    resume: ResumeLike
    listeners: ListenersLike


class StackOptions(OptionalPolicies, total=False):
    """All keywords of the standard stack: the optional policies, retries and the deadline. False switches each off.

    Attributes:
        retry: True for the defaults, False or None for no retries, an ExponentialBackoff, a mapping of its keywords,
            or a urllib3 `Retry`, which is asked after each attempt.
        deadline: Seconds for a whole call: attempts, waits, redirects and body; a Deadline, or None for no limit.
    """

    retry: RetryLike
    deadline: DeadlineLike
