"""How fast to spend one quota that others may be spending too, told by nothing but the headers of one's own answers.

**What is known.** Each answer says how much remains, and when more will come, often in whole seconds. From that and
from one's own requests follows what others took: the fall that one's own requests do not explain.

**Three kinds of servers**, told apart by what their headers do (`refills`, moved by `doubt`):

    windows    all comes back at one moment. The moment is known only to lie between `low` and `high`; every answer
               cuts that interval, every reset that is seen cuts it again, window after window.
    sliding    what was used comes back one window after it was used. `log` is a replica of the server's log, one's
               own requests at their exact times and those of others spread evenly between two answers, so that the
               future of the quota is known for one window ahead.
    bucket     comes back at an even rate, whatever was used. Only who is alone can tell it from `sliding`, and for
               others the difference does not matter.

An answer that contradicts `windows` (a reset that wanders, a rise without a reset, a reset that brought little)
moves `doubt` up; a reset that fits, or that brought everything, moves it down. At 1 and 0 the belief changes.

**The law** (explicit congestion control: RCP, Dukkipati 2007; XCP, Katabi et al. 2002, with `remaining` for the
router's feedback). Every client spends its `share` of what may be spent in total:

    windows    remaining R, time to reset T: spending at F * R / T lets R fall as (T / window) ** F. It never gets to
               zero before the reset, whatever the error of the shares, so that a few clients too many cost nothing.
    sliding    the highest even rate at which the replica stays above a reserve all through the next window, and a
               slow integral term that takes up what remains unused.
    bucket     the rate of the refill, and what lies above the reserve within a tenth of a window.

The **share** is one's own part of all that was spent in the last window. Shares measured like that add up to one by
themselves. To make them equal, the exponent F = 1 + ln(1 / share) / 7 bends the curve, so that its shape tells
how many are spending: who has a large share aims at a flatter curve, sees the real one below and gives way. On
sliding servers the reserve grows with the share, which does the same more slowly.

**Credit** is what one may spend now: it grows by the law and falls by one with every request. Alone, the upper half
of a quota is credit at once: nobody waits while quota is plentiful.

Around a moment at which quota should be back while none is known to be, one request goes ahead and the others wait for
what it learns.

All is pure: a `Pace` is a dict of numbers, copied by the caller before it is moved.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypedDict

SLOTS = 128
"""Slots of the replica: a finer one gains less than the way to the server takes."""

_BEND = 1 / 7  # 7 = ln(1000): a thousand clients double the pace at the beginning of a window
_FAIRNESS = 0.1  # per window; ten times as much would be answered by the shares of everybody at once
_NEWCOMER = 0.5  # per window, for three windows: a newcomer starts with one request and has far to go
_MARGIN = 0.01  # of a window's quota, left for requests that are on the way while a window ends
_RESERVE = 0.002  # of a sliding quota, at least
_RESERVE_SHARE = 0.002  # more for each e-fold of the share
_RESERVE_MOST = 0.04  # together never more than this, because it is quota unused
_SPREAD = 0.39  # standard deviation of the requests of a client that sends about one in a window
_INTEGRAL, _INTEGRAL_LEAST, _INTEGRAL_MOST = 1.0, -0.3, 0.2
_BACK_OFF = 0.8  # of the share, after a rejection that should not have been
_REMEMBERED = 6.0  # requests of one's own that a share is measured over, at least
_ALONE = 0.95
_PRIOR = 5.0  # requests that the first guess of the share weighs
_SCARCE = 0.1  # requests per window that a share stands for, at least: nobody gives up for good
_USUAL_WINDOWS = (60.0, 900.0, 3600.0, 86400.0)
_IDLE_CREDIT = 0.25  # of one's share, saved up while one does not spend


class Pace(TypedDict):
    """What is known of one quota, and the credit that follows from it."""

    limit: float
    window: float
    remaining: float
    before: float
    at: float
    asked: float
    low: float
    high: float
    refills: Literal["windows", "sliding", "bucket"]
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
    expired: float
    debt: float
    slope: float
    until: float
    reset: float
    margin: float
    bend: float


class Seen(NamedTuple):
    """What one answer says of a quota.

    Attributes:
        asked: When its request was sent.
        limit: Requests per window.
        window: Seconds.
        remaining: Requests left.
        reset: Seconds until more, or None.
        coarse: Seconds by which `reset` may be too high, because it was rounded.
    """

    asked: float
    limit: float
    window: float
    remaining: float
    reset: float | None
    coarse: float


def first(seen: Seen, now: float) -> Pace:
    """Return the pace after the first answer."""
    limit, window = seen.limit, seen.window
    used = max(1.0, limit - seen.remaining)
    reset = window if seen.reset is None else seen.reset
    share = max(1 / used, _unclaimed(seen, used, reset))
    prior = min(used, _PRIOR)
    slot = _slot(now, window)
    log = [(used - 1) / SLOTS] * SLOTS  # others may have used it at any time of the last window
    log[slot % SLOTS] += 1
    pace = Pace(
        limit=limit, window=window, remaining=seen.remaining, before=seen.remaining, at=now, asked=seen.asked,
        low=seen.asked + reset - seen.coarse, high=now + reset, refills="windows", doubt=0.0, partial=0.0, evenness=0.0,
        share=share, own=share * prior, total=prior, span=max(0.01 * window, (window - reset) * prior / used),
        unexplained=0.0, seen=0, born=now, credit=1.0, credited=now, earned=1.0, accepted=0.0, rejected=0.0,
        integral=0.0, log=log, slot=slot, expired=0.0, debt=0.0, slope=0.0, until=now, reset=0.0, margin=0.0, bend=1.0,
    )  # fmt: skip
    _plan(pace)
    return pace


def _unclaimed(seen: Seen, used: float, reset: float) -> float:
    """Return the part of what remains that will be left at the reset if all go on as they did in this window.

    What was used before may have been used by one's own last run; it is no reason to begin at a crawl.
    """
    window = seen.window if seen.window > reset else next((each for each in _USUAL_WINDOWS if each > reset), reset)
    elapsed = window - reset
    if elapsed <= 0 or seen.remaining <= 0:
        return 0.0
    return 1 - 2 * used / elapsed * reset / seen.remaining


def renewed(pace: Pace, seen: Seen, now: float) -> Pace:
    """Return a pace for a quota whose size or window turned out to be another; the share stays."""
    fresh = first(seen, now)
    if pace["seen"]:
        fresh["share"] = pace["share"]
        fresh["own"] = pace["share"] * fresh["total"]
        fresh["born"], fresh["seen"], fresh["unexplained"] = pace["born"], pace["seen"], pace["unexplained"]
        _plan(fresh)
    return fresh


# --- spending ---------------------------------------------------------------------------------------------------------


def earn(pace: Pace, now: float) -> None:
    """Let credit grow to `now`."""
    if now > pace["credited"]:
        credit = pace["credit"]
        grown = min(max(_saved(pace), credit), credit + earned_by(pace, now) - earned_by(pace, pace["credited"]))
        pace["earned"] += grown - credit
        pace["credit"], pace["credited"] = grown, now


def _saved(pace: Pace) -> float:
    """Return the credit that silence may save up."""
    return max(1.0, _IDLE_CREDIT * pace["share"] * pace["remaining"]) + 1


def ready_at(pace: Pace, now: float, ahead: float, in_flight: int) -> float:
    """Return when a request may go: `now`, a later time, or infinity where it depends on an answer on its way.

    Args:
        pace: The pace, with credit up to `now`.
        now: The time.
        ahead: Requests that wait and go first.
        in_flight: Requests without an answer yet.
    """
    wanted = 1.0 + ahead - pace["credit"]
    at = now if wanted <= 0 else max(now, _earned_at(pace, earned_by(pace, pace["credited"]) + wanted))
    windows = pace["refills"] == "windows"
    before_reset = windows and pace["at"] < pace["high"]
    if before_reset and pace["share"] > _ALONE and at > pace["reset"]:
        at = max(now, pace["high"])
        if in_flight:
            return math.inf
    missing = 1 + in_flight + ahead - pace["remaining"]
    if missing <= 0:
        return at
    if before_reset:
        return max(at, pace["high"]) if not in_flight else math.inf
    return at if windows else max(at, _refilled_at(pace, missing))


def spend(pace: Pace) -> None:
    """Take one request from the credit."""
    pace["credit"] = max(0.0, pace["credit"] - 1)


def shared(pace: Pace) -> bool:
    """Tell whether others spend the quota too."""
    return pace["share"] <= _ALONE


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
    step = 1
    for step in range(1, SLOTS + 1):
        missing -= log[(slot + step) % SLOTS]
        if missing <= 1e-6:
            break
    return (slot + step + 1) * pace["window"] / SLOTS


def _plan(pace: Pace) -> None:
    """Do once per answer what credit needs."""
    share, limit, window = pace["share"], pace["limit"], pace["window"]
    spread = math.sqrt(1 / share) * _SPREAD
    if pace["refills"] == "windows":
        # The last request should be there before the window ends; alone, one knows how many there will be.
        early = 0.0 if share <= _ALONE else window / limit
        pace["reset"] = max(pace["high"] - early, min(pace["at"] + early, pace["high"]))
        pace["margin"] = (_MARGIN * limit + spread) * (1 - share)
        pace["bend"] = 1 - _BEND * math.log(share)
        return
    above = pace["remaining"] - reserve(pace)
    rate = limit / window
    if share > _ALONE:
        pace["slope"], pace["until"] = max(rate + 10 * above / window, 0.05 * rate), pace["at"] + window / 10
        return
    # One's own next look bounds how near a dip may be that one reacts to.
    nearest = max(1, min(SLOTS, math.ceil(SLOTS * max(0.1, 1 / max(share * limit, 0.05)))))
    log, slot = pace["log"], pace["slot"]
    lowest = math.inf
    for step in range(1, SLOTS + 1):
        back = log[(slot + step) % SLOTS]
        above += back
        if step >= nearest:
            lowest = min(lowest, (above - back / 2) / step)
    slope = lowest * SLOTS / window * (1 + pace["integral"])
    pace["slope"], pace["until"] = max(slope, 0.05 * rate), pace["at"] + window


def reserve(pace: Pace) -> float:
    """Return what should remain on a server that refills all the time."""
    share, limit = pace["share"], pace["limit"]
    if share > _ALONE:
        return 0.5
    wanted = limit * (_RESERVE + _RESERVE_SHARE * math.log1p(share / 1e-4)) + 2 * _SPREAD * math.sqrt(1 / share)
    return max(1.0, min(_RESERVE_MOST * limit, wanted))


# --- learning ---------------------------------------------------------------------------------------------------------


def refuse(pace: Pace) -> None:
    """Take note of a rejection: who shares a quota gives way, and what was earned for it was not spent."""
    pace["rejected"] += 1
    if pace["share"] <= _ALONE:
        pace["own"] *= _BACK_OFF
        pace["integral"] = max(_INTEGRAL_LEAST, pace["integral"] - 0.06)


def learn(pace: Pace, seen: Seen, now: float, *, accepted: bool, free: float) -> None:
    """Move the pace by an answer; the caller has copied it.

    Args:
        pace: The pace.
        seen: What the answer says.
        now: When it came.
        accepted: Whether the server did the request.
        free: Part of the quota above which nobody who is alone waits.
    """
    pace["accepted"] += accepted
    pace["expired"] += _advance(pace, now)
    pace["log"][pace["slot"] % SLOTS] += accepted
    if seen.asked < pace["at"]:  # it overlapped with the last one, so that which of them came first is not known
        pace["remaining"] = min(pace["remaining"], seen.remaining)
        return
    earn(pace, now)
    shared = pace["share"] <= _ALONE
    mine = max(0.0, pace["earned"] - pace["rejected"]) if shared else pace["accepted"]
    explained = _replicate(pace, seen)
    rolled = _locate(pace, seen, now, accepted=accepted)
    spent = _spent(pace, seen, now, rolled, explained)
    _measure(pace, seen, now, mine, spent, rolled=rolled > 0)
    pace["remaining"] = seen.remaining if accepted else 0.0
    pace["before"], pace["at"], pace["asked"] = seen.remaining, now, seen.asked
    pace["earned"] = pace["accepted"] = pace["rejected"] = 0.0
    pace["seen"] += 1
    _plan(pace)
    _free(pace, free)


def _free(pace: Pace, free: float) -> None:
    """Turn into credit at once what need not be spread; who is not alone after all gives it back."""
    alone = pace["share"] > _ALONE and pace["seen"] >= 1 and pace["unexplained"] < 1
    if alone or free == 0:
        extra = pace["share"] * (pace["remaining"] - max(pace["margin"], free * pace["limit"])) - pace["credit"]
        if extra > 0:
            pace["credit"] += extra
            pace["earned"] += extra
    elif pace["credit"] > _saved(pace):
        pace["earned"] -= pace["credit"] - _saved(pace)
        pace["credit"] = _saved(pace)


def _slot(t: float, window: float) -> int:
    return int(t * SLOTS / window)


def _advance(pace: Pace, now: float) -> float:
    """Move the replica to now, and return how much has come back since."""
    slot, log = _slot(now, pace["window"]), pace["log"].copy()
    back = 0.0
    for old in range(pace["slot"] + 1, min(slot, pace["slot"] + SLOTS) + 1):
        back += log[old % SLOTS]
        log[old % SLOTS] = 0.0
    pace["log"], pace["slot"] = log, max(slot, pace["slot"])
    return back


def _replicate(pace: Pace, seen: Seen) -> float:
    """Write what others took into the replica, and return what all took, if the server is a sliding one."""
    log, slot = pace["log"], pace["slot"]
    own = pace["accepted"]
    spent = pace["before"] - seen.remaining + pace["expired"]
    pace["expired"] = 0.0
    _suspect_bucket(pace, spent, own)
    others = spent - own + pace["debt"]
    pace["debt"] = max(-0.1 * pace["limit"], min(0.0, others))
    if others > 0:
        slots = min(SLOTS, slot - _slot(pace["at"], pace["window"]) + 1)
        for back in range(slots):
            log[(slot - back) % SLOTS] += others / slots
    whole = sum(log) if shared(pace) else 0.0
    if whole > 0:
        drift = (max(0.0, pace["limit"] - seen.remaining) / whole) ** 0.2
        pace["log"] = [amount * drift for amount in log]
    return spent


def _suspect_bucket(pace: Pace, spent: float, own: float) -> None:
    """Notice that more came back than the replica has: the server refills evenly."""
    if pace["refills"] == "windows":
        return
    log, slot = pace["log"], pace["slot"]
    missing = own - spent - log[(slot + 1) % SLOTS] - 0.5
    step = 0.1 * min(3.0, missing) if missing > 0 else -0.01
    pace["evenness"] = min(1.0, max(0.0, pace["evenness"] + step))
    alone = pace["share"] > 0.8
    pace["refills"] = "bucket" if pace["evenness"] >= 0.5 and alone else "sliding"


def _locate(pace: Pace, seen: Seen, now: float, *, accepted: bool) -> int:
    """Narrow down the next reset, revise the belief in windows, and return how many windows have ended."""
    window, low, high = pace["window"], pace["low"], pace["high"]
    rolled = 0
    if now <= low:
        if accepted and seen.remaining > pace["before"] - 0.5:  # this very request took one
            _doubt(pace, 0.34)
    elif seen.asked >= high or seen.remaining > pace["before"]:
        rolled = max(1, math.ceil((seen.asked - high) / window))
        _judge_reset(pace, seen, max(0.0, now - low - (rolled - 1) * window))
        if rolled == 1:  # a window that opens with a request may open a little late
            low, high = max(low, pace["asked"]), min(high + 3 * window / pace["limit"], now)
        low, high = min(low, high) + rolled * window, max(low, high) + (rolled + 0.002) * window
    if seen.reset is not None:
        said_low, said_high = seen.asked + seen.reset - seen.coarse, now + seen.reset
        gap = max(low, said_low) - min(high, said_high)
        if gap <= 0:
            low, high = max(low, said_low), min(high, said_high)
            if pace["partial"] < 0.5:
                width = high - low + 1.0
                told = math.log(max(1.0, min(50.0, window / width)))
                _doubt(pace, -0.3 * told * min(1.0, (now - pace["at"]) / width))
        else:
            low, high = said_low, said_high
            _doubt(pace, 0.5 * min(1.0, gap / (0.1 * window)))
    pace["low"], pace["high"] = low, high
    return rolled


def _judge_reset(pace: Pace, seen: Seen, ago: float) -> None:
    """Compare what a reset brought with what a window brings."""
    limit, window = pace["limit"], pace["window"]
    expected = limit - 3 * limit / window * ago - pace["accepted"]
    if ago < 0.15 * window and seen.remaining < 0.6 * expected:
        pace["partial"] = min(1.0, pace["partial"] + 0.5)
        _doubt(pace, 0.5)
    elif ago < 0.3 * window and seen.remaining > 0.8 * limit and pace["before"] < 0.6 * limit:
        pace["partial"] = max(0.0, pace["partial"] - 0.5)
        _doubt(pace, -0.5)


def _doubt(pace: Pace, step: float) -> None:
    doubt = min(1.0, max(0.0, pace["doubt"] + step))
    if doubt >= 0.5 and pace["refills"] == "windows":
        pace["refills"], doubt = "sliding", 1.0
    elif doubt <= 0.05 and pace["refills"] != "windows":
        pace["refills"], doubt = "windows", 0.0
    pace["doubt"] = doubt


def _spent(pace: Pace, seen: Seen, now: float, rolled: int, replicated: float) -> float:
    """Return what all clients took since the last answer."""
    fall = pace["before"] - seen.remaining
    if pace["refills"] == "sliding":
        return replicated
    if pace["refills"] == "bucket":
        return fall + (now - pace["at"]) * pace["limit"] / pace["window"]
    if not rolled:
        return max(fall, pace["accepted"])
    rate = pace["total"] / pace["span"]
    ended = pace["high"] - rolled * pace["window"]
    in_old = min(pace["before"], rate * max(0.0, ended - pace["at"]))
    between = (rolled - 1) * min(pace["limit"], rate * pace["window"])
    return max(pace["limit"] - seen.remaining + in_old + between, pace["accepted"])


def _measure(pace: Pace, seen: Seen, now: float, mine: float, spent: float, *, rolled: bool) -> None:
    """Measure the share, and move it a little towards equality."""
    window, since = pace["window"], now - pace["at"]
    per_window = max(pace["share"] * pace["limit"], 0.05)
    fade = math.exp(-since / (max(1.0, _REMEMBERED / per_window) * window))
    pace["own"] = pace["own"] * fade + mine
    pace["total"] = max(1e-9, pace["total"] * fade + spent)
    pace["span"] = pace["span"] * fade + since
    others = 0.0 if rolled else max(0.0, spent - pace["accepted"])
    pace["unexplained"] = pace["unexplained"] * math.exp(-since / window) + others
    least = _SCARCE / max(1.0, pace["limit"])
    share = measured = min(1.0, max(least, pace["own"] / pace["total"]))
    part = 1 - math.exp(-since / window)
    if pace["refills"] == "windows":
        share *= math.exp(_towards_equal(pace, seen, now, share) * part)
    else:
        above = (seen.remaining - reserve(pace)) / pace["limit"]
        pace["integral"] = max(-0.05, min(_INTEGRAL_MOST, pace["integral"] + _INTEGRAL * above * part))
        share *= math.exp(3 * max(0.0, above - 0.1) * part)
    share = 1.0 if share > 0.9 and pace["unexplained"] < 1.5 else min(1.0, share)
    pace["own"] = max(pace["own"] * share / measured, least * pace["total"])
    pace["share"] = share


def _towards_equal(pace: Pace, seen: Seen, now: float, share: float) -> float:
    """Return how fast the share should grow, per window: the shape of the window says what an equal one is."""
    left = ((pace["low"] + pace["high"]) / 2 - now) / pace["window"]
    if not 0.15 < left < 0.85:
        return 0.0
    exponent = math.log(max(seen.remaining, 0.5) / pace["limit"]) / math.log(left)
    distance = (1 - exponent) / _BEND - math.log(share)
    if distance > 1 and now - pace["born"] < 3 * pace["window"]:
        return min(1.5, distance) * _NEWCOMER
    pull = _FAIRNESS * max(-1.5, min(1.5, distance))
    return pull if pull > 0 else pull * (1 - share)
