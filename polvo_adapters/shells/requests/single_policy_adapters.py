"""Adapters of one policy each, made of the policy or of its keywords.

The subclasses of SinglePolicyAdapter are the rows of a table: the keyword of the standard stack, the class of the
policy, and the keyword of the policy that a plain value stands for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar

from requests.adapters import BaseAdapter

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.options import (
    BulkheadLike,
    CircuitBreakerLike,
    FallbackLike,
    HedgeLike,
    IdempotencyLike,
    RateLimitLike,
    RegionsLike,
    RetryLike,
)
from polvo_adapters.policies.stack import make_policy
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter, fit_pool
from polvo_adapters.stores.base import Store

PolicyLike = TypeVar("PolicyLike")


class SinglePolicyAdapter(PolicyAdapter, Generic[PolicyLike]):
    """An adapter of one policy.

    Args:
        policy: The policy, or what stands for it in `polvo_adapters.policies.options`; by default one made of the
            keywords.
        inner: The adapter to send through; without one this adapter has connection pools of its own.
        store: Where the state of the policy lives; share it to share the state between adapters.
        **keywords: Those of the policy, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.

    Raises:
        TypeError: The policy is of another kind, keywords of the policy stand beside a policy, or one is unknown.
    """

    _option: ClassVar[str]
    """Keyword of the standard stack."""
    _kinds: ClassVar[dict[Any, str]]
    """Module and class of the policy, below `polvo_adapters.policies`, by the word, or the True, that chooses it."""
    _plain: ClassVar[str] = ""
    """Keyword of the policy that a plain value stands for; with one, further keywords may be given beside the value."""
    _defaults: ClassVar[dict[str, Any]] = {}
    """Defaults that differ from those of the policy."""

    def __init__(
        self,
        policy: PolicyLike | None = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        only = self._make_policy(policy, keywords)
        if inner is None:
            fit_pool(keywords, (only,))
        super().__init__(only, inner=inner, store=store, **keywords)

    def _make_default_policies(self) -> tuple[Policy, ...]:
        return (self._make_policy(None, {}),)

    def _make_policy(self, given: Any, keywords: dict[str, Any]) -> Any:
        """Take the keywords of the policy out of all keywords, and make it of them and of the given value."""
        by_name = (given is True or isinstance(given, str)) and given in self._kinds
        module, _, name = self._kinds[given if by_name else None].partition(":")
        kind = getattr(importlib.import_module(f"polvo_adapters.policies.{module}"), name)
        known = {field.name for field in fields(kind) if field.init}
        own = {name: keywords.pop(name) for name in list(keywords) if name in known}
        if by_name or given is None:
            if self._option == "regions" and "urls" not in own:
                raise TypeError(f"{type(self).__name__}: urls is missing; name the base URLs of the service")
            return kind(**{**self._defaults, **own})
        if own and (self._plain in ("", *own) or hasattr(given, "flow") or isinstance(given, Mapping)):
            raise TypeError(f"{type(self).__name__}: {', '.join(own)} beside a policy; give one or the other")
        made = make_policy(self._option, given, f"{type(self).__name__}: {self._option}", **{**self._defaults, **own})
        if made is None:
            raise TypeError(f"{type(self).__name__}: {given!r} is no policy of its kind")
        return made


class RetryAdapter(SinglePolicyAdapter[RetryLike]):
    """Retries alone; the policy is an ExponentialBackoff or a urllib3 `Retry`."""

    _option, _kinds = "retry", {None: "retry:ExponentialBackoff"}


class RateLimitAdapter(SinglePolicyAdapter[RateLimitLike]):
    """A rate limit alone: no request before its time. By default an AdaptiveRateLimit, made of its keywords."""

    _option = "rate_limit"
    _kinds = dict.fromkeys((None, "adaptive"), "ratelimit:AdaptiveRateLimit")


class BreakerAdapter(SinglePolicyAdapter[CircuitBreakerLike]):
    """A circuit breaker alone: no calls to a host that keeps failing."""

    _option, _kinds = "circuit_breaker", {None: "breaker:CircuitBreaker"}


class BulkheadAdapter(SinglePolicyAdapter[BulkheadLike]):
    """A bulkhead alone: at most so many calls at a time; "adaptive" finds out how many.

    Without `inner` the connection pool is made large enough.
    """

    _option, _plain = "bulkhead", "max_concurrency"
    _kinds = {None: "bulkhead:Bulkhead", "adaptive": "bulkhead:AdaptiveBulkhead"}


class HedgeAdapter(SinglePolicyAdapter[HedgeLike]):
    """A hedge alone: a late call is sent a second time, and the first response wins.

    The policy may be the seconds after which a call is late.
    """

    _option, _kinds, _plain = "hedge", {None: "hedge:Hedge"}, "delay"
    _defaults = {"budget": None}  # no retries pay into it


class RegionsAdapter(SinglePolicyAdapter[RegionsLike]):
    """Regions alone: one service at several base URLs; the policy may be those URLs."""

    _option, _kinds, _plain = "regions", {None: "regions:Regions"}, "urls"


class FallbackAdapter(SinglePolicyAdapter[FallbackLike]):
    """A fallback alone: an alternative takes the place of a failure; the policy may be that alternative."""

    _option, _kinds, _plain = "fallback", {None: "fallback:Fallback"}, "alternatives"


class IdempotencyAdapter(SinglePolicyAdapter[IdempotencyLike]):
    """Idempotency keys alone: one per call, on every attempt at it; the policy may be True, "unique" or "hash".

    A record of keys outlives the process in a `SQLiteStore`.
    """

    _option, _plain = "idempotency", "strategy"
    _kinds = dict.fromkeys((None, True), "idempotency:IdempotencyKeys")
