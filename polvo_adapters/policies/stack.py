"""The standard order of policies, built from keywords.

Outermost first: total deadline, retry with its budget, rate limit. The timeout of a single attempt is not a policy:
it is what the shell hands to the transport where the caller gave none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from polvo_adapters.flow import Policy
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff

if TYPE_CHECKING:
    from urllib3 import Retry

    from polvo_adapters.policies.ratelimit import RateLimit, RateLimitLike

RetryLike: TypeAlias = "ExponentialBackoff | Retry | Mapping[str, Any] | bool | None"
"""Whatever stands for a way to retry; see `standard`."""


def standard(
    *, retry: RetryLike = True, deadline: float | Deadline | None = None, rate_limit: RateLimitLike = None
) -> tuple[Policy, ...]:
    """Build the standard stack.

    Args:
        retry: True for the defaults, False or None for none, a policy, a urllib3 `Retry`, or a mapping of the
            keywords of ExponentialBackoff.
        deadline: Seconds for the whole call, a policy, or None for no limit.
        rate_limit: "adaptive", a policy, a mapping of the keywords of Adaptive, or None for no limit.

    Returns:
        The policies, outermost first.

    Raises:
        TypeError: A value is of no known kind, or a mapping holds an unknown keyword.
        ValueError: A value is out of range.
    """
    limit = deadline if deadline is None or isinstance(deadline, Deadline) else Deadline(deadline)
    policies = (limit, retry_policy(retry), rate_limit_policy(rate_limit))
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
    raise TypeError(
        f"retry={value!r}: expected True, False, ExponentialBackoff(...), a mapping of its keywords, or a urllib3 Retry"
    )


def rate_limit_policy(value: RateLimitLike) -> RateLimit | None:
    """Make a rate limit of anything that stands for one; see `standard`."""
    if value is None:
        return None
    from polvo_adapters.policies.ratelimit import Adaptive, RateLimit

    if isinstance(value, RateLimit):
        return value
    if value == "adaptive":
        return Adaptive()
    if isinstance(value, Mapping):
        return Adaptive(**value)
    raise TypeError(
        f"rate_limit={value!r}: expected 'adaptive', Adaptive(...), TokenBucket(...), SlidingWindow(...), "
        "a mapping of the keywords of Adaptive, or None"
    )
