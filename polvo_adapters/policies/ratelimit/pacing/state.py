"""What is known of one quota, how it begins, and what the law needs once per response."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypedDict

from polvo_adapters.policies.ratelimit.pacing import buckets, counters

SLOTS = 128
"""Slots of the replica: a finer one gains less than the way to the server takes."""

RING = SLOTS + 1  # a slot comes back when its end is one window ago

ALONE = 0.95
"""From this share on a client counts as alone with the quota."""

FEW = 1 / 32
"""From this share on a client counts as one of few, whose responses tell often enough what the others do."""

NEWCOMER = 3
"""Responses that a newcomer waits for, one request at a time, before it trusts its guess of the share."""

MANY, HUGE = 100.0, 2000.0
"""Requests per window between which all clients of a sliding server share it by what remains, whatever their shares.

Of fewer, what remains for an even share is less than a request; of more, there may be a thousand clients, which learn
too seldom what remains.
"""

LONGEST_SPREAD = 7200.0
"""Seconds of a window; a longer one is not spread, because its turns would be further apart than a call waits."""

BEND = 1 / 7  # 7 = ln(1000): a thousand clients double the pace at the beginning of a window
_MARGIN = 0.01  # of a window's quota, left at its end, beside the requests that are under way then
_MARGIN_MOST = 0.04  # together never more than this, because it is quota unused
_RESERVE = 0.002  # of a sliding quota, at least
_RESERVE_SHARE = 0.002  # more for each e-fold of the share
_YIELD = 0.5  # times its share, by which a client slows down more than others where less than the reserve remains
_NOISE = 0.2  # of the root of the quota: what clients that know nothing of one another vary by
_RESERVE_MOST = 0.04  # together never more than this, because it is quota unused
_LEVEL_SHARE, _LEAST = 0.05, 1e-4  # of a bucket that should remain, for each e-fold of the share above the least
_FEW_SHARE = 0.012  # the same of a sliding quota, above twice FEW, where it is quota unused
_MOST = 0.038  # of a sliding quota that should remain for a client that has half of it
_SURE, _SOON = 0.7, 0.9  # of the doubt in windows; of the window
_ENOUGH = 10.0  # requests per window, by which a client of few learns what remains
_URGENCY, _SLOWEST, _FASTEST = 4.0, -1.5, 0.7  # how much faster the pace is for what is above that, as exponents
_LEVELLING, _FASTEST_COUNTER = 4.0, 2.0  # the same of a counter, per window, and of the rate
_BULGE, _BULGE_LEAST = 0.03, 2.0  # of a counter, more for each e-fold of a share above FEW; requests per window
_CATCH_UP = 10.0  # windows in which a client that is alone spends what is left, the reciprocal of
_SPREAD = 0.39  # standard deviation of the requests of a client that sends about one in a window
_PRIOR = 5.0  # requests: the weight of the first guess of the share
_USUAL_WINDOWS = (60.0, 900.0, 3600.0, 86400.0)


class Pace(TypedDict):
    """Numbers of one quota; times are those of the store.

    Attributes:
        limit: Requests per window.
        window: Length of the window in seconds.
        remaining: What the last response left, 0 after a rejection.
        before: What the last response said.
        at: When the last response came.
        asked: When its request was sent.
        said: When the next reset is, by the last response.
        noted: When a response last overlapped with another; what it left may be the later news.
        low: Earliest possible time of the next reset.
        high: Latest possible time of the next reset.
        refills: The kind of server that this is taken for.
        doubt: How near that belief is to changing; see `learning`.
        partial: How often a reset that was announced brought little.
        evenness: How much speaks for an even refill.
        share: The client's own part of what all clients spend.
        own: What the client itself spent lately; fades like `total` and `span`.
        total: What all clients spent lately.
        span: The seconds in which they spent it.
        unexplained: What others took lately, where that is certain.
        seen: Responses that told something new.
        born: When the first response came.
        credit: Requests that may go now.
        credited: When credit was counted last.
        earned: Credit that came since the last response.
        accepted: Own requests since then that were accepted.
        rejected: Own requests since then that were rejected.
        integral: What the law adds on sliding servers because too much remains.
        log: The replica, a ring of slots.
        slot: Its newest slot.
        fresh: Own requests in that slot, not yet in the replica.
        expired: What came back since the last response, by the replica.
        debt: Own requests that the responses have not shown yet.
        flying: Own requests that were under way when the last response came.
        surplus: What the responses show beyond the own ones that were answered, and those under way explain.
        slope: Rate of all clients on servers that refill all the time.
        until: Time until which `slope` holds.
        reset: When what remains should be spent.
        margin: What should remain then; on buckets, the largest batch that comes back at once.
        bend: The exponent F.
        by: The route whose response spoke of it last.
        part: The id in the path of that response.
        told: What that response said remains.
        told_at: When it came.
        blind: Responses in a row that said that nothing remains, and not when more comes of a long window.
        ask_at: When a request may find out whether more has come.
        near: What remains at the end of a quota, where each response is learned from in full.
        bucket: What speaks for a bucket; see `buckets`.
        counter: What speaks for a counter, and what it counts; see `counters`.
    """

    limit: float
    window: float
    remaining: float
    before: float
    at: float
    asked: float
    said: float
    noted: float
    low: float
    high: float
    refills: Literal["windows", "sliding", "bucket", "counter"]
    doubt: float
    partial: float
    evenness: float
    share: float
    own: float
    total: float
    span: float
    unexplained: float
    seen: int
    born: float
    credit: float
    credited: float
    earned: float
    accepted: float
    rejected: float
    integral: float
    log: list[float]
    slot: int
    fresh: float
    expired: float
    debt: float
    flying: int
    surplus: float
    slope: float
    until: float
    reset: float
    margin: float
    bend: float
    by: str
    part: str
    told: float
    told_at: float
    blind: int
    ask_at: float
    near: float
    bucket: buckets.Match
    counter: counters.Count


class Seen(NamedTuple):
    """What one response says of a quota.

    Attributes:
        asked: When its request was sent.
        limit: Requests per window.
        window: Length of the window in seconds.
        remaining: Requests left.
        reset: Seconds until there are more, or None.
        coarse: Seconds by which `reset` may be too high, because it was rounded.
        announced: Whether the server announced the window; otherwise it is the longest time to a reset so far.
        bucket: What speaks for a bucket, this response included.
    """

    asked: float
    limit: float
    window: float
    remaining: float
    reset: float | None
    coarse: float
    announced: bool = True
    bucket: buckets.Match = buckets.UNKNOWN


def start_pace(seen: Seen, now: float, in_flight: int = 0) -> Pace:
    """Return the pace after the first response; the server may have counted other own requests, in flight, too."""
    limit, window = seen.limit, seen.window
    used = max(1.0, limit - seen.remaining)
    reset = window if seen.reset is None else seen.reset
    share = max(min(1.0, (1 + in_flight) / used), _estimate_unclaimed(seen, used, reset))
    credit = 1.0 if share > ALONE else 0.0
    prior = min(used, _PRIOR)
    slot = find_slot(now, window)
    log = [max(0.0, used - 1 - in_flight) / RING] * RING  # others may have used it at any time of the last window
    pace = Pace(
        limit=limit, window=window, remaining=seen.remaining, before=seen.remaining,
        at=now, asked=seen.asked, said=now + reset, noted=0.0, low=seen.asked + reset - seen.coarse, high=now + reset,
        refills="windows", doubt=0.0, partial=0.0, evenness=0.0, share=share, own=share * prior, total=prior,
        span=max(0.01 * window, (window - reset) * prior / used), unexplained=0.0, seen=0, born=now,
        credit=credit, credited=now, earned=credit, accepted=0.0, rejected=0.0, integral=0.0,
        log=log, slot=slot, fresh=1.0, expired=0.0, debt=0.0, flying=in_flight, surplus=0.0,
        slope=0.0, until=now, reset=0.0, margin=0.0, bend=1.0,
        by="", part="", told=seen.remaining, told_at=now, blind=0, ask_at=0.0, near=limit,
        bucket=seen.bucket, counter=counters.UNKNOWN,
    )  # fmt: skip
    if buckets.is_bucket(seen.bucket):
        pace["refills"] = "bucket"
    plan(pace)
    return pace


def _estimate_unclaimed(seen: Seen, used: float, reset: float) -> float:
    """Return the part of what remains that will be left at the reset if all clients go on as in this window so far.

    What was used before may have been used by the client's own last run; it is no reason to begin at a crawl.
    """
    window = seen.window if seen.announced else next((each for each in _USUAL_WINDOWS if each > reset), reset)
    elapsed = window - reset
    if elapsed <= 0 or seen.remaining <= 0:
        return 0.0
    return 1 - used / elapsed * reset / seen.remaining


def restart_pace(pace: Pace, seen: Seen, now: float, in_flight: int = 0) -> Pace:
    """Return a pace for a quota whose size or window turned out to be another; the share stays."""
    fresh = start_pace(seen, now, in_flight)
    if pace["seen"]:
        fresh["share"] = pace["share"]
        fresh["own"] = pace["share"] * fresh["total"]
        fresh["born"], fresh["seen"], fresh["unexplained"] = pace["born"], pace["seen"], pace["unexplained"]
        plan(fresh)
    return fresh


def resize_pace(pace: Pace, limit: float) -> Pace:
    """Return a pace for a quota that is a little larger or smaller than it was taken for."""
    resized, factor = pace.copy(), limit / pace["limit"]
    resized["limit"] = limit
    resized["remaining"] *= factor
    resized["before"] *= factor
    resized["told"] *= factor
    last, level, score = resized["counter"]
    resized["counter"] = counters.Count(last * factor, level * factor, score)
    return resized


def round_cost(cost: float) -> float:
    """Return what a request takes, in steps, because each change restarts the pace; 1 where it is not known."""
    return 2.0 ** round(math.log2(cost)) if cost >= 1 else 1.0


def is_shared(pace: Pace) -> bool:
    """Return whether other clients spend the quota too."""
    return pace["share"] <= ALONE


def find_slot(t: float, window: float) -> int:
    """Return the number of the slot of the replica that a moment falls into."""
    return int(t * SLOTS / window)


def plan(pace: Pace) -> None:
    """Compute what credit needs once per response."""
    share, limit, window = pace["share"], pace["limit"], pace["window"]
    spread = math.sqrt(1 / share) * _SPREAD
    if pace["refills"] == "windows":
        # The last request should arrive before the window ends; a client alone knows how many there will be.
        early = 0.0 if share <= ALONE else window / limit
        pace["reset"] = max(pace["high"] - early, min(pace["at"] + early, pace["high"]))
        under_way = limit / window * (pace["at"] - pace["asked"])
        pace["margin"] = min(_MARGIN_MOST * limit, _MARGIN * limit + spread + under_way) * (1 - share)
        pace["bend"] = 1 - BEND * math.log(share)
        return
    if pace["refills"] == "counter":
        _plan_counter(pace)
        return
    rate, reserve = limit / window, compute_reserve(pace)
    above = pace["remaining"] - reserve
    if share > ALONE:
        # The server does not let through what is too early, so that a sliding one may be asked for what it has at once.
        faster = _CATCH_UP * (1 + (pace["refills"] == "sliding")) * max(0.0, above)
        pace["slope"], pace["until"] = rate + faster / window, pace["at"] + window / _CATCH_UP
        return
    urgency = math.exp(max(_SLOWEST, min(_FASTEST, _URGENCY * above / limit)))
    if buckets.may_be_bucket(pace["bucket"]):
        pace["slope"], pace["until"] = rate * urgency, pace["at"] + window / 4
        return
    if is_large(pace):
        slope = min((rate - reserve / window) * urgency, _find_highest_rate(pace, pace["remaining"] - 1.0))
    else:
        slope = _find_highest_rate(pace, above) * (1 + pace["integral"])
        if above < 0:
            slope *= 1 - _YIELD * share
    pace["slope"], pace["until"] = max(slope, 0.05 * rate), pace["at"] + window


def _plan_counter(pace: Pace) -> None:
    """Spend evenly what remains until the window ends, and what the last window gives back."""
    limit, window = pace["limit"], pace["window"]
    last, rate = pace["counter"].last, limit / window
    if not is_shared(pace):
        pace["margin"] = counters.compute_margin(pace["counter"], window, pace["high"] - pace["low"])
        left = max(pace["high"] - pace["at"], 0.02 * window)
        pace["slope"], pace["until"] = max(pace["remaining"] / left + last / window, 0.05 * rate), pace["at"] + left
        return
    above = pace["remaining"] - compute_reserve(pace)
    slope = (last - _compute_bulge(pace)[1] + _LEVELLING * above) / window
    end = max((pace["low"] + pace["high"]) / 2, pace["at"])
    pace["slope"], pace["until"] = (
        max(0.05 * rate, min(_FASTEST_COUNTER * rate, slope)),
        min(end, pace["at"] + window / 4),
    )


def plan_refused(pace: Pace) -> None:
    """Spend hardly anything of a counter until its window ends, when all that were refused may come back at once."""
    left = max(pace["high"] - pace["at"], 0.02 * pace["window"])
    pace["slope"], pace["until"] = min(pace["slope"], 0.5 / pace["share"] / left), pace["at"] + left


def _compute_bulge(pace: Pace) -> tuple[float, float]:
    """Return what should remain of a counter besides, more in the middle of a window, and how fast it should grow.

    It costs nothing, because it is spent until the window ends, and shows how large the shares are.
    """
    share, limit = pace["share"], pace["limit"]
    left = ((pace["low"] + pace["high"]) / 2 - pace["at"]) / pace["window"]
    left = min(1.0, max(0.0, left))
    extra = max(0.0, math.log(share / FEW)) if share * limit >= _BULGE_LEAST else 0.0
    most = _BULGE * limit * (1 + extra)
    return 4 * most * left * (1 - left), 4 * most * (2 * left - 1)


def _find_highest_rate(pace: Pace, above: float) -> float:
    """Return the highest even rate at which what is above stays above through the next window, by the replica."""
    log, slot = pace["log"], pace["slot"]
    # The client reacts to no dip before its own next response.
    nearest = max(1, min(SLOTS, math.ceil(SLOTS * max(0.1, 1 / max(pace["share"] * pace["limit"], 0.05)))))
    lowest = math.inf
    for step in range(1, SLOTS + 1):
        back = log[(slot + step) % RING]
        above += back
        if step >= nearest:
            lowest = min(lowest, (above - back / 2) / step)
    return lowest * SLOTS / pace["window"]


def is_large(pace: Pace) -> bool:
    """Return whether a client shares a sliding server by what remains.

    The server must surely be a sliding one, which announces when its oldest request comes back: soon, when all are
    spread evenly. Clients under two laws get unequal parts, so that the size of the quota decides, which all see alike.
    Only where it is small or huge, a client has to be one of few and to learn often enough what remains.
    """
    share, limit = pace["share"], pace["limit"]
    if share > ALONE or (not MANY <= limit < HUGE and (share < FEW or share * limit < _ENOUGH)):
        return False
    if pace["refills"] == "counter":
        return True
    return pace["doubt"] > _SURE and pace["high"] - pace["at"] < _SOON * pace["window"]


def compute_reserve(pace: Pace) -> float:
    """Return what should remain on a server that refills all the time."""
    share, limit = pace["share"], pace["limit"]
    if share > ALONE:
        return 0.5 + pace["margin"] if buckets.is_bucket(pace["bucket"]) else 0.5
    noise = _NOISE * math.sqrt(limit)
    if pace["refills"] == "counter":
        return max(1.0, noise) + _compute_bulge(pace)[0]
    if buckets.may_be_bucket(pace["bucket"]):
        return max(1.0, noise) + _LEVEL_SHARE * limit * math.log1p(share / _LEAST)
    wanted = limit * (_RESERVE + _RESERVE_SHARE * math.log1p(share / 1e-4))
    if is_large(pace):
        if MANY <= limit < HUGE:
            steps = max(-1.0, math.log(share * limit / 2))
            return limit * (_RESERVE + _MOST * steps / math.log(limit / 4)) + noise / 2
        return max(1.0, wanted + noise / 2) + _FEW_SHARE * limit * max(0.0, math.log(share / (2 * FEW)))
    wanted += noise
    return max(1.0, min(_RESERVE_MOST * limit, wanted))
