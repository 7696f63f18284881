"""Rate limit: no request before its time.

policy      TokenBucket and SlidingWindow for a rate that is known, and the adaptive limit
adaptive    the machine that reads the quota from what the server says
account     what is known of the quotas of one key
turns       what a call asks of a limit, and tells it
pacing/     how one quota is spread over its window
"""

from polvo_adapters.policies.ratelimit.policy import Adaptive, AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket

__all__ = ["Adaptive", "AdaptiveRateLimit", "RateLimit", "SlidingWindow", "TokenBucket"]
