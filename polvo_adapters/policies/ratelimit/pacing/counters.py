"""Sliding window counters: whether a server has one, and what it will allow.

Such a server keeps two numbers, the requests of the current window and of the last one. It assumes that the last ones
were spread evenly, so that `current + last * left / window` is used, and announces the end of the current window as the
reset. What remains rises evenly until then, the faster the more was spent in the last window; at the end itself it does
not change. A fixed window gives back everything at that end, and a sliding server announces no such end.

A client that spends as soon as something is allowed uses such a quota up evenly, window after window. What it spent in
another rhythm has no effect after the next end.
"""

from __future__ import annotations

from typing import NamedTuple

from polvo_adapters.core.stored_types import stored_as

_ENOUGH, _MOST = 2.0, 4.0  # ends alike that make a counter, and that make it one whose counts are surely known
_SAFE, _UNSURE = 0.05, 1.0  # requests that have to remain more than needed: from then on, and until then
_ALONE, _SHARED, _RARE = 2.0, 1.0, 0.5  # what an end says to a client with most of it, and others; times, far away
_USED, _LEAST = 0.5, 3.0  # of the quota, and requests: what has to be used for an end to say anything
_BEFORE, _AFTER = 0.5, 0.2  # of the window, within which two responses around an end have to be
_FAR_BEFORE, _FAR_AFTER = 0.7, 0.35  # the same of a client that seldom asks
_LIKE = 0.25  # of the window, by which the ends of two windows may be off
_KEPT, _FORGOTTEN = 0.75, 0.5  # of what was used before an end: a counter has as much after it, a window less than that
_MUCH, _LITTLE = 0.8, 0.4  # of the quota that is used so early only in a counter, or in a window
_REFUSED = 0.5  # what a refusal says to a client that shares
_ODD, _ODD_LEAST = 0.15, 3.0  # of the quota, and requests: more than that cannot be explained


@stored_as("rate-limit-counter.1")
class Count(NamedTuple):
    """What is known of a counter.

    Attributes:
        last: Requests in the last window.
        level: What remains, with its fraction, without own requests that have no response yet.
        score: What speaks for a counter.
    """

    last: float
    level: float
    score: float


UNKNOWN = Count(0.0, 0.0, 0.0)
"""What is known before the first response."""


def is_counter(count: Count) -> bool:
    """Return whether the responses are those of a counter."""
    return count.score >= _ENOUGH


class End(NamedTuple):
    """Two responses around the end of a window.

    Attributes:
        limit: Requests per window.
        window: Length of the window in seconds.
        step: Seconds by which the announced end has moved.
        coarse: Seconds by which the resets may be too high.
        left: Seconds from the first response to the end, as it announced it.
        since: Seconds from the beginning of its window to the second response.
        used: What was used before.
        now_used: What is used after.
    """

    limit: float
    window: float
    step: float
    coarse: float
    left: float
    since: float
    used: float
    now_used: float


def judge_end(count: Count, end: End, *, alone: bool) -> Count:
    """Return what is known after two responses around the end of a window."""
    limit, window, step, coarse, left, since, used, now_used = end
    if window < 2 * coarse or abs(step - window * max(1, round(step / window))) > _LIKE * window:
        return count
    weight = _ALONE if alone else _SHARED
    if since <= _AFTER * window and left <= _BEFORE * window and used >= max(_LEAST, _USED * limit):
        kept, forgotten = _KEPT * used, _FORGOTTEN * used
    elif since <= _FAR_AFTER * window and left <= _FAR_BEFORE * window and limit >= _LEAST:
        kept, forgotten, weight = _MUCH * limit, _LITTLE * limit, _RARE * weight
    else:
        return count
    if now_used >= kept:
        last = min(limit, now_used * window / max(window - since, 0.5 * window))
        return Count(last, limit - now_used, min(_MOST, count.score + weight))
    return count._replace(score=max(0.0, count.score - weight)) if now_used < forgotten else count


def compute_margin(count: Count, window: float, width: float) -> float:
    """Return how many requests should remain besides the one that is sent, if an end is known to `width` seconds."""
    if count.score < _MOST:
        return _UNSURE
    return _SAFE + min(_UNSURE, count.last * width / window / 2)


def refuse(count: Count, *, alone: bool) -> Count:
    """Return what is known after a refusal, which shows that the counts were wrong."""
    if alone:
        return count._replace(score=min(count.score, _ENOUGH))
    return count._replace(score=max(0.0, min(count.score, _MOST - 1) - _REFUSED))


def is_odd(risen: float, limit: float) -> bool:
    """Return whether more has come back than a counter gives back."""
    return risen > max(_ODD_LEAST, _ODD * limit)


class Step(NamedTuple):
    """What happened from one response of a counter to the next.

    Attributes:
        limit: Requests per window.
        window: Length of the window in seconds.
        left: Seconds from the last response to the end of its window, or less than 0.
        passed: Seconds since the last response.
        ended: Windows that have ended, by what the server announced; -1 where the response is an older one.
        accepted: Own requests since the last response that were accepted.
        remaining: What the response says.
        slack: Own requests that it may have counted although they have no response yet.
        late: Seconds that the response may have taken.
        ordered: Whether the response is surely news.
    """

    limit: float
    window: float
    left: float
    passed: float
    ended: int
    accepted: float
    remaining: float
    slack: float
    late: float
    ordered: bool


def follow(count: Count, step: Step) -> tuple[Count, float, float]:
    """Return what is known after a response, what all clients spent since the last, and what is too much in it."""
    predicted, last = _predict(count, step)
    limit, blur = step.limit, last * step.late / step.window
    lowest, highest = step.remaining, step.remaining + 1 + step.slack + blur / 2
    odd = 0.0
    level = predicted
    if level > highest:
        level = highest
    elif step.ordered and level < lowest:
        odd = lowest - level - blur
        level = lowest
    spent = max(0.0, predicted - level) + step.accepted
    if step.ended > 0 and predicted > level:
        last = min(limit, last + _find_earlier(step, predicted - level))
    score = min(_MOST, count.score + (step.ended > 0))
    return Count(last, level, score), spent, odd


def _predict(count: Count, step: Step) -> tuple[float, float]:
    """Return what should remain if no other client has spent anything, and what the last window then counts."""
    last, level, _ = count
    limit, window, left = step.limit, step.window, max(0.0, step.left)
    if step.ended == 0:
        return level + last * step.passed / window - step.accepted, last
    since = max(0.0, step.passed - left)
    if step.ended < 0:  # it was counted before the end, and is found out after it
        left = max(0.0, min(window, step.left))
        return level + last * step.passed / window - step.accepted * left / window, last + step.accepted
    if step.ended == 1:
        last = max(0.0, limit - level - last * left / window)
        return limit - last * max(0.0, 1 - since / window) - step.accepted, last
    return limit - step.accepted, 0.0


def _find_earlier(step: Step, spent: float) -> float:
    """Return what the others have spent before a window ended, if they spend evenly: so much less remains now."""
    left = max(0.0, min(step.left, step.passed))
    since = min(step.window, max(0.0, step.passed - left))
    part = left / max(step.passed, 1e-9)
    return part * spent / max(1 - part * since / step.window, 0.1)


class Outlook(NamedTuple):
    """What will remain of a counter if no request is sent.

    Attributes:
        limit: Requests per window.
        window: Length of the window in seconds.
        last: Requests in the last window.
        level: What remains now.
        left: Seconds until the window ends, at the earliest and at the latest.
    """

    limit: float
    window: float
    last: float
    level: float
    left: tuple[float, float]


def find_refill(outlook: Outlook, missing: float, sent: float) -> float:
    """Return the seconds until `missing` requests more remain, if `sent` requests are sent first."""
    limit, window, last, level, (low, high) = outlook
    current = max(0.0, limit - level - last * max(0.0, low) / window + sent)
    left = max(0.0, low if last > current else high)
    before = last * left / window
    if missing <= before:
        return missing * window / last
    if missing <= before + 1e-6 or not current:
        return left
    return left + (missing - before) * window / current
