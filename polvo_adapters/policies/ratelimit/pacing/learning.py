"""What a response changes: the replica, the belief in windows, the next reset."""

from __future__ import annotations

import math

from polvo_adapters.policies.ratelimit.pacing import buckets, counters, counting, credit, shares, state
from polvo_adapters.policies.ratelimit.pacing.state import ALONE, RING, SLOTS, Pace, Seen

_INTEGRAL_LEAST = -0.3
_BACK_OFF = 0.8  # of the share, after a rejection that should not have been
_CLOSE = 1 / 512  # of a window, in which a second response tells nothing new
_EVEN, _BLUR = 0.06, 4.0  # of the quota, and requests, that came back without a cause: a sign of an even refill
_BATCH_LEAST, _BATCH_MOST, _BATCH_KEPT = 2.0, 0.3, 0.999  # requests, part of the quota, part from response to response
_SOON, _SOON_MOST = 3, 16  # slots
_FULL = 1.3  # times the quota, which no replica of a sliding server holds
_LARGE = 0.2  # share from which on all that could be spent is taken for spent


def learn(pace: Pace, seen: Seen, now: float, *, accepted: bool, free: float, in_flight: int) -> None:
    """Move the pace by a response; the caller has copied it.

    Args:
        pace: The pace.
        seen: What the response says.
        now: When it came.
        accepted: Whether the server processed the request.
        free: Part of the quota above which a client that is alone does not wait; below zero, nothing is spread but a
            reserve at the end, which clients share.
        in_flight: Requests without a response yet.
    """
    if pace["refills"] == "counter":
        counting.learn(pace, seen, now, accepted=accepted, free=free, in_flight=in_flight)
        return
    if state.find_slot(now, pace["window"]) != pace["slot"]:
        pace["expired"] += _advance(pace, now)
    pace["bucket"] = seen.bucket
    pace["accepted"] += accepted
    pace["fresh"] += accepted
    if seen.asked < pace["at"]:  # it overlapped with the last one, so that which of them came first is not known
        _bound_by_earlier(pace, seen.remaining, seen.asked, now)
        pace["noted"] = now
        return
    credit.earn(pace, now)
    paced = free >= 0 and state.is_shared(pace) and pace["seen"] >= state.NEWCOMER
    mine = pace["earned"] - pace["rejected"] if paced else pace["accepted"] + in_flight - pace["flying"]
    mine = max(0.0, mine)
    explained, others = _replicate(pace, seen, now, in_flight)
    believed = pace["refills"]
    jumped = seen.reset is not None and seen.asked + seen.reset - pace["high"] >= pace["window"] / 2
    is_counter = jumped and counting.judge_end(pace, seen, now)
    rolled = _locate_reset(pace, seen, now, accepted=accepted)
    if buckets.is_bucket(seen.bucket):
        if believed == "windows":
            pace["margin"] = 0.0
        pace["refills"], pace["evenness"] = "bucket", 1.0
        _measure_batch(pace, seen)
    if believed == "windows" != pace["refills"] and state.is_shared(pace):
        # What came back meanwhile hid what others took, and made the share look larger than it is.
        windows = pace["span"] / pace["window"]
        pace["total"] = max(pace["total"], windows * (pace["limit"] - seen.remaining))
    if pace["refills"] != "sliding":
        others = _find_others(pace, seen, now, in_flight, rolled=rolled > 0)
    spent = _estimate_spent(pace, seen, now, rolled, explained) if state.is_shared(pace) else mine + others
    share, is_large = pace["share"], state.is_large(pace)
    shares.measure_share(pace, seen, now, mine, spent, others, equalizes=free >= 0)
    if believed == "windows" != pace["refills"] and pace["share"] > share and is_large:
        pace["own"], pace["share"] = share * pace["total"], share
    _bound_remaining(pace, seen, now, rolled=rolled > 0)
    pace["before"], pace["at"], pace["asked"], pace["flying"] = seen.remaining, now, seen.asked, in_flight
    pace["said"] = now + (seen.reset or 0.0)
    pace["earned"] = pace["accepted"] = pace["rejected"] = 0.0
    pace["seen"] += 1
    if is_counter:
        pace["refills"], pace["margin"] = "counter", 0.0
    state.plan(pace)
    credit.free_credit(pace, free, in_flight)


def absorb_repeat(pace: Pace, remaining: float, asked: float, now: float) -> bool:
    """Count a response that comes so soon after the last that only what remains is news, and return whether it does."""
    window, slot = pace["window"], pace["slot"]
    if asked >= pace["at"] + window * _CLOSE or remaining <= pace["near"]:
        return False
    if not slot <= now * SLOTS / window < slot + 1:  # in half the time of `find_slot`
        return False
    pace["accepted"] += 1
    pace["fresh"] += 1
    pace["noted"] = now
    if pace["refills"] != "windows":
        _bound_by_earlier(pace, remaining, asked, now)
    elif remaining < pace["remaining"]:
        pace["remaining"] = remaining
    return True


def refuse(pace: Pace) -> None:
    """Count a rejection: a client that shares a quota gives way, and the credit for the request was not spent."""
    pace["rejected"] += 1
    if pace["refills"] == "counter":
        pace["counter"] = counters.refuse(pace["counter"], alone=not state.is_shared(pace))
    if pace["share"] <= ALONE:
        # Of a large share all responses tell, so that one refusal says less.
        weight = 0.2 if state.is_large(pace) and pace["refills"] == "sliding" else 1.0
        pace["own"] *= _BACK_OFF**weight
        pace["integral"] = max(_INTEGRAL_LEAST, pace["integral"] - 0.06)


def _advance(pace: Pace, now: float) -> float:
    """Move the replica to now, and return how much has come back meanwhile."""
    slot, log = state.find_slot(now, pace["window"]), pace["log"].copy()
    log[pace["slot"] % RING] += pace["fresh"]
    pace["fresh"] = 0.0
    back = 0.0
    for old in range(pace["slot"] + 1, min(slot, pace["slot"] + RING) + 1):
        back += log[old % RING]
        log[old % RING] = 0.0
    pace["log"], pace["slot"] = log, max(slot, pace["slot"])
    return back


def _bound_by_earlier(pace: Pace, remaining: float, asked: float, now: float) -> None:
    """Note what remains after a response that may be older than the last one: it tightens what is known, at best.

    Where quota comes back all the time, what remains does not say which of the two the server counted first, so that
    the request may not be in what remained after the last one.
    """
    if remaining < pace["lowest"]:
        pace["lowest"] = remaining
    if pace["refills"] == "windows" or state.is_shared(pace):
        pace["remaining"] = min(pace["remaining"], remaining)
    else:
        lowest = pace["lowest"] - _find_refill(pace, now - asked)
        pace["remaining"] = max(pace["remaining"] - 1, min(pace["remaining"], lowest))


def _bound_remaining(pace: Pace, seen: Seen, now: float, *, rolled: bool) -> None:
    """Note what remains for certain: a request that overlapped with this one may have been counted after it."""
    if seen.asked >= pace["noted"] or (rolled and (pace["refills"] == "windows" or state.is_shared(pace))):
        pace["remaining"] = seen.remaining
    elif pace["refills"] == "windows" or state.is_shared(pace):
        pace["remaining"] = min(pace["remaining"], seen.remaining)
    else:
        since = pace["remaining"] - 1
        if pace["refills"] == "bucket" and not pace["margin"]:
            since += (now - pace["at"]) * pace["limit"] / pace["window"]
        lowest = min(pace["lowest"], seen.remaining) - _find_refill(pace, now - seen.asked)
        others = seen.remaining - max(0.0, pace["accepted"] - 1)
        pace["remaining"] = max(min(since, seen.remaining), others, lowest)
    pace["lowest"] = seen.remaining


def _find_refill(pace: Pace, latency: float) -> float:
    """Return how much may have come back at the server while a response was awaited."""
    if pace["refills"] == "bucket":
        return latency * pace["limit"] / pace["window"]
    return pace["expired"] + _find_soon(pace, latency)


def _find_others(pace: Pace, seen: Seen, now: float, in_flight: int, *, rolled: bool) -> float:
    """Return what others took for certain since the last response: what no own request explains, under way or not."""
    spent = pace["limit"] - seen.remaining if rolled else pace["before"] - seen.remaining
    if pace["refills"] == "bucket":
        room = pace["limit"] - pace["before"] + pace["accepted"] + in_flight
        refill = min(room, (now - pace["at"]) * pace["limit"] / pace["window"])
        spent = pace["before"] - seen.remaining + refill
    surplus = spent - pace["accepted"] + (0.0 if rolled else pace["surplus"])
    others, least = max(0.0, surplus - in_flight), -1.0 - pace["flying"]
    if pace["refills"] == "bucket" and not -_BLUR < min(surplus - least, 0.0) + others < _BLUR:
        pace["evenness"] = max(0.0, pace["evenness"] - 0.05)
    pace["surplus"] = max(least, surplus - others)
    return others


def _replicate(pace: Pace, seen: Seen, now: float, in_flight: int) -> tuple[float, float]:
    """Write what others took into the replica, and return what all and they took, if the server is a sliding one."""
    log, slot, limit = pace["log"], pace["slot"], pace["limit"]
    soon = 0.0 if state.is_shared(pace) else _find_soon(pace, now - seen.asked)
    expired, pace["expired"] = pace["expired"], 0.0
    spent = pace["before"] - seen.remaining + expired
    others = spent - pace["accepted"] + pace["debt"]
    # The server may have counted what is under way, and not have forgotten what has just expired here.
    blur = 0.0 if state.is_shared(pace) else 2.0 + in_flight + expired
    if others > blur:
        others -= blur
        pace["log"] = log = log.copy()
        slots = min(SLOTS, slot - state.find_slot(pace["at"], pace["window"]) + 1)
        for back in range(slots):
            log[(slot - back) % RING] += others / slots
        pace["debt"] = blur
    else:
        pace["debt"], others = max(-_EVEN * limit - _BLUR - soon, others), 0.0
    _suspect_bucket(pace, soon)
    whole = sum(log) + pace["fresh"] if state.is_shared(pace) else 0.0
    if whole > 0:
        drift = (max(0.0, limit - seen.remaining) / whole) ** 0.2
        pace["log"] = [amount * drift for amount in log]
    return spent, others


def _find_soon(pace: Pace, latency: float) -> float:
    """Return what comes back so soon that the server, which counts before it responds, may have it back already."""
    log, slot = pace["log"], pace["slot"]
    last = min(_SOON_MOST, _SOON + math.ceil(2 * latency * SLOTS / pace["window"]))
    return sum(log[(slot + step) % RING] for step in range(1, last + 1))


def _suspect_bucket(pace: Pace, soon: float) -> None:
    """Move the belief in an even refill: more came back than the replica holds, or it holds more than there is."""
    if pace["refills"] == "windows":
        return
    most = _EVEN * pace["limit"] + _BLUR
    if pace["debt"] < 0.5 - most - soon or (
        not state.is_shared(pace) and sum(pace["log"]) > _FULL * pace["limit"] + _BLUR
    ):
        pace["evenness"], pace["debt"] = min(1.0, pace["evenness"] + 0.2), 0.0
    elif pace["refills"] != "bucket":
        pace["evenness"] = max(0.0, pace["evenness"] - 0.01)
    alone = pace["share"] > 0.8
    pace["refills"] = "bucket" if pace["evenness"] >= 0.3 and alone else "sliding"


def _measure_batch(pace: Pace, seen: Seen) -> None:
    """Let so much remain as comes back at once, since it is not known when the next batch comes."""
    refill = max(0.0, seen.asked - pace["asked"]) * pace["limit"] / pace["window"]
    # What overlapped with either response may not have been counted between them.
    own = pace["accepted"] - pace["flying"] if seen.asked >= pace["noted"] else 0.0
    batch = seen.remaining - pace["before"] + max(1.0, own) - refill
    batch = min(_BATCH_MOST * pace["limit"], batch + 1) if batch > _BATCH_LEAST else 0.0
    pace["margin"] = max(_BATCH_KEPT * pace["margin"], batch)


def _locate_reset(pace: Pace, seen: Seen, now: float, *, accepted: bool) -> int:
    """Narrow down the next reset, revise the belief in windows, and return how many windows have ended."""
    window, low, high = pace["window"], pace["low"], pace["high"]
    rolled = 0
    if now <= low:
        if accepted and seen.remaining > pace["before"] - 0.5:  # this very request took one
            _shift_doubt(pace, 0.34)
    elif seen.asked >= high or seen.remaining > pace["before"]:
        rolled = max(1, math.ceil((seen.asked - high) / window))
        _judge_reset(pace, seen, max(0.0, now - low - (rolled - 1) * window))
        if rolled == 1:  # a window that opens with a request may open late: how late, the resets to come tell
            tells = seen.reset is not None and 2 * seen.coarse <= window
            low, high = max(low, pace["asked"]), now if tells else min(high + 3 * window / pace["limit"], now)
        low, high = min(low, high) + rolled * window, max(low, high) + (rolled + 0.002) * window
        if seen.reset is None:  # it may have opened with this very request
            high = max(high, now + window)
    if seen.reset is not None:
        said_low, said_high = seen.asked + seen.reset - seen.coarse, now + seen.reset
        gap = max(low, said_low) - min(high, said_high)
        if gap <= 0:
            low, high = max(low, said_low), min(high, said_high)
            if pace["partial"] < 0.5:
                width = high - low + 1.0
                precision = math.log(max(1.0, min(50.0, window / width)))
                _shift_doubt(pace, -0.3 * precision * min(1.0, (now - pace["at"]) / width))
        else:
            low, high = said_low, said_high
            _shift_doubt(pace, 0.5 * min(1.0, gap / (0.1 * window)))
    pace["low"], pace["high"] = low, high
    return rolled


def _judge_reset(pace: Pace, seen: Seen, ago: float) -> None:
    """Move the belief in windows by what a reset brought, compared with what a window brings."""
    limit, window = pace["limit"], pace["window"]
    expected = limit - 3 * limit / window * ago - pace["accepted"]
    crowd = _BLUR if state.is_shared(pace) else 0.0  # others that were refused may have come back first
    if ago < 0.15 * window and seen.remaining < 0.6 * expected - crowd:
        pace["partial"] = min(1.0, pace["partial"] + 0.5)
        _shift_doubt(pace, 0.5)
    elif ago < 0.3 * window and seen.remaining > 0.8 * limit and pace["before"] < 0.6 * limit:
        pace["partial"] = max(0.0, pace["partial"] - 0.5)
        _shift_doubt(pace, -0.5)


def _shift_doubt(pace: Pace, step: float) -> None:
    doubt = min(1.0, max(0.0, pace["doubt"] + step))
    if doubt >= 0.5 and pace["refills"] == "windows":
        pace["refills"], doubt = "sliding", 1.0
    elif doubt <= 0.05 and pace["refills"] != "windows":
        pace["refills"], doubt = "windows", 0.0
    pace["doubt"] = doubt


def _estimate_spent(pace: Pace, seen: Seen, now: float, rolled: int, replicated: float) -> float:
    """Return what all clients took since the last response."""
    fall = pace["before"] - seen.remaining
    if pace["refills"] == "sliding" and state.is_large(pace) and pace["slope"]:
        return (now - pace["at"]) * pace["slope"]
    if (pace["refills"] != "windows" and buckets.may_be_bucket(pace["bucket"])) or (
        pace["refills"] == "sliding" and _LARGE < pace["share"] <= ALONE
    ):
        # The replica is short of what comes back evenly, which would make a large share larger still.
        return fall + (now - pace["at"]) * pace["limit"] / pace["window"]
    if pace["refills"] == "sliding":
        # Where more came back than was expected, the others may have taken much yet: a small share would jump. Of a
        # larger quota, which is shared by what remains, both kinds of error are alike and cancel out.
        return max(pace["accepted"], replicated) if pace["limit"] < state.MANY else replicated
    if not rolled:
        return max(fall, pace["accepted"])
    rate = pace["total"] / pace["span"]
    ended = pace["high"] - rolled * pace["window"]
    in_old = min(pace["before"], rate * max(0.0, ended - pace["at"]))
    between = (rolled - 1) * min(pace["limit"], rate * pace["window"])
    return max(pace["limit"] - seen.remaining + in_old + between, pace["accepted"])
