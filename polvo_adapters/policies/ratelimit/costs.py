"""What one request takes of a quota in another unit than requests: tokens, points, or percent of an unknown number.

A percentage is a whole number, so that several requests may pass before it rises. The client counts its own requests
from one rise to another; the rise divided by their number is the cost of one. Between two rises, the costs of the
requests since then are added to the percentage. What other clients take at the same time is part of the cost, so that
each client sees a quota of the size of its own share. Where used quota comes back all the time (a sliding window), a
slow rise says too little. There the cost falls only after a fast rise, or where the own requests that still count
would otherwise have taken more than is used.
"""

from __future__ import annotations

from typing import NamedTuple

from polvo_adapters.policies.ratelimit.account import Account, Key
from polvo_adapters.policies.ratelimit.pacing import state
from polvo_adapters.policies.ratelimit.pacing.state import Pace

_WHOLE = 100.0  # percent
_FIRST = 1.0  # percent that a request takes, until more is known
_RISE, _SURE_RISE, _LONGEST_RISE = 3.0, 5.0, 20.0  # percent, over which the cost is measured
_LITTLE = 5.0  # percent, of which hardly anything comes back
_FAST = 1 / 50  # of the window, in which hardly anything comes back
_SOON = 3  # slots of the replica
_TOO_MUCH = 1.3  # times what is used, which the own requests of the last window cannot be
_NEWS = 1.03  # times the cost, by which another has to differ, because each change is a new size of the quota


class Percentage(NamedTuple):
    """What is known of a quota in percent.

    Attributes:
        cost: Percent that one request takes.
        used: Percent used by the last response.
        reckoned: Percent used, with the requests since the last rise.
        began: Percent used when the requests began to be counted.
        began_at: When that was.
        requests: Own requests since then.
        at_rise: Whether that was at a rise, so that the count is exact; 0 or 1.
        is_sure: Whether the cost was measured; 0 or 1.
    """

    cost: float
    used: float
    reckoned: float
    began: float
    began_at: float
    requests: float
    at_rise: float = 0.0
    is_sure: float = 0.0


def learn_cost(
    account: Account, key: Key, remaining: float, pace: Pace | None, asked: float, now: float, *, accepted: bool
) -> tuple[float, float]:
    """Return what one request takes of a quota that does not count requests, and what remains, as far as it is known.

    Args:
        account: The account, whose costs are replaced.
        key: Key of the quota.
        remaining: What the response says.
        pace: What is known of the quota, or None.
        asked: When the request was sent.
        now: When the response came.
        accepted: Whether the server processed the request.
    """
    if key[2] == "percent":
        return _learn_percentage(account, key, remaining, pace, asked, now, accepted=accepted)
    return _estimate_cost(account, key, remaining), remaining


def _estimate_cost(account: Account, key: Key, remaining: float) -> float:
    """Return what one request takes of a quota that does not count requests, in steps; 1 until it is known."""
    cost, left = account["costs"].get(key, (0.0, remaining))[:2]
    taken = left - remaining
    if taken > 0:
        cost += (taken - cost) * (0.2 if cost else 1.0)
    account["costs"] = {**account["costs"], key: (cost, remaining)}
    return state.round_cost(cost)


def _learn_percentage(
    account: Account, key: Key, remaining: float, pace: Pace | None, asked: float, now: float, *, accepted: bool
) -> tuple[float, float]:
    """Return what one request takes of a quota in percent, and the percent that remain as far as can be reckoned."""
    used = _WHOLE - remaining
    known = account["costs"].get(key)
    if known is None or pace is None:
        percentage = Percentage(_FIRST, used, used, used, now, 0.0)
    else:
        used = max(used, known[1]) if asked < pace["at"] else used  # of two at once, the higher one is the later
        percentage = _update_percentage(Percentage(*known), used, pace, now, accepted=accepted)
    account["costs"] = {**account["costs"], key: tuple(percentage)}
    return percentage.cost, _WHOLE - percentage.reckoned


def _bound_cost(cost: float, used: float, pace: Pace) -> float:
    """Return the cost, or less where all own requests that are still counted would take more than is used."""
    log, slot = pace["log"], pace["slot"]
    # Many that were sent in one go come back in one go, at the server up to a slot before they do here.
    counted = sum(log) + pace["fresh"] - sum(log[(slot + step) % state.RING] for step in range(1, _SOON + 1))
    return (used + 1) / counted if counted * cost > _TOO_MUCH * (used + 1) else cost


def _keeps_all(known: Percentage, pace: Pace, now: float) -> bool:
    """Return whether nothing can have come back since requests began to be counted: too little was used, or too late.

    Where many requests were sent in one go, as many come back in one go, and hide what those take that follow them.
    """
    return now - pace["born"] < pace["window"] or known.began <= _LITTLE


def _update_percentage(known: Percentage, used: float, pace: Pace, now: float, *, accepted: bool) -> Percentage:
    """Return what is known after a response."""
    requests, rise = known.requests + accepted, used - known.began
    is_fast = now - known.began_at <= _FAST * pace["window"]
    cost, is_sure, at_rise, began, began_at = known.cost, known.is_sure, known.at_rise, known.began, known.began_at
    rises = used > known.used
    if at_rise and rises and rise >= _RISE and (not is_sure or rise / (requests + 1) > _NEWS * cost):
        cost, is_sure = rise / (requests + is_sure), 1.0
    elif used >= known.used and (not is_sure or (is_fast and rise >= _SURE_RISE and _keeps_all(known, pace, now))):
        most = (rise + 1) / max(1.0, requests - 1)
        cost = most if most * _NEWS < cost else cost
    if is_sure and pace["refills"] != "windows":
        cost = _bound_cost(cost, used, pace)
    enough = _LONGEST_RISE if is_fast else 0.0 if is_sure else _RISE  # a slow rise says little of a cost that is known
    if used < known.used or (rises and (not at_rise or rise >= enough)):
        began, began_at, requests, at_rise = used, now, 0.0, float(rises)
    reckoned = max(used, min(known.reckoned + cost * accepted, used + max(0.0, 1 - cost), _WHOLE))
    return Percentage(cost, used, reckoned, began, began_at, requests, at_rise, is_sure)
