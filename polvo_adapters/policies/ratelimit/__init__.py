"""Rate limits: no request is sent before its turn.

policy      TokenBucket and SlidingWindow for a rate that is known, and the adaptive limit
adaptive    the machine that learns the quotas from the responses
queue       which request goes next
announced   what the quotas in a response teach
rates       rates that are found by refusals
routes      which quotas a request counts in
account     what is known of the quotas of one origin and credential
turns       the events and the verdict of a rate limit
pacing/     how one quota is spread over its window
"""

from polvo_adapters.policies.ratelimit.policy import Adaptive, AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket

__all__ = ["Adaptive", "AdaptiveRateLimit", "RateLimit", "SlidingWindow", "TokenBucket"]
