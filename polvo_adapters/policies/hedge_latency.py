"""A percentile of recent latencies, of plain numbers, for a microsecond per call.

Theory of operation. Latencies are counted in buckets that grow by a constant factor, so that the middle of a bucket is
within 5 % of everything in it, from microseconds to days, and some forty buckets hold the latencies of a server. (The
buckets are those of DDSketch: Masson, Rim, Lee, PVLDB 12(12), 2019.)

Sixteen latencies at a time are folded in: earlier counts fade, and the percentile is computed, so that it is one number
to look up until the next time. Counts fade with every call, so that no more than a thousand calls count, and with time,
to about a third in five minutes.

    what happens                state (weights, fresh, folded_at, known)
    --------------------------  ------------------------------------------------------------------
    a latency                   fresh + 1
    the sixteenth               weights fade; fresh go into weights; the percentile into known
    five minutes of silence     known is not used before latencies are folded in again

A percentile is known once there are enough latencies for one of them to lie above it: twenty for 0.95.

**A latency that is only known to be longer** than some time counts as that time. A percentile depends on how many lie
above, not on how far, so that this is exact as long as the time is not shorter than the percentile; see
`polvo_adapters.policies.hedge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from polvo_adapters.core.stored_types import stored_as

_ERROR = 0.05
_GROWTH = (1 + _ERROR) / (1 - _ERROR)
_SCALE = 1 / math.log(_GROWTH)
_SHORTEST, _LONGEST = 1e-6, 1e6  # seconds
_BATCH = 16
_CALLS = 1000
_SECONDS = 300.0
_TRACE = 0.01  # a bucket of less weight is forgotten


@stored_as("latencies.1")
class Latencies(NamedTuple):
    """Recent latencies.

    Attributes:
        weights: Numbers of buckets in ascending order, and the weight of each.
        fresh: Buckets of the latencies since then.
        folded_at: When latencies were folded in last.
        known: The percentile, in seconds, or None.
    """

    weights: tuple[tuple[int, float], ...] = ()
    fresh: tuple[int, ...] = ()
    folded_at: float = 0.0
    known: float | None = None


def add(latencies: Latencies, seconds: float, percentile: float, now: float) -> Latencies:
    """Return the latencies with one more.

    Args:
        latencies: The latencies so far.
        seconds: The new one; anything below a microsecond counts as one.
        percentile: The percentile to compute, between 0 and 1.
        now: The time.
    """
    weights, fresh, folded_at, known = latencies
    fresh = (*fresh, _bucket(seconds))
    if len(fresh) < _BATCH:
        return Latencies(weights, fresh, folded_at, known)
    folded = _fold(weights, fresh, max(0.0, now - folded_at))
    return Latencies(folded, (), now, _percentile(folded, percentile))


def recent_percentile(latencies: Latencies, now: float) -> float | None:
    """Return the percentile in seconds, or None where there are too few latencies, or no recent ones."""
    return latencies.known if now - latencies.folded_at <= _SECONDS else None


def _bucket(seconds: float) -> int:
    return math.ceil(math.log(min(max(seconds, _SHORTEST), _LONGEST)) * _SCALE)


def _middle(bucket: int) -> float:
    """Return the number whose relative distance to both ends of a bucket is the same."""
    return _GROWTH**bucket * (1 - _ERROR)


def _fold(weights: Sequence[tuple[int, float]], fresh: Sequence[int], passed: float) -> tuple[tuple[int, float], ...]:
    fade = (1 - _BATCH / _CALLS) * math.exp(-passed / _SECONDS)
    folded = {bucket: weight * fade for bucket, weight in weights if weight * fade > _TRACE}
    for bucket in fresh:
        folded[bucket] = folded.get(bucket, 0.0) + 1.0
    return tuple(sorted(folded.items()))


def _percentile(weights: Sequence[tuple[int, float]], percentile: float) -> float | None:
    total = sum(weight for _, weight in weights)
    above = total * (1 - percentile)
    if above < 1:
        return None
    for bucket, weight in reversed(weights):
        above -= weight
        if above < 0:
            return _middle(bucket)
    return _middle(weights[0][0])
