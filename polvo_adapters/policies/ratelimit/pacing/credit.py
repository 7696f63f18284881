"""What may be spent now, and when more may be: the law, integrated over time, and its inverse."""

from __future__ import annotations

import math

from polvo_adapters.policies.ratelimit.pacing import counters
from polvo_adapters.policies.ratelimit.pacing.state import ALONE, NEWCOMER, RING, SLOTS, Pace, Seen, is_shared

_IDLE_CREDIT = 0.25  # of the client's share, saved up while it does not spend
_LONG = 300.0  # seconds: the end of a shorter window comes before another request may ask for it
_FIRST_BLIND, _LONGEST_BLIND = 1.0, 300.0  # seconds until a request asks whether more has come, doubling
_END = 0.01  # of a quota that is not spread, which clients share in parts, beside the requests that are under way
_EXCESS_MOST = 0.06  # of the quota; where the replica holds more too much, the server is of another kind


def earn(pace: Pace, now: float) -> None:
    """Let credit grow to `now`."""
    if now > pace["credited"]:
        credit = pace["credit"]
        grown = credit + compute_allowance(pace, now) - compute_allowance(pace, pace["credited"])
        grown = min(max(compute_savings(pace), credit), grown)
        pace["earned"] += grown - credit
        pace["credit"], pace["credited"] = grown, now


def find_ready_time(pace: Pace, now: float, ahead: float, in_flight: int) -> float:
    """Return when a request may go: `now`, a later time, or infinity where a response in flight decides.

    Args:
        pace: The pace, with credit up to `now`.
        now: The time, in seconds.
        ahead: Requests that wait and go first.
        in_flight: Requests without a response yet.
    """
    missing = 1 + in_flight + ahead - pace["remaining"]
    if pace["refills"] == "counter":
        missing += pace["margin"]
    if pace["blind"]:
        return math.inf if in_flight else max(now, pace["ask_at"])
    if pace["seen"] < NEWCOMER and is_shared(pace):
        if in_flight:
            return math.inf
        return now if missing <= 0 else max(now, pace["high"])
    wanted = 1.0 + ahead - pace["credit"]
    at = now if wanted <= 0 else max(now, _find_earning_time(pace, wanted))
    windows = pace["refills"] == "windows"
    before_reset = windows and pace["at"] < pace["high"]
    if before_reset and pace["share"] > ALONE and at > pace["reset"]:
        at = max(now, pace["high"])
        if in_flight:
            return math.inf
    if missing <= 0:
        return at
    if before_reset:
        return max(at, pace["high"]) if not in_flight else math.inf
    return at if windows else max(at, _find_refill_time(pace, missing))


def note_end(pace: Pace, seen: Seen, now: float, *, accepted: bool, is_known: bool = True) -> None:
    """Note, where nothing remains and the server does not say when more comes, when a request may ask for it.

    Where requests come back one by one, that is when the next is due, as far as is known: it is not where the length of
    the window is a guess.
    """
    if seen.remaining >= 1:
        pace["blind"] = 0
    elif seen.reset is None and pace["window"] > _LONG and (seen.asked >= pace["ask_at"] or not pace["blind"]):
        times = 0 if accepted and is_known else pace["blind"]
        pause = min(60.0, max(_FIRST_BLIND, pace["window"] / 1000)) * 2.0 ** min(20, times)
        if is_known and pace["refills"] != "windows":
            pause = max(pause if times else 0.0, _find_refill_time(pace, 1 - pace["remaining"]) - now)
        pace["ask_at"] = now + min(_LONGEST_BLIND, pause)
        pace["blind"] = times + 1


def compute_savings(pace: Pace) -> float:
    """Return the credit that silence may save up."""
    return max(1.0, _IDLE_CREDIT * pace["share"] * pace["remaining"]) + 1


def free_credit(pace: Pace, free: float, in_flight: int) -> None:
    """Turn into credit at once what need not be spread; a client that is not alone after all gives it back."""
    pace["near"] = 0.0 if pace["seen"] >= NEWCOMER else pace["limit"]
    if free < 0:
        _free_all(pace, in_flight)
        return
    alone = pace["share"] > ALONE and pace["seen"] >= 1 and pace["unexplained"] < 1
    if alone or free == 0:
        kept = max(pace["margin"], free * pace["limit"]) + in_flight
        extra = pace["share"] * (pace["remaining"] - kept) - pace["credit"]
        if extra > 0:
            pace["credit"] += extra
            pace["earned"] += extra
    elif pace["credit"] > compute_savings(pace):
        pace["earned"] -= pace["credit"] - compute_savings(pace)
        pace["credit"] = compute_savings(pace)


def _free_all(pace: Pace, in_flight: int) -> None:
    """Turn all into credit but a reserve, of which each client has its share, so that they do not meet at its end."""
    share, remaining = pace["share"], max(0.0, pace["remaining"] - pace["margin"])
    reserve = min(pace["limit"], max(_END * pace["limit"], (1 + in_flight) / share))
    most = max(remaining - reserve, share * remaining)
    pace["credit"] = max(most - in_flight, min(pace["credit"], most))
    pace["near"] = min(pace["limit"], max(pace["near"], 2 * reserve))


def compute_allowance(pace: Pace, t: float) -> float:
    """Return how many requests the law allows from the last response until `t`, without another response."""
    share = pace["share"]
    if pace["refills"] != "windows":
        first_part = min(t, pace["until"]) - pace["at"]
        rest = max(0.0, t - pace["until"])
        return share * (pace["slope"] * first_part + rest * pace["limit"] / pace["window"])
    reset, bend = pace["reset"], pace["bend"]
    left = max(pace["remaining"] - pace["margin"], 0.0) if pace["at"] < reset else 0.0
    if t <= reset:
        return share * left * (1 - math.pow((reset - t) / max(reset - pace["at"], 1e-9), bend))
    windows, into = divmod(t - reset, pace["window"])
    fresh = pace["limit"] - pace["margin"]
    return share * (left + fresh * (windows + 1 - math.pow(1 - into / pace["window"], bend)))


def _find_earning_time(pace: Pace, credit: float) -> float:
    """Return when the law will have added so much credit: `compute_allowance`, turned around."""
    amount = (compute_allowance(pace, pace["credited"]) + credit) / pace["share"]
    if pace["refills"] != "windows":
        first_part = pace["slope"] * (pace["until"] - pace["at"])
        if amount <= first_part:
            return pace["at"] + amount / pace["slope"]
        return pace["until"] + (amount - first_part) * pace["window"] / pace["limit"]
    reset, power = pace["reset"], 1 / pace["bend"]
    left = max(pace["remaining"] - pace["margin"], 0.0) if pace["at"] < reset else 0.0
    if amount < left:
        return reset - (reset - pace["at"]) * math.pow(1 - amount / left, power)
    fresh = pace["limit"] - pace["margin"]
    windows, part = divmod(amount - left, fresh)
    return reset + pace["window"] * (windows + 1 - math.pow(1 - part / fresh, power))


def _find_excess(pace: Pace) -> float:
    """Return how many requests the replica of a client that is alone holds too much.

    Where responses overtake one another, some are written down twice. They do not come back: to count on them is to be
    refused, and a pause in whole seconds costs more than what is left unused here.
    """
    excess = sum(pace["log"]) + pace["fresh"] - max(0.0, pace["limit"] - pace["remaining"])
    return min(max(0.0, excess), _EXCESS_MOST * pace["limit"])


def _find_refill_time(pace: Pace, missing: float) -> float:
    """Return when the server will have that many requests more than it last said."""
    if pace["refills"] == "bucket":
        return pace["at"] + missing * pace["window"] / pace["limit"]
    if pace["refills"] == "counter":
        at, count = pace["at"], pace["counter"]
        left = (pace["low"] - at, pace["high"] - at)
        outlook = counters.Outlook(pace["limit"], pace["window"], count.last, count.level, left)
        return at + counters.find_refill(outlook, missing, missing - 1 - pace["margin"] + pace["remaining"])
    log, slot = pace["log"], pace["slot"]
    if not is_shared(pace):
        missing += _find_excess(pace)
    # What comes back within half a round trip to the server may be in the last response already.
    in_response = round((pace["at"] - pace["asked"]) / 2 * SLOTS / pace["window"])
    step = 1
    for step in range(1, SLOTS + 1):
        missing -= log[(slot + step) % RING] if step > in_response else 0.0
        if missing <= 1e-6:
            break
    return (slot + step) * pace["window"] / SLOTS
