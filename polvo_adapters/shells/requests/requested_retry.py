"""What an adapter's `max_retries` asks for, and the policies that it stands beside or takes the place of."""

from __future__ import annotations

from typing import Any

from urllib3.util import Retry

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.asked_retry import AskedRetry
from polvo_adapters.policies.retry import ExponentialBackoff

RETRY_POLICIES = (ExponentialBackoff, AskedRetry)
"""The policies that repeat a call."""


def as_retry(value: Any) -> Retry:
    """Return the urllib3 `Retry` that a value of `max_retries` stands for."""
    return value if isinstance(value, Retry) else Retry.from_int(value, redirect=False)


def find_requested_retry(value: Any) -> Retry | None:
    """Return the urllib3 `Retry` that a value of `max_retries` asks for, or None where it asks for no retry."""
    if value is None:
        return None
    retry = as_retry(value)
    if type(retry) is not Retry:  # it may decide by anything
        return retry
    if retry.total is not None:
        return retry if retry.total else None
    return retry if any((retry.connect, retry.read, retry.status, retry.other)) else None


def ask_instead(policy: Policy, retry: Retry) -> Policy:
    """Return the policy that asks a `Retry` in the place of one that retries, and any other as it is."""
    if isinstance(policy, RETRY_POLICIES):
        return AskedRetry(retry, policy.budget, policy.listeners)
    return policy
