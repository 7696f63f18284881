"""The standard order of policies, built from keywords.

Outermost first: idempotency keys, fallback, regions, hedge, total deadline, retry with its budget, circuit breaker and
bulkhead side by side, rate limit. The timeout of a single attempt is not a policy: it is what the shell hands to the
transport where the caller gave none.

    idempotency         one key, and one record, for everything that is done for a call
    fallback            what else there is when everything below has failed
    regions, hedge      several attempts at a time, each with all that is below
    deadline            no longer than that, whatever is waited for
    retry               each attempt asks anew what is below
    breaker, bulkhead   one question for both; an attempt that is refused has cost nothing
    rate limit          a turn is used up by what is really sent, and by nothing else
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff

if TYPE_CHECKING:
    from urllib3 import Retry

    from polvo_adapters.policies.breaker.policy import CircuitBreaker
    from polvo_adapters.policies.bulkhead import policy as bulkheads
    from polvo_adapters.policies.fallback.policy import Alternative, Fallback
    from polvo_adapters.policies.hedge import Hedge
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
    from polvo_adapters.policies.ratelimit.policy import RateLimit
    from polvo_adapters.policies.regions import Regions
    from polvo_adapters.policies.request_ids import RequestIDs

RetryLike: TypeAlias = "ExponentialBackoff | Retry | Mapping[str, Any] | bool | None"
RateLimitLike: TypeAlias = "RateLimit | str | Mapping[str, Any] | None"
CircuitBreakerLike: TypeAlias = "CircuitBreaker | Mapping[str, Any] | bool | None"
BulkheadLike: TypeAlias = "bulkheads.Bulkhead | bulkheads.AdaptiveBulkhead | Mapping[str, Any] | int | str | None"
HedgeLike: TypeAlias = "Hedge | Mapping[str, Any] | float | bool | None"
FallbackLike: TypeAlias = "Fallback | Alternative | Sequence[Alternative] | None"
RegionsLike: TypeAlias = "Regions | Sequence[str] | Mapping[str, Any] | None"

IdempotencyLike: TypeAlias = "IdempotencyKeys | Mapping[str, Any] | str | bool | None"
RequestIDLike: TypeAlias = "RequestIDs | str | bool | None"


def standard(
    *,
    retry: RetryLike = True,
    deadline: float | Deadline | None = None,
    rate_limit: RateLimitLike = None,
    circuit_breaker: CircuitBreakerLike = None,
    bulkhead: BulkheadLike = None,
    hedge: HedgeLike = None,
    fallback: FallbackLike = None,
    regions: RegionsLike = None,
    idempotency: IdempotencyLike = None,
    request_id: RequestIDLike = None,
) -> tuple[Policy, ...]:
    """Build the standard stack.

    Args:
        retry: True for the defaults, False or None for none, a policy, a urllib3 `Retry`, or a mapping of the
            keywords of ExponentialBackoff.
        deadline: Seconds for the whole call, a policy, or None for no limit.
        rate_limit: "adaptive", a policy, a mapping of the keywords of Adaptive, or None for no limit.
        circuit_breaker: True for the defaults, a policy, a mapping of the keywords of CircuitBreaker, or None.
        bulkhead: How many calls at a time, "adaptive", a policy, a mapping of the keywords of Bulkhead, or None.
        hedge: True for the defaults, seconds after which a second attempt is made, a policy, a mapping of the
            keywords of Hedge, or None.
        fallback: A policy, an alternative or a sequence of them, or None.
        regions: Base URLs, a policy, a mapping of the keywords of Regions, or None.
        idempotency: True for a unique key per call, "hash", a policy, a mapping of the keywords of IdempotencyKeys, or
            None for no keys.
        request_id: True for a random `X-Request-ID` per call, the name of another header, a policy, or None.

    Returns:
        The policies, outermost first.

    Raises:
        TypeError: A value is of no known kind, or a mapping holds an unknown keyword.
        ValueError: A value is out of range.
    """
    across, again = regions_policy(regions), retry_policy(retry)
    total = deadline if deadline is None or isinstance(deadline, Deadline) else Deadline(deadline)
    policies = (
        request_id_policy(request_id),
        _within(idempotency_policy(idempotency), total),
        fallback_policy(fallback),
        across,
        hedge_policy(hedge, alone=again is None),
        total,
        _without(again, across),
        _side_by_side(circuit_breaker_policy(circuit_breaker), bulkhead_policy(bulkhead)),
        rate_limit_policy(rate_limit),
    )
    return tuple(policy for policy in policies if policy is not None)


def retry_policy(value: RetryLike) -> ExponentialBackoff | None:
    """Make a retry policy of anything that stands for one; see `standard`."""
    if value is None or value is False:
        return None
    if value is True:
        return ExponentialBackoff()
    if isinstance(value, ExponentialBackoff):
        return value
    if isinstance(value, Mapping):
        return ExponentialBackoff(**value)
    if hasattr(value, "status_forcelist"):
        return ExponentialBackoff.from_urllib3(value)
    raise _unknown(
        "retry", value, "True, False, ExponentialBackoff(...), a mapping of its keywords, or a urllib3 Retry"
    )


def rate_limit_policy(value: RateLimitLike) -> RateLimit | None:
    """Make a rate limit of anything that stands for one; see `standard`."""
    if value is None:
        return None
    from polvo_adapters.policies.ratelimit.policy import AdaptiveRateLimit, RateLimit

    if isinstance(value, RateLimit):
        return value
    if value == "adaptive":
        return AdaptiveRateLimit()
    if isinstance(value, Mapping):
        return AdaptiveRateLimit(**value)
    wanted = "'adaptive', Adaptive(...), TokenBucket(...), SlidingWindow(...), a mapping of the keywords of Adaptive"
    raise _unknown("rate_limit", value, f"{wanted}, or None")


def circuit_breaker_policy(value: CircuitBreakerLike) -> CircuitBreaker | None:
    """Make a circuit breaker of anything that stands for one; see `standard`."""
    if value is None or value is False:
        return None
    from polvo_adapters.policies.breaker.policy import CircuitBreaker

    if isinstance(value, CircuitBreaker):
        return value
    if value is True:
        return CircuitBreaker()
    if isinstance(value, Mapping):
        return CircuitBreaker(**value)
    raise _unknown("circuit_breaker", value, "True, CircuitBreaker(...), a mapping of its keywords, or None")


def bulkhead_policy(value: BulkheadLike) -> bulkheads.Bulkhead | bulkheads.AdaptiveBulkhead | None:
    """Make a bulkhead of anything that stands for one; see `standard`."""
    if value is None:
        return None
    from polvo_adapters.policies.bulkhead.policy import AdaptiveBulkhead, Bulkhead

    if isinstance(value, (Bulkhead, AdaptiveBulkhead)):
        return value
    if value == "adaptive":
        return AdaptiveBulkhead()
    if isinstance(value, int) and not isinstance(value, bool):
        return Bulkhead(value)
    if isinstance(value, Mapping):
        return Bulkhead(**value)
    wanted = "how many calls at a time, 'adaptive', Bulkhead(...), Adaptive(...), a mapping of the keywords of Bulkhead"
    raise _unknown("bulkhead", value, f"{wanted}, or None")


def hedge_policy(value: HedgeLike, *, alone: bool = False) -> Hedge | None:
    """Make a hedge of anything that stands for one; see `standard`. One that is alone has no retries to share with."""
    if value is None or value is False:
        return None
    from polvo_adapters.policies.hedge import Hedge

    if isinstance(value, Hedge):
        return value
    shared: dict[str, Any] = {"budget": None} if alone else {}
    if value is True:
        return Hedge(**shared)
    if isinstance(value, (int, float)):
        return Hedge(**shared, delay=float(value))
    if isinstance(value, Mapping):
        return Hedge(**{**shared, **value})
    raise _unknown("hedge", value, "True, seconds, Hedge(...), a mapping of its keywords, or None")


def fallback_policy(value: FallbackLike, **keywords: Any) -> Fallback | None:
    """Make a fallback of anything that stands for one; see `standard`. Keywords are those of Fallback."""
    if value is None:
        return None
    from polvo_adapters.policies.fallback.policy import Fallback

    if isinstance(value, Fallback):
        return value
    return Fallback(*(value if isinstance(value, (list, tuple)) else (value,)), **keywords)


def regions_policy(value: RegionsLike) -> Regions | None:
    """Make regions of anything that stands for them; see `standard`."""
    if value is None:
        return None
    from polvo_adapters.policies.regions import Regions

    if isinstance(value, Regions):
        return value
    if isinstance(value, Mapping):
        return Regions(**value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Regions(value)
    raise _unknown("regions", value, "a sequence of base URLs, Regions(...), a mapping of its keywords, or None")


def idempotency_policy(value: IdempotencyLike) -> IdempotencyKeys | None:
    """Make idempotency keys of anything that stands for them; see `standard`."""
    if value is None or value is False:
        return None
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys

    if isinstance(value, IdempotencyKeys):
        return value
    if value is True:
        return IdempotencyKeys()
    if value in ("unique", "hash"):
        return IdempotencyKeys(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return IdempotencyKeys(**value)
    wanted = "True, 'unique', 'hash', IdempotencyKeys(...), a mapping of its keywords, or None"
    raise _unknown("idempotency", value, wanted)


def request_id_policy(value: RequestIDLike) -> RequestIDs | None:
    """Make request ids of anything that stands for them; see `standard`."""
    if value is None or value is False:
        return None
    from polvo_adapters.policies.request_ids import RequestIDs

    if isinstance(value, RequestIDs):
        return value
    if value is True:
        return RequestIDs()
    if isinstance(value, str):
        return RequestIDs(value)
    raise _unknown("request_id", value, "True, the name of a header, RequestIDs(...), or None")


def slots(policies: Sequence[Policy]) -> int:
    """Return how many calls at a time the bulkheads among the policies let through at most, or 0 without any."""
    gates = [gate for policy in policies for gate in getattr(policy, "gates", (policy,))]
    return max((getattr(gate, "max_concurrency", getattr(gate, "max_limit", 0)) for gate in gates), default=0)


def _without(retry: ExponentialBackoff | None, regions: Regions | None) -> ExponentialBackoff | None:
    """Leave to the regions the statuses that they retry or reroute, or attempts would multiply."""
    if retry is None or regions is None or not regions.retry_codes:
        return retry
    from dataclasses import replace

    theirs = {*regions.retry_codes, *regions.reroute_codes}
    return replace(
        retry,
        retry_on=frozenset(retry.retry_on) - theirs,
        retry_after_on=frozenset(retry.retry_after_on) - theirs,
    )


def _within(keys: IdempotencyKeys | None, deadline: Deadline | None) -> IdempotencyKeys | None:
    """Have nobody wait longer for others than the call may last: the deadline is further inside."""
    if keys is None or deadline is None or keys.max_wait <= deadline.seconds:
        return keys
    from dataclasses import replace

    return replace(keys, max_wait=deadline.seconds)


def _side_by_side(
    breaker: CircuitBreaker | None, bulkhead: bulkheads.Bulkhead | bulkheads.AdaptiveBulkhead | None
) -> Policy | None:
    if breaker is None or bulkhead is None:
        return breaker or bulkhead
    from polvo_adapters.policies.gates import Gates

    return Gates((breaker, bulkhead))


def _unknown(name: str, value: object, wanted: str) -> TypeError:
    return TypeError(f"{name}={value!r}: expected {wanted}")
