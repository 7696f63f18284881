"""Fallback: what the caller gets instead when a call has failed.

policy          Fallback
alternatives    a fixed response, another URL, a function
stale_cache     the last good response
"""

from polvo_adapters.policies.fallback.alternatives import Another, FailedCall, Fixed
from polvo_adapters.policies.fallback.policy import Alternative, Fallback
from polvo_adapters.policies.fallback.stale_cache import StaleCache

__all__ = ["Alternative", "Another", "FailedCall", "Fallback", "Fixed", "StaleCache"]

Ended, LastGood = FailedCall, StaleCache  # the names of before
