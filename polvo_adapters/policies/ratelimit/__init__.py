"""Rate limits: no request is sent before its turn.

flow         how a call waits for its turn, whatever the limit
configured   TokenBucket and SlidingWindow, for a rate that is known
policy       AdaptiveRateLimit, for one that is not
adaptive     its machine: what the result of a request teaches
queue        which request goes next
announced    what the quotas in a response teach
unsaid       what they leave out: sizes, windows, resets
costs        what a request takes of a quota that does not count requests
rates        rates that are found by refusals
pauses       for how long a response that is no refusal asks to wait
routes       which quotas a request counts in
route_names  what the route of a request is
account      what is known of the quotas of one origin and credential
turns        the events and the verdict of a rate limit
pacing/      how one quota is spread over its window
"""

from polvo_adapters.policies.ratelimit.policy import Adaptive, AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket

__all__ = ["Adaptive", "AdaptiveRateLimit", "RateLimit", "SlidingWindow", "TokenBucket"]
