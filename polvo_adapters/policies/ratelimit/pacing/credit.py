"""What may be spent now, and when more may be: the law, integrated over time and turned around."""

from __future__ import annotations

import math

from polvo_adapters.policies.ratelimit.pacing.state import ALONE, NEWCOMER, RING, SLOTS, Pace, shared

_IDLE_CREDIT = 0.25  # of one's share, saved up while one does not spend


def earn(pace: Pace, now: float) -> None:
    """Let credit grow to `now`."""
    if now > pace["credited"]:
        credit = pace["credit"]
        grown = min(max(savings(pace), credit), credit + earned_by(pace, now) - earned_by(pace, pace["credited"]))
        pace["earned"] += grown - credit
        pace["credit"], pace["credited"] = grown, now


def ready_at(pace: Pace, now: float, ahead: float, in_flight: int) -> float:
    """Return when a request may go: `now`, a later time, or infinity where it depends on an answer on its way.

    Args:
        pace: The pace, with credit up to `now`.
        now: The time.
        ahead: Requests that wait and go first.
        in_flight: Requests without an answer yet.
    """
    missing = 1 + in_flight + ahead - pace["remaining"]
    if pace["seen"] < NEWCOMER and shared(pace):
        if in_flight:
            return math.inf
        return now if missing <= 0 else max(now, pace["high"])
    wanted = 1.0 + ahead - pace["credit"]
    at = now if wanted <= 0 else max(now, _earned_at(pace, earned_by(pace, pace["credited"]) + wanted))
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
    return at if windows else max(at, _refilled_at(pace, missing))


def savings(pace: Pace) -> float:
    """Return the credit that silence may save up."""
    return max(1.0, _IDLE_CREDIT * pace["share"] * pace["remaining"]) + 1


def set_free(pace: Pace, free: float, in_flight: int) -> None:
    """Turn into credit at once what need not be spread; who is not alone after all gives it back."""
    alone = pace["share"] > ALONE and pace["seen"] >= 1 and pace["unexplained"] < 1
    if alone or free == 0:
        kept = max(pace["margin"], free * pace["limit"]) + in_flight
        extra = pace["share"] * (pace["remaining"] - kept) - pace["credit"]
        if extra > 0:
            pace["credit"] += extra
            pace["earned"] += extra
    elif pace["credit"] > savings(pace):
        pace["earned"] -= pace["credit"] - savings(pace)
        pace["credit"] = savings(pace)


def earned_by(pace: Pace, t: float) -> float:
    """Return what the law allows from the last answer until `t`, if nothing else is heard."""
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


def _earned_at(pace: Pace, amount: float) -> float:
    """Return when `earned_by` reaches an amount."""
    amount /= pace["share"]
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


def _refilled_at(pace: Pace, missing: float) -> float:
    """Return when the server will have that much more than it last said."""
    if pace["refills"] == "bucket":
        return pace["at"] + missing * pace["window"] / pace["limit"]
    log, slot = pace["log"], pace["slot"]
    # What comes back within half a way to the server and back may be in the last answer already.
    told = round((pace["at"] - pace["asked"]) / 2 * SLOTS / pace["window"])
    step = 1
    for step in range(1, SLOTS + 1):
        missing -= log[(slot + step) % RING] if step > told else 0.0
        if missing <= 1e-6:
            break
    return (slot + step) * pace["window"] / SLOTS
