"""Bulkhead: a limit of calls at a time.

policy               Bulkhead, and the adaptive one
concurrency_limit    how many calls at a time a host can serve, found out from latencies
"""

from polvo_adapters.policies.bulkhead.policy import Adaptive, AdaptiveBulkhead, Bulkhead

__all__ = ["Adaptive", "AdaptiveBulkhead", "Bulkhead"]
