"""What the quotas in a response teach: to which quota each belongs, how long its window is, and what remains of it."""

from __future__ import annotations

import math

from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import routes, unsaid
from polvo_adapters.policies.ratelimit.account import Account, Key, QuotaBucket, count_running
from polvo_adapters.policies.ratelimit.costs import learn_cost
from polvo_adapters.policies.ratelimit.pacing import buckets, credit, learning, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen
from polvo_adapters.policies.ratelimit.rates import SHORTEST_WINDOW, learn_other
from polvo_adapters.policies.ratelimit.turns import TurnResult

_MOST_QUOTAS = 16
_TICK = 0.001  # seconds
_STALE = 10.0  # windows after which a quota that is not announced any more is forgotten


def learn_quotas(
    account: Account, group: QuotaBucket, route: str, event: TurnResult, now: float, free: float
) -> tuple[Key, ...]:
    """Move the paces of all quotas of a response, and return their keys."""
    paces = account["paces"] = account["paces"].copy()
    quotas = event.quotas
    keys: tuple[Key, ...] = ()
    for quota in quotas if len(quotas) <= _MOST_QUOTAS else quotas[:_MOST_QUOTAS]:
        key = _learn_quota(account, group, quota, route, event, now, free)
        if key is not None:
            keys += (key,)
    if len(account["paces"]) > len(keys):
        _forget_stale(account, group, keys, now)
    if account["paces"] is not paces:  # some were forgotten
        return tuple([key for key in keys if key in account["paces"]])
    return keys


def _forget_stale(account: Account, group: QuotaBucket, keys: tuple[Key, ...], now: float) -> None:
    """Forget quotas that responses do not announce any more, and those beyond the number that is kept."""
    paces = account["paces"]
    others = [key for key in group["quotas"] if key not in keys]
    gone = [key for key in others if now - paces[key]["at"] > _STALE * paces[key]["window"]]
    gone += [key for key in group["quotas"] if key not in gone][: max(0, len(group["quotas"]) - _MOST_QUOTAS)]
    if gone:
        group["quotas"] = tuple(key for key in group["quotas"] if key not in gone)
        routes.forget(account, *gone)
    routes.drop_paces(account)


def _learn_quota(
    account: Account, group: QuotaBucket, quota: Quota, route: str, event: TurnResult, now: float, free: float
) -> Key | None:
    """Move the pace of one quota, and return its key, or None where there is nothing to learn."""
    name, limit, remaining, reset, announced, unit, scope, _, _, _, bucket = quota
    if (
        remaining is None or limit is None or limit <= 0 or (reset is None and announced is None)
        or unit == "concurrent-requests"
    ):  # fmt: skip
        return _learn_other(account, group, quota, route, event, now, free)
    paces, part = account["paces"], event.part
    for key in group["quotas"]:
        if key[0] == name and key[3] == announced and key[2] == unit and key[1] == scope and not bucket:
            known: Pace | None = paces[key]
            if known is not None and known["by"] == route and known["part"] == part:
                break
    else:
        key = routes.find_key(account, group, quota, route, event, now)
        known = paces.get(key)
    window, match, asked, cost = announced, None, now - event.seconds, 1.0
    if window is None or window <= SHORTEST_WINDOW:
        window, match = _find_window(account, key, quota, known, event, now)
    if unit != "requests":
        cost, remaining, known = _read_units(account, key, quota, known, event, now)
    left = (remaining if remaining < limit else limit) / cost  # noqa: FURB136 - half the time of min()
    if known is not None and known["limit"] == limit / cost and known["window"] == window:
        pace = known.copy()
        if left >= 1 and event.refused is None and learning.absorb_repeat(pace, left, asked, now):
            paces[key] = pace
            if asked < pace["told_at"] or pace["by"] != route or pace["part"] != part:
                _note_source(pace, left, asked, now, route, part)
            else:
                pace["told"], pace["told_at"] = left, now
            return key
    quota = _correct_reset(account, key, quota, event)
    seen = _make_seen(quota, known, event, window, match, now)._replace(limit=limit / cost, remaining=left)
    accepted = event.refused is None
    pace = paces[key] = _learn_news(account, group, quota, key, known, seen, now, free, accepted=accepted)
    _note_source(pace, left, asked, now, route, part)
    return key


def _learn_other(
    account: Account, group: QuotaBucket, quota: Quota, route: str, event: TurnResult, now: float, free: float
) -> Key | None:
    """Do the same as `_learn_quota` for a quota that is announced without a part of what makes it one."""
    if quota.remaining is None and event.refused is None:
        key = _count_in_known_quota(account, group, quota)
        if key is not None:
            return key
    if unsaid.is_incomplete(quota):
        quota = unsaid.complete(account, group, quota, route, event, now)
        free = 0.0 if quota.window in (unsaid.SPENDING, unsaid.ASKING) else free  # there is no time to spread it over
    limit = quota.limit
    if limit is None or quota.remaining is None or limit <= 0 or quota.unit == "concurrent-requests":
        learn_other(group, quota, event.quotas)
        return None
    if quota.reset is None and quota.window is None:
        return None
    return _learn_quota(account, group, quota, route, event, now, free)


def _count_in_known_quota(account: Account, group: QuotaBucket, quota: Quota) -> Key | None:
    """Count a request in a quota of which the response announces only size and window, and return the key of the quota.

    Servers send what remains of the tightest quota alone. Without the count, the next response that announces what
    remains of this one would look as if other clients had spent it.
    """
    told = (quota.name, quota.unit, quota.window)
    key = next((key for key in group["quotas"] if (key[0], key[2], key[3]) == told and quota.window), None)
    known = account["paces"].get(key) if key is not None else None
    if key is None or known is None:
        unsaid.note_own(account, quota)
        return None
    if known["limit"] != quota.limit:
        return None
    pace = account["paces"][key] = known.copy()
    pace["accepted"] += 1
    pace["fresh"] += 1
    pace["remaining"] = max(0.0, pace["remaining"] - 1)
    return key


def _start(account: Account, quota: Quota, seen: Seen, now: float, running: int) -> Pace:
    """Return a new pace, with the own requests before the first response that announced what remains."""
    pace, own = state.start_pace(seen, now, running), unsaid.count_own(account, quota)
    share = min(1.0, (1 + own) / max(1.0, seen.limit - seen.remaining))
    if own and share > pace["share"]:
        pace["share"], pace["own"] = share, share * pace["total"]
        state.plan(pace)
    return pace


def _read_units(
    account: Account, key: Key, quota: Quota, known: Pace | None, event: TurnResult, now: float
) -> tuple[float, float, Pace | None]:
    """Return what a request takes of a quota that does not count requests, what remains, and the pace.

    A percentage makes the quota a little larger or smaller now and then, and what is known of its pace holds still.
    """
    remaining, asked, accepted = quota.remaining or 0.0, now - event.seconds, event.refused is None
    cost, remaining = learn_cost(account, key, remaining, known, asked, now, accepted=accepted)
    if known is not None and quota.unit == "percent":
        limit = (quota.limit or 0.0) / cost
        known = state.resize_pace(known, limit) if 0.5 <= limit / known["limit"] <= 2 else known
    return cost, remaining, known


def _find_window(
    account: Account, key: Key, quota: Quota, known: Pace | None, event: TurnResult, now: float
) -> tuple[float, buckets.Match]:
    """Return the length of a window that is not announced, and what speaks for a bucket."""
    match = known["bucket"] if known is not None else buckets.UNKNOWN
    window = _estimate_window(account, key, quota, now)
    level = _read_level(quota, event, now)
    if level is None or quota.window is not None:
        return window, match
    match = buckets.match(match, level)
    return buckets.find_window(match, known["window"] if known is not None else 0.0) or window, match


def _correct_reset(account: Account, key: Key, quota: Quota, event: TurnResult) -> Quota:
    """Return the quota with a reset that is not too early, where the server was seen to cut off parts of seconds.

    Most servers round up. One that refuses and says that there is more in 0 seconds has not: its resets may be up to a
    second later than announced, or, if it rounds to the nearest, half a second earlier or later.
    """
    if quota.resolution < 1:
        return quota
    cut = account.get("cut", ())
    if key not in cut:
        if event.refused is None or quota.reset != 0 or quota.remaining != 0:
            return quota
        account["cut"] = cut = (*cut[-_MOST_QUOTAS:], key)
    return quota if quota.reset is None else quota._replace(reset=quota.reset + 1.0, resolution=quota.resolution + 1.0)


def _read_level(quota: Quota, event: TurnResult, now: float) -> buckets.Level | None:
    """Return what a response says of the level of a bucket, or None without a reset."""
    limit, remaining, reset, coarse = quota.limit, quota.remaining, quota.reset, quota.resolution
    if reset is None or limit is None or remaining is None:
        return None
    if coarse < _TICK:
        reset, coarse = max(0.0, reset) + _TICK, 2 * _TICK  # milliseconds may have been rounded down
    return buckets.Level(limit, limit - remaining, reset, coarse, event.seconds, now)


def _make_seen(
    quota: Quota, known: Pace | None, event: TurnResult, window: float, match: buckets.Match | None, now: float
) -> Seen:
    """Return what a response says that tells something new; limit and remaining count units of the quota."""
    limit, remaining = quota.limit or 0.0, quota.remaining or 0.0
    level = _read_level(quota, event, now)
    if match is None:
        match = known["bucket"] if known is not None else buckets.UNKNOWN
        match = buckets.match(match, level, window) if level is not None else match
    asked, is_announced = now - event.seconds, quota.window is not None
    reset, coarse = (None, quota.resolution) if level is None else (level.reset, level.coarse)
    return Seen(asked, limit, window, remaining, reset, coarse, is_announced, match)


def _learn_news(
    account: Account, group: QuotaBucket, quota: Quota, key: Key, known: Pace | None, seen: Seen, now: float,
    free: float, *, accepted: bool,
) -> Pace:  # fmt: skip
    """Return the pace of a quota after a response that says something new."""
    running = count_running(account, group, key) if account["separate"] else group["running"] + group["stale"]
    if known is None:
        pace = _start(account, quota, seen, now, running)
    elif known["limit"] != seen.limit or known["window"] != seen.window:
        pace = state.restart_pace(known, seen, now, running)
    else:
        pace = known.copy()
        if not accepted and seen.remaining < 1:
            learning.refuse(pace)
        free = -1.0 if seen.window > state.LONGEST_SPREAD and free < 1 else free
        learning.learn(pace, seen, now, accepted=accepted, free=free, in_flight=running)
    credit.note_end(pace, seen, now, accepted=accepted, is_known=seen.window != unsaid.ASKING)
    return pace


def _note_source(pace: Pace, left: float, asked: float, now: float, route: str, part: str) -> None:
    """Note which route's response spoke of a quota, and what it said."""
    pace["told"] = left if asked >= pace["told_at"] else max(pace["told"], left)
    pace["told_at"] = now
    if pace["by"] != route or pace["part"] != part:
        pace["by"], pace["part"] = route, part


def _estimate_window(account: Account, key: Key, quota: Quota, now: float) -> float:
    """Return the length of a window that is not announced, or absurdly short.

    It is the longest time to a reset seen so far, until the reset is seen to jump by about as much: a moment that is
    rounded to a whole second looks up to a second longer or shorter than it is, the distance of two of them does not.
    """
    if quota.window is not None or quota.reset is None:
        return SHORTEST_WINDOW
    reset = quota.reset
    longest, due, jump = account["windows"].get(key, (SHORTEST_WINDOW, now + reset, 0.0))
    step, longest = now + reset - due, max(longest, reset)
    if max(longest - 1.1, 0.6 * longest) < step < longest + 0.5:
        jump = min(jump, step) if jump else step
    account["windows"] = {**account["windows"], key: (longest, now + reset, jump)}
    if jump:
        if quota.resolution < 1:
            return round(jump, 1) or jump  # since responses take their time, and each change restarts the pace
        # Seconds that are rounded up are less than a second too many; where they are a moment, they are no whole ones.
        return round(jump) + (longest == round(jump) + 1)
    if quota.resolution >= 1 and longest >= 1:
        return math.floor(longest + 0.1)
    return longest
