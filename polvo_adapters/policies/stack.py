"""The standard order of policies, built from keywords.

Outermost first: idempotency keys, fallback, regions, hedge, total deadline, retry with its budget, circuit breaker and
bulkhead side by side, rate limit. The timeout of a single attempt is not a policy: the shell gives it to the transport
where the caller named none.

    idempotency         one key, and one record, for all attempts at a call
    fallback            the response in place of one that could not be had from all below
    regions, hedge      several attempts at a time, each through all policies below
    deadline            a limit to all attempts and waits below
    retry               each attempt passes the policies below anew
    breaker, bulkhead   one decision for both; an attempt that is refused costs nothing
    rate limit          a turn is used up by what is really sent, and by nothing else
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from polvo_adapters.core.effects import Policy, PolicyTraits
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.policies.deadline import CallDeadline, Deadline
from polvo_adapters.policies.options import StackOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.regions import Regions


def standard(**options: Unpack[StackOptions]) -> tuple[Policy, ...]:
    """Build the standard stack.

    Args:
        **options: See `polvo_adapters.policies.options.StackOptions`; `retry` is True unless it is given.

    Returns:
        The policies, outermost first.

    Raises:
        TypeError: A keyword is unknown, a value is of no known kind, or a mapping holds an unknown keyword.
        ValueError: A value is out of range.
    """
    refuse_unknown_keywords(options)
    given: dict[str, Any] = {"retry": True, **options}
    made = {name: make_policy(name, value) for name, value in given.items() if name not in ("deadline", "hedge")}
    retry, regions = made["retry"], made.get("regions")
    deadline = switch_off(given.get("deadline"))
    is_policy = deadline is None or isinstance(deadline, (Deadline, CallDeadline))
    total: Deadline | CallDeadline | None = deadline if is_policy else Deadline(deadline)
    # A hedge spends the budget that retries fill; without retries it would soon be empty.
    without_retry: dict[str, Any] = {"budget": None} if retry is None else {}
    policies = (
        made.get("listeners"),
        made.get("request_id"),
        wait_within(made.get("idempotency"), total),
        made.get("fallback"),
        regions,
        make_policy("hedge", given.get("hedge"), **without_retry),
        total,
        made.get("resume"),
        leave_statuses_to(regions, retry),
        _side_by_side(made.get("circuit_breaker"), made.get("bulkhead")),
        made.get("rate_limit"),
    )
    return tuple(policy for policy in policies if policy is not None)


def refuse_unknown_keywords(
    options: Mapping[str, Any],
    owner: str = "the standard stack",
    more: Collection[str] = (),
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Check that all keywords are those of the standard stack.

    Args:
        options: The keywords.
        owner: Name of the class that was given them, for the message.
        more: Further keywords that it takes.
        elsewhere: What to use in the place of keywords that other libraries have; by default that of a session.

    Raises:
        TypeError: One is not.
    """
    known = {*StackOptions.__annotations__, *more}
    for name in options.keys() - known:
        from polvo_adapters.policies.unknown_keywords import unknown_keyword_error

        settings = {option: _setting_names(_find_policy_class(option)) for option in _KINDS}
        names = {} if elsewhere is None else {"elsewhere": elsewhere}
        raise unknown_keyword_error(owner, name, known, settings, **names)


def switch_off(value: Any) -> Any:
    """Return None for False, which switches off every policy as None does, and any other value as it is."""
    return None if value is False else value


class _Kind(NamedTuple):
    """One kind of policy, and the values that stand for it.

    Attributes:
        module: Module of its class, below `polvo_adapters.policies`.
        name: Name of its class.
        wanted: The values that may stand for it, for messages.
        switch: Whether True stands for its defaults.
        shorthand: Makes the policy of its class, a value and keywords, or returns None for a value of no known kind.
        others: Names of further classes that are policies of this kind.
        siblings: Names of classes of this kind that are not made of a mapping, for messages.
    """

    module: str
    name: str
    wanted: str
    switch: bool = True
    shorthand: Callable[[Any, Any, dict[str, Any]], Any] = lambda kind, value, keywords: None  # noqa: ARG005
    others: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()


def make_policy(option: str, value: Any, label: str = "", /, **keywords: Any) -> Any:
    """Return the policy for a value that stands for one.

    Args:
        option: Keyword of StackOptions that has the value.
        value: The policy itself, a mapping of its keywords, or another value that StackOptions names.
        label: Name of what was given the value, for messages; by default the keyword.
        **keywords: Defaults for the keywords of a policy that is made here.

    Returns:
        The policy, or None where the value stands for none.

    Raises:
        TypeError: The value is of no known kind, or a mapping holds an unknown keyword.
    """
    kind = _KINDS[option]
    if switch_off(value) is None:
        return None
    policy_class = _find_policy_class(option)
    others = (getattr(importlib.import_module(f"polvo_adapters.policies.{kind.module}"), name) for name in kind.others)
    if isinstance(value, (policy_class, *others)):
        return value
    if value is True and kind.switch:
        return policy_class(**keywords)
    if isinstance(value, Mapping):
        return _make_of_mapping(option, policy_class, {**keywords, **value})
    policy = kind.shorthand(policy_class, value, keywords)
    if policy is None:
        wanted = f"{kind.wanted}, a mapping of the keywords of {kind.name}, or None"
        raise TypeError(f"{label or option}={show_value(value)}: expected {wanted}")
    return policy


def _make_of_mapping(option: str, policy_class: Any, keywords: dict[str, Any]) -> Any:
    known = _setting_names(policy_class)
    for name in keywords.keys() - known:
        from polvo_adapters.policies.unknown_keywords import unknown_setting_error

        kind = _KINDS[option]
        module = importlib.import_module(f"polvo_adapters.policies.{kind.module}")
        siblings = {sibling: _setting_names(getattr(module, sibling)) for sibling in kind.siblings}
        raise unknown_setting_error(option, policy_class.__name__, name, known, siblings)
    return policy_class(**keywords)


def _setting_names(policy_class: Any) -> Collection[str]:
    return {field.name for field in fields(policy_class) if field.init}


def _find_policy_class(option: str) -> Any:
    kind = _KINDS[option]
    return getattr(importlib.import_module(f"polvo_adapters.policies.{kind.module}"), kind.name)


def _asked_retry(_: Any, value: Any, __: dict[str, Any]) -> Any:
    from polvo_adapters.policies.asked_retry import AskedRetry

    if isinstance(value, AskedRetry):
        return value
    return AskedRetry(value) if hasattr(value, "status_forcelist") else None


def _adaptive_rate_limit(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    return kind(**keywords) if value == "adaptive" else None


def _bulkhead(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    from polvo_adapters.policies.bulkhead import AdaptiveBulkhead

    if value == "adaptive":
        return AdaptiveBulkhead(**keywords)
    return kind(value, **keywords) if isinstance(value, int) and not isinstance(value, bool) else None


def _hedge(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    return kind(**keywords, delay=float(value)) if isinstance(value, (int, float)) else None


def _fallback(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    return kind(*(value if isinstance(value, (list, tuple)) else (value,)), **keywords)


def _regions(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    return kind(value, **keywords) if isinstance(value, Sequence) and not isinstance(value, str) else None


def _idempotency_keys(kind: Any, value: Any, keywords: dict[str, Any]) -> Any:
    return kind(value, **keywords) if callable(value) or value in ("unique", "hash") else None


def _call_listeners(kind: Any, value: Any, _: dict[str, Any]) -> Any:
    return kind((value,) if callable(value) else value)


def _request_ids(kind: Any, value: Any, _: dict[str, Any]) -> Any:
    return kind(value) if isinstance(value, str) else None


_KINDS = {
    "retry": _Kind(
        "retry",
        "ExponentialBackoff",
        "True, False, ExponentialBackoff(...), a urllib3 Retry",
        shorthand=_asked_retry,
    ),
    "rate_limit": _Kind(
        "ratelimit",
        "AdaptiveRateLimit",
        "'adaptive', AdaptiveRateLimit(...), TokenBucket(...), SlidingWindow(...)",
        switch=False,
        shorthand=_adaptive_rate_limit,
        others=("RateLimit",),
        siblings=("TokenBucket", "SlidingWindow"),
    ),
    "circuit_breaker": _Kind("breaker", "CircuitBreaker", "True, CircuitBreaker(...)"),
    "bulkhead": _Kind(
        "bulkhead",
        "Bulkhead",
        "how many calls at a time, 'adaptive', Bulkhead(...), AdaptiveBulkhead(...)",
        switch=False,
        shorthand=_bulkhead,
        others=("AdaptiveBulkhead",),
        siblings=("AdaptiveBulkhead",),
    ),
    "hedge": _Kind("hedge", "Hedge", "True, seconds, Hedge(...)", shorthand=_hedge),
    "fallback": _Kind("fallback", "Fallback", "an alternative, a sequence of them, Fallback(...)", False, _fallback),
    "regions": _Kind("regions", "Regions", "a sequence of base URLs, Regions(...)", False, _regions),
    "idempotency": _Kind(
        "idempotency", "IdempotencyKeys", "True, 'unique', 'hash', IdempotencyKeys(...)", shorthand=_idempotency_keys
    ),
    "request_id": _Kind(
        "request_ids", "RequestIDs", "True, the name of a header, RequestIDs(...)", shorthand=_request_ids
    ),
    "resume": _Kind("resume", "Resume", "True, False, Resume()"),
    "listeners": _Kind(
        "call_listeners", "CallListeners", "functions, CallListeners(...)", switch=False, shorthand=_call_listeners
    ),
}


def pool_size(policies: Sequence[Policy]) -> int:
    """Return how many calls at a time the bulkheads among the policies allow at most, or 0 without any."""
    gates = [gate for policy in policies for gate in PolicyTraits.of(policy).gates or (policy,)]
    return max((PolicyTraits.of(gate).max_concurrency for gate in gates), default=0)


def leave_statuses_to(regions: Regions | None, retry: Any) -> Any:
    """Return the retries without the statuses that the regions retry or reroute, or attempts would multiply."""
    if regions is None or not regions.retry_codes or not hasattr(retry, "retry_on"):
        return retry
    theirs = {*regions.retry_codes, *regions.reroute_codes}
    return replace(
        retry,
        retry_on=frozenset(retry.retry_on) - theirs,
        retry_after_on=frozenset(retry.retry_after_on) - theirs,
    )


def wait_within(keys: IdempotencyKeys | None, deadline: Policy | None) -> IdempotencyKeys | None:
    """Return the keys with a wait for another call with the same key that is within the deadline."""
    if keys is None or not isinstance(deadline, Deadline) or keys.max_wait <= deadline.seconds:
        return keys
    return replace(keys, max_wait=deadline.seconds)


def _side_by_side(breaker: Policy | None, bulkhead: Policy | None) -> Policy | None:
    if breaker is None or bulkhead is None:
        return breaker or bulkhead
    from polvo_adapters.policies.gates import Gates

    return cast("Policy", Gates((breaker, bulkhead)))  # type: ignore[arg-type]
