"""What a response of a counter changes, and which responses show a server to be one; see `counters`."""

from __future__ import annotations

import math
from typing import Literal

from polvo_adapters.policies.ratelimit.pacing import counters, credit, shares, state
from polvo_adapters.policies.ratelimit.pacing.state import RING, Pace, Seen

_MOST = 0.5  # share of a client that has most of the quota
_DRIFT = 0.0001  # of a window, by which the clocks of client and server may go apart


def judge_end(pace: Pace, seen: Seen, now: float) -> bool:
    """Revise what speaks for a counter when the announced end of a window has moved, and return whether it is one."""
    end, limit = (pace["low"] + pace["high"]) / 2, pace["limit"]
    said = (seen.asked + now) / 2 + (seen.reset or 0.0) - seen.coarse / 2
    around = counters.End(
        limit,
        pace["window"],
        step=said - end,
        coarse=seen.coarse,
        left=pace["said"] - pace["at"],
        since=max(0.0, now + pace["window"] - said),
        used=limit - pace["before"],
        now_used=limit - seen.remaining,
    )
    pace["counter"] = counters.judge_end(pace["counter"], around, alone=pace["share"] > _MOST)
    return counters.is_counter(pace["counter"])


def learn(pace: Pace, seen: Seen, now: float, *, accepted: bool, free: float, in_flight: int) -> None:
    """Move the pace of a counter. Each response is used, because what remains is known with its fraction."""
    pace["bucket"] = seen.bucket
    pace["accepted"] += accepted
    credit.earn(pace, now)
    paced = free >= 0 and state.is_shared(pace) and pace["seen"] >= state.NEWCOMER
    mine = max(0.0, pace["earned"] - pace["rejected"]) if paced else pace["accepted"]
    left, ended, fits = (pace["low"] + pace["high"]) / 2 - pace["at"], *_locate_end(pace, seen, now)
    count, spent, odd = counters.follow(
        pace["counter"],
        counters.Step(
            pace["limit"], pace["window"], left, now - pace["at"], ended, pace["accepted"], seen.remaining,
            in_flight, now - seen.asked, ordered=seen.asked >= pace["at"],
        ),
    )  # fmt: skip
    pace["counter"] = count
    shares.measure_share(pace, seen, now, mine, spent, max(0.0, spent - pace["accepted"]), equalizes=free >= 0)
    pace["remaining"] = min(count.level, seen.remaining) if state.is_shared(pace) else count.level
    if not fits or not counters.is_counter(count) or counters.is_odd(odd, pace["limit"]):
        _leave(pace, seen, now, "windows" if ended else "sliding")
    pace["before"], pace["at"], pace["asked"], pace["flying"] = seen.remaining, now, seen.asked, in_flight
    pace["earned"] = pace["accepted"] = pace["rejected"] = 0.0
    pace["seen"] += 1
    state.plan(pace)
    if not accepted and pace["refills"] == "counter" and state.is_shared(pace):
        state.plan_refused(pace)
    credit.free_credit(pace, free, in_flight)


def _locate_end(pace: Pace, seen: Seen, now: float) -> tuple[int, bool]:
    """Narrow down when the window of a counter ends, and return how many have ended, and whether all that fits."""
    low, high, window = pace["low"], pace["high"], pace["window"]
    if seen.reset is None:
        ended = max(0, math.ceil((seen.asked - high) / window))
        pace["low"], pace["high"] = low + ended * window, high + ended * window
        return ended, True
    said_low, said_high = seen.asked + seen.reset - seen.coarse, now + seen.reset
    ended = round((said_low + said_high - low - high) / 2 / window)
    if ended < 0:
        return (-1 if seen.asked < pace["at"] else 0), seen.asked < pace["at"]
    moved = ended * window
    low, high = low + moved * (1 - _DRIFT), high + moved * (1 + _DRIFT)
    gap = max(low, said_low) - min(high, said_high)
    if gap > 0:
        low, high = said_low, said_high
    else:  # and it has not ended yet, and is not further off than a whole window
        low, high = max(low, said_low, seen.asked), min(high, said_high, now + window)
    pace["low"], pace["high"] = min(low, high), high
    return ended, gap <= 0.1 * window


def _leave(pace: Pace, seen: Seen, now: float, refills: Literal["windows", "sliding"]) -> None:
    """Treat a server as one of another kind again; of its last window only the total that was used is known."""
    pace["counter"], pace["remaining"] = counters.UNKNOWN, seen.remaining
    pace["refills"], pace["doubt"] = refills, 0.0 if refills == "windows" else 1.0
    pace["log"], pace["slot"] = [(pace["limit"] - seen.remaining) / RING] * RING, state.find_slot(now, pace["window"])
    pace["fresh"] = pace["expired"] = pace["debt"] = 0.0
