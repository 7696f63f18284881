"""Adapters of one policy each, made of the policy or of its keywords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter

from polvo_adapters.policies import stack
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
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
        RetryLike,
    )


class RetryAdapter(PolicyAdapter):
    """Retries alone.

    Args:
        policy: An ExponentialBackoff or a urllib3 `Retry`; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the retry budget lives.
        **keywords: Those of ExponentialBackoff, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self, policy: RetryLike = None, *, inner: BaseAdapter | None = None, store: Store | None = None, **keywords: Any
    ) -> None:
        from polvo_adapters.policies.retry import ExponentialBackoff

        made = stack.retry_policy(_given(self, policy, ExponentialBackoff, keywords))
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


class RateLimitAdapter(PolicyAdapter):
    """A rate limit alone: no request before its time.

    Args:
        policy: "adaptive" to read the quota from the answers, or a policy; by default an Adaptive made of the
            keywords.
        inner: The adapter to send through.
        store: Where the state lives; share it to share the quota between adapters.
        **keywords: Those of Adaptive, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: RateLimitLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.ratelimit.policy import AdaptiveRateLimit

        made = stack.rate_limit_policy(
            _given(self, None if policy == "adaptive" else policy, AdaptiveRateLimit, keywords)
        )
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


class BreakerAdapter(PolicyAdapter):
    """A circuit breaker alone: no calls to a host that keeps failing.

    Args:
        policy: A CircuitBreaker; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the circuits live; share it to share them between adapters.
        **keywords: Those of CircuitBreaker, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: CircuitBreakerLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.breaker.policy import CircuitBreaker

        made = stack.circuit_breaker_policy(_given(self, policy, CircuitBreaker, keywords))
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


class BulkheadAdapter(PolicyAdapter):
    """A bulkhead alone: so many calls at a time, and no more.

    Args:
        policy: How many, "adaptive" to find out, or a policy; by default a Bulkhead made of the keywords.
        inner: The adapter to send through; without one the connection pool is made large enough.
        store: Where the slots live; share it to share them between adapters.
        **keywords: Those of Bulkhead, or of Adaptive where the policy is "adaptive", of PolicyAdapter and of
            `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: BulkheadLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.bulkhead.policy import AdaptiveBulkhead, Bulkhead

        if policy == "adaptive":
            policy = AdaptiveBulkhead(**_own(AdaptiveBulkhead, keywords))
        made = _made(self, policy, stack.bulkhead_policy(_given(self, policy, Bulkhead, keywords, "max_concurrency")))
        if inner is None:
            keywords.setdefault("pool_maxsize", stack.slots((made,)))
        super().__init__(made, inner=inner, store=store, **keywords)


class HedgeAdapter(PolicyAdapter):
    """A hedge alone: a call that is late is sent a second time, and the first answer wins.

    Args:
        policy: After how many seconds, or a Hedge; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the latencies live, and the budget.
        **keywords: Those of Hedge, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self, policy: HedgeLike = None, *, inner: BaseAdapter | None = None, store: Store | None = None, **keywords: Any
    ) -> None:
        from polvo_adapters.policies.hedge import Hedge

        made = stack.hedge_policy(_given(self, policy, Hedge, keywords, "delay"), alone=True)
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


class RegionsAdapter(PolicyAdapter):
    """Regions alone: one service at several base URLs.

    Args:
        policy: The base URLs, or a Regions; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where state lives.
        **keywords: Those of Regions, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: RegionsLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.regions import Regions

        made = stack.regions_policy(_given(self, policy, Regions, keywords, "urls"))
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


class FallbackAdapter(PolicyAdapter):
    """A fallback alone: something else in place of a failure.

    Args:
        policy: What else, or a Fallback; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the last good responses live.
        **keywords: Those of Fallback, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: FallbackLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.fallback.policy import Fallback

        own = _own(Fallback, keywords)
        if not isinstance(policy, Fallback):
            policy = stack.fallback_policy(policy, **own) or Fallback(**own)
        elif own:
            raise TypeError(f"{type(self).__name__}: {', '.join(own)} beside a policy; give one or the other")
        super().__init__(policy, inner=inner, store=store, **keywords)


class IdempotencyAdapter(PolicyAdapter):
    """Idempotency keys alone: one per call, on all that is sent for it.

    Args:
        policy: True, "unique", "hash", or an IdempotencyKeys; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the record lives, if there is one; a `SQLiteStore` outlives the process.
        **keywords: Those of IdempotencyKeys, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: IdempotencyLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        from polvo_adapters.policies.idempotency.policy import IdempotencyKeys

        given = None if policy is True else policy
        made = stack.idempotency_policy(_given(self, given, IdempotencyKeys, keywords, "strategy"))
        super().__init__(_made(self, policy, made), inner=inner, store=store, **keywords)


def _own(kind: type, keywords: dict[str, Any]) -> dict[str, Any]:
    """Take those of the keywords that belong to a kind of policy."""
    known = {field.name for field in fields(kind) if field.init}
    return {name: keywords.pop(name) for name in list(keywords) if name in known}


def _given(adapter: PolicyAdapter, policy: Any, kind: type, keywords: dict[str, Any], first: str = "") -> Any:
    """Return the policy, or the keywords that one is to be made of; `first` is the one that may stand alone."""
    own = _own(kind, keywords)
    if policy is None:
        return own
    if not own:
        return policy
    if first in ("", *own) or hasattr(policy, "flow") or isinstance(policy, Mapping):
        raise TypeError(f"{type(adapter).__name__}: {', '.join(own)} beside a policy; give one or the other")
    return {first: policy, **own}


def _made(adapter: PolicyAdapter, policy: object, made: Any) -> Any:
    if made is None:
        raise TypeError(f"{type(adapter).__name__}: {policy!r} is no policy of its kind")
    return made
