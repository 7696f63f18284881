"""Rates and numbers of requests at once, as they are found by refusals, or announced without what remains of them.

Beyond the time that a server names, a refusal means:

    kind          quotas known            nothing known
    ------------  ----------------------  -----------------------------------------------------------------------
    rate          see `learning.refuse`;  one request at a time tries whether it is over, after pauses that double; the
                  pauses that double,     rate is what was accepted from one end of refusals to the next; it then grows,
                  without a time          slower near the old rate, then faster (Ha, Rhee, Xu: CUBIC, 2008)
    concurrency   fewer at once, by three tenths; one more after as many successes as there are slots; the rate stays
    exhausted     as rate, paused until then

A rate that is announced without what remains of it is the most that a client takes. Where much less is accepted, others
use it too: each refusal in a row halves the rate, and it grows back by requests, not by seconds, since the parts may be
slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from polvo_adapters.core.verdict import LONGEST_DOUBT
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit.account import QuotaBucket
from polvo_adapters.policies.ratelimit.turns import TurnResult

_IDLE, _INTERVALS = 5.0, 2.0  # seconds between two responses that count as use; times what the rate asks for
_FEWER = 0.7  # of the slots, after a refusal; CUBIC and the AWS SDKs use the same
_NEARLY = 0.98  # of a rate that is announced, since not all requests take the same time to the server
_SHORT = 5.0  # seconds of a window that is spread out without a need
_LESS = 0.9  # of the rate that had grown until it was refused
_SHARED = 0.5  # of a rate that others use too, for each refusal in a row, up to three
_RARELY = 100.0  # requests until such a rate is back where it was refused, at least
_A_LITTLE_LESS = 0.97  # of the rate that was accepted
_PLATEAU = 10.0  # seconds of traffic until the rate is back where it was refused, at least
_APART, _MOST_APART = 70.0, 350.0  # the same for each refusal in a row, so that there is about one a minute at most
_RARE, _RARE_FAST = 150.0, 300.0  # the same of a slow rate; times the root of another, since more are asked in vain
_PRECISE = 200  # requests accepted, from which on their number says what the rate is; of fewer, chance decides
_STREAK = 3  # refusals in a row that are no accident
_OFTEN = 20.0  # times the length of the refusals, within which they have to come again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # seconds, doubling, where a server refuses and says nothing
_PAUSE = 1.0  # seconds, where a server that announces quotas refuses and does not say for how long

SHORTEST_WINDOW = 0.1
"""Seconds of a window that is believed: a shorter one is a rounding, or a mistake."""


def learn_other(group: QuotaBucket, quota: Quota, others: Sequence[Quota]) -> None:
    """Learn from a quota that does not say what remains: how many requests at once, or which rate.

    Many requests may go at once at such a rate, but not how many is known. A window of some seconds is spread out from
    the beginning, which delays no request for longer; of a longer one, what was refused shows that it is used up.
    """
    limit, window = quota.limit, 1.0 if quota.unit == "requests-per-second" else quota.window
    if quota.unit == "concurrent-requests":
        if limit is not None:
            group["most"] = max(1.0, limit)
            group["slots"] = min(group["slots"], group["most"])
    elif limit and window and window > SHORTEST_WINDOW and not any(each.remaining is not None for each in others):
        group["told"] = _NEARLY * limit / window
        if group["rate"] != math.inf or (quota.unit == "requests" and window <= _SHORT):
            group["rate"] = min(group["rate"], group["told"])
            group["peak"], group["plateau"] = group["peak"] or group["told"], group["plateau"] or _PLATEAU


def announces_rate(group: QuotaBucket, quotas: Sequence[Quota]) -> bool:
    """Return whether a response announces another rate than the one that the group is known to have."""
    rates = [quota.limit for quota in quotas if quota.unit == "requests-per-second" and quota.limit]
    return bool(rates) and _NEARLY * rates[0] != group["told"]


def end_doubt(group: QuotaBucket, now: float) -> bool:
    """Return whether an answer that may be a refusal is one: it is, amid requests that the server accepts.

    Where it accepts none for some seconds, the service is down, and the group does not wait until refusals are over. A
    pause that is longer than any of the group itself was named by the server, and is kept.
    """
    if group["heard"] > group["began"] and now - group["heard"] <= LONGEST_DOUBT:
        return True
    own = _pause_amid_quotas(group) if group["quotas"] else _compute_pause(group)
    if group["paused"] <= now + own:
        group["refusals"], group["paused"] = 0, min(group["paused"], now)
    return False


def learn_refusal(group: QuotaBucket, refused: Throttled, asked: float, route: str) -> float:
    """Count a refusal of a request that was sent at `asked`, and return the seconds for which to pause."""
    pause = refused.retry_after or None  # a delay of zero is no information
    if refused.kind == "concurrency":
        running = group["running"] + group["stale"]
        group["slots"] = max(1.0, math.floor(_FEWER * min(group["slots"], running + 1)))
        return pause or 0.0
    is_news = asked >= group["paused"]
    if group["quotas"]:
        if is_news or not group["denials"]:
            group["denials"] += 1
        return _pause_amid_quotas(group) if pause is None else pause
    if not group["refusals"]:
        group["busy"] += min(_find_idle(group), max(0.0, asked - group["heard"]))
        group["refused_at"] = group["heard"] = asked
        group["suspect"] = route
    if is_news or not group["refusals"]:
        group["refusals"] += 1
    if pause is not None:
        return pause
    return _compute_pause(group)


def _pause_amid_quotas(group: QuotaBucket) -> float:
    """Return the pause after the last refusal in a row of a server that announces quotas, and not for how long."""
    return min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(20, max(0, group["denials"] - 1)))


def _find_idle(group: QuotaBucket) -> float:
    """Return the longest time between two responses that counts as use, since a slow rate makes for long ones."""
    return max(_IDLE, _INTERVALS / group["rate"])


def _compute_pause(group: QuotaBucket) -> float:
    """Return the pause after the last refusal in a row of a server that says nothing."""
    first = max(_FIRST_PAUSE, 1 / min(group["told"] or math.inf, group["rate"]))
    return min(_LONGEST_PAUSE, first * 2.0 ** min(20, max(0, group["refusals"] - 1)))


def learn_success(group: QuotaBucket, event: TurnResult, now: float) -> None:
    """Let the rate grow, and the number of requests at once; where refusals are over, find the rate."""
    if group["refusals"]:
        if now - event.seconds < group["paused"]:
            group["counted"] += 1
            return  # it was sent before the refusals
        _find_rate(group, now)
    group["counted"] += 1
    since = now - group["heard"]
    group["busy"] += since if since <= _IDLE else min(_find_idle(group), since)
    group["heard"] = now
    if group["slots"] != math.inf:
        group["slots"] = min(group["most"], group["slots"] + 1 / group["slots"])
    rate = group["rate"]
    if rate == math.inf:
        return
    # Time counts only while the limit is made use of, or silence would look like success.
    group["grown"] += 1 / rate if group["pressed"] else 0.0
    progress = group["grown"] / group["plateau"] - 1
    grown = max(rate, group["peak"] * (1 + (1 - _FEWER) * progress**3))
    group["rate"] = min(grown, group["told"]) if group["told"] else grown


def _find_rate(group: QuotaBucket, now: float) -> None:
    """Take what was accepted from one end of refusals to the next for the rate, if refusals come in a rhythm.

    A refusal that comes alone, or once in a long while, says nothing of a rate: it is waited out. A streak does.
    """
    told = group["told"]
    if told and group["rate"] == math.inf and group["refusals"] < _STREAK:
        group["rate"] = group["peak"] = told
        group["plateau"] = _PLATEAU
    else:
        refused = now - group["refused_at"]
        seconds = max(group["busy"] + refused, 0.001)
        often = (group["cycled"] or group["refusals"] >= _STREAK) and seconds < _OFTEN * refused + _PLATEAU
        if often or told or group["rate"] != math.inf:
            _lower_rate(group, seconds)
    group["due"] = now + 1 / told if told else now  # where a rate is announced, the request that asked counts in it
    group["cycled"], group["grown"], group["refusals"] = True, 0.0, 0
    group["counted"], group["busy"], group["heard"] = 0, 0.0, now


def _lower_rate(group: QuotaBucket, seconds: float) -> None:
    """Lower the rate to what was accepted in the seconds since refusals ended before.

    Where much less was accepted than the server announced, others use the rate too. Until all have found their parts,
    chance decides which of their requests are accepted, so that a few of them say little.
    """
    told, refusals, accepted = group["told"], group["refusals"], max(group["counted"], 1)
    known = told if told and group["rate"] == math.inf else group["rate"]
    is_shared = accepted / seconds < _LESS * told
    part = _SHARED ** min(_STREAK, refusals) if is_shared else (_LESS if accepted >= _PRECISE else _FEWER)
    grown_to = 0.0 if known == math.inf else part * known
    last_pause = _compute_pause(group)
    if refusals < _STREAK:  # a pause that the server named was rounded up to whole seconds
        last_pause = max(last_pause, min(1.0, group["paused"] - group["refused_at"]))
    group["rate"] = _A_LITTLE_LESS * max(grown_to, accepted / seconds)
    # The server may have stopped refusing at any time in the last pause, and accept as much more.
    group["peak"] = max(grown_to, accepted / max(seconds - last_pause, 0.5 * seconds))
    group["peak"] = min(group["peak"], known)
    group["plateau"] = max(
        _PLATEAU, min(_MOST_APART, _APART * refusals), min(_RARE, _RARE_FAST / math.sqrt(group["rate"]))
    )
    if is_shared:
        group["rate"], group["peak"] = min(group["rate"], _LESS * known), min(group["peak"], known)
        group["plateau"] = max(group["plateau"], _RARELY / group["rate"])
