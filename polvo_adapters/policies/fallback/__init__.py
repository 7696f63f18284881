"""Fallback: what else there is when a call has failed.

policy          Fallback
alternatives    a fixed response, another URL, a function
stale_cache     the last good response
"""

from polvo_adapters.policies.fallback.alternatives import Another, Fixed
from polvo_adapters.policies.fallback.policy import Alternative, Fallback
from polvo_adapters.policies.fallback.stale_cache import StaleCache

__all__ = ["Alternative", "Another", "Fallback", "Fixed", "StaleCache"]
