"""The standard stack as one adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter

from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.stack import RetryLike, slots, standard
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.requests.policy_adapter import DEFAULT_TIMEOUT, PolicyAdapter, asked_retry, nested_retry
from polvo_adapters.stores.base import Store

if TYPE_CHECKING:
    from polvo_adapters.policies.stack import (
        BulkheadLike,
        CircuitBreakerLike,
        FallbackLike,
        HedgeLike,
        IdempotencyLike,
        RateLimitLike,
        RegionsLike,
        RequestIDLike,
    )


class ResilientAdapter(PolicyAdapter):
    """The standard stack: everything that a call to somebody else's service needs, in the order that works.

    Mount it where one host misbehaves: `session.mount("https://api.example.com/", ResilientAdapter())`.

    Args:
        retry: True for the defaults, False for none, an ExponentialBackoff, a mapping of its keywords, or a
            urllib3 `Retry`. With True, a `Retry` found in `inner` or given as `max_retries` is translated and
            used.
        deadline: Seconds for the whole call, waits included; None for no limit.
        rate_limit: "adaptive" to read the quota from the answers, a TokenBucket or SlidingWindow to keep to one that
            you know, an Adaptive or a mapping of its keywords, or None.
        circuit_breaker: True for the defaults, a CircuitBreaker, a mapping of its keywords, or None.
        bulkhead: How many calls at a time, "adaptive" to find out, a Bulkhead or a mapping of its keywords, or None.
            The connection pool is made large enough for it, unless `pool_maxsize` or `inner` is given.
        hedge: True to send a late call a second time, after how many seconds, a Hedge or a mapping of its keywords,
            or None.
        fallback: "stale" for the last good response, what else to use in place of a failure, a Fallback, or None.
        regions: Base URLs of the same service, a Regions or a mapping of its keywords, or None.
        idempotency: True for a key per call by which the server tells a repeat from a second order, "hash", an
            IdempotencyKeys or a mapping of its keywords, or None. Then POST and PATCH are retried as well.
        request_id: True for an `X-Request-ID` per call, the name of another header, a RequestIDs, or None.
        inner: The adapter to send through.
        store: Where state lives; share it to share what was learned.
        timeout: Timeout of an attempt where the caller named none; None for no limit.
        clock: Time and chance.
        **http_adapter_keywords: Those of `requests.adapters.HTTPAdapter`, without `inner`.
    """

    def __init__(
        self,
        retry: RetryLike = True,
        deadline: float | Deadline | None = None,
        *,
        rate_limit: RateLimitLike = None,
        circuit_breaker: CircuitBreakerLike = None,
        bulkhead: BulkheadLike = None,
        hedge: HedgeLike = None,
        fallback: FallbackLike = None,
        regions: RegionsLike = None,
        idempotency: IdempotencyLike = None,
        request_id: RequestIDLike = None,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        timeout: float | tuple[float | None, float | None] | None = DEFAULT_TIMEOUT,
        clock: Clock = SYSTEM,
        **http_adapter_keywords: Any,
    ) -> None:
        if retry is True:
            retry = nested_retry(inner) or asked_retry(http_adapter_keywords.get("max_retries")) or True
        policies = standard(
            retry=retry,
            deadline=deadline,
            rate_limit=rate_limit,
            circuit_breaker=circuit_breaker,
            bulkhead=bulkhead,
            hedge=hedge,
            fallback=fallback,
            regions=regions,
            idempotency=idempotency,
            request_id=request_id,
        )
        if inner is None and slots(policies):
            http_adapter_keywords.setdefault("pool_maxsize", slots(policies))
        super().__init__(*policies, inner=inner, store=store, timeout=timeout, clock=clock, **http_adapter_keywords)
