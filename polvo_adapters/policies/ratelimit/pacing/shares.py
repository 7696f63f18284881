"""The share of a client: its own part of what all clients spend, moved a little towards equality."""

from __future__ import annotations

import math

from polvo_adapters.policies.ratelimit.pacing import buckets, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen

_FAIRNESS = 0.1  # per window; with ten times as much, the shares of all clients would react at once
_PULL_SLIDING = 2.0  # per window, on sliding servers
_PULL_COUNTER = 4.0  # per window, on counters
_PULL, _PULL_LEAST, _VISIBLE = 4.0, -0.1, 2.0  # per window, on buckets; requests per window
_NEWCOMER = 0.5  # per window, for three windows: a newcomer starts with one request and has far to go
_REMEMBERED = 6.0  # own requests that a share is measured over, at least
_SCARCE = 0.1  # requests per window that a share stands for, at least: no client gives up for good
_INTEGRAL, _INTEGRAL_MOST = 1.0, 0.2
_NEARLY = 0.9  # share from which on a client may be alone
_UNEXPLAINED = 1.5  # requests lately that own use does not explain, by which others are known to be there
_PULL_CROWDED = 0.5  # per window, at most, on a small sliding quota that others are known to use


def measure_share(
    pace: Pace, seen: Seen, now: float, mine: float, spent: float, others: float, *, equalizes: bool
) -> None:
    """Measure the share, and move it a little towards equality."""
    window, since = pace["window"], now - pace["at"]
    per_window = max(pace["share"] * pace["limit"], 0.05)
    fade = math.exp(-since / (max(1.0, _REMEMBERED / per_window) * window))
    pace["own"] = pace["own"] * fade + mine
    pace["total"] = max(1e-9, pace["total"] * fade + spent)
    pace["span"] = pace["span"] * fade + since
    pace["unexplained"] = pace["unexplained"] * math.exp(-since / window) + others
    least = _SCARCE / max(1.0, pace["limit"])
    share = measured = min(1.0, max(least, pace["own"] / pace["total"]))
    share = _equalize(pace, seen, now, share, 1 - math.exp(-since / window) if equalizes else 0.0)
    if share > _NEARLY:
        # At a bucket that one client empties, the others have nothing to show themselves by.
        is_bucket = pace["refills"] == "bucket" and not buckets.is_refuted(pace["bucket"])
        share = 1.0 if pace["unexplained"] < _UNEXPLAINED else min(_NEARLY if is_bucket else 1.0, share)
    pace["own"] = max(pace["own"] * share / measured, least * pace["total"])
    pace["share"] = share


def _equalize(pace: Pace, seen: Seen, now: float, share: float, part: float) -> float:
    """Return the share, moved towards equality for a part of a window, in the way of the kind of server."""
    if pace["refills"] == "windows":
        if pace["counter"].score:  # in which the shape says something else
            return share
        return share * math.exp(_compute_pull(pace, seen, now, share) * part)
    above = (seen.remaining - state.compute_reserve(pace)) / pace["limit"]
    if pace["refills"] == "counter":
        return share * math.exp(_PULL_COUNTER * above * part)
    if buckets.may_be_bucket(pace["bucket"]):
        # With less than a few requests it would not be seen by the others, and never get its part back.
        lowest = _PULL_LEAST if share * pace["limit"] > _VISIBLE else 0.0
        return share * math.exp(_PULL * max(lowest, above) * part)
    if state.is_large(pace):
        return share * math.exp(_PULL_SLIDING * above * part)
    pace["integral"] = max(-0.05, min(_INTEGRAL_MOST, pace["integral"] + _INTEGRAL * above * part))
    # What a crowd of newcomers took in one go comes back in one go, and is not left over.
    most = _PULL_CROWDED if pace["unexplained"] >= _UNEXPLAINED else math.inf
    return share * math.exp(min(most, 3 * max(0.0, above - 0.1)) * part)


def _compute_pull(pace: Pace, seen: Seen, now: float, share: float) -> float:
    """Return how fast the share should grow, per window: the shape of the window tells what an equal share is."""
    left = ((pace["low"] + pace["high"]) / 2 - now) / pace["window"]
    if not 0.15 < left < 0.85:
        return 0.0
    exponent = math.log(max(seen.remaining, 0.5) / pace["limit"]) / math.log(left)
    distance = (1 - exponent) / state.BEND - math.log(share)
    if distance > 1 and now - pace["born"] < 3 * pace["window"]:
        return min(1.5, distance) * _NEWCOMER
    pull = _FAIRNESS * max(-1.5, min(1.5, distance))
    return pull if pull > 0 else pull * (1 - share)
