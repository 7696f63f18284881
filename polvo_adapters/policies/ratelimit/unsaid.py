"""What servers leave out when they announce a quota, and responses show: its size, and the length of its window.

**The size** of a quota is the most that was seen to remain, and one more for the request that asked, where the server
announces only what remains. A quota of which nothing was ever seen to remain is left as it is: some servers send a
count that never changes.

**The window** of a quota without a reset shows when more remains than can remain. *Gain* is what remains beyond the
rest that was announced first, less the own requests since then.

    all at once    the window has ended between two responses; so its length is known between bounds, which narrow
    otherwise      when nothing remains again, all that came back was spent: the window is to that time as the limit is
                   to the gain. If some was back long before such a window, it is a bucket, which fills evenly

Real windows have round lengths, so the longest round one within the bounds is taken. Until there are bounds, what
remains may be spent at once, and one request at a time then asks for more, after pauses that double.

Everything is kept with the account, in `windows` and `costs`, under keys whose owner is no route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import routes
from polvo_adapters.policies.ratelimit.account import Account, Key, QuotaBucket
from polvo_adapters.policies.ratelimit.turns import TurnResult

SPENDING, ASKING = 2.0, 301.0
"""Seconds that a window is assumed to have until it is known. While something remains, it is short, so that a client
spends that soon, whatever its share is; then it is just long enough for requests to ask for its end."""
_ROUND = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0),
    *(21_600.0, 43_200.0, 86_400.0, 604_800.0, 2_592_000.0),
)
_ROUNDED = 0.02  # by which the longest window of a rounded length may be too short
_SAME = 0.25  # by which two measures of a window may differ
_FULL, _FIRST = 1.0, 4.0  # what has to come back for a measure, in limits; for the first one, in requests
_MUCH = 0.4  # of the limit: a bucket would have taken long to get as much
_EMPTY = 0.1  # of the limit: then nearly all that came back was spent
_MOST_KEYS = 64
_NOISE = 1.0  # requests that are no gain yet


class _Anchor(NamedTuple):
    """A response, and what has been seen since: its time, what remained, and the own requests."""

    at: float
    left: float
    own: float


class _Growth(NamedTuple):
    """When there was no gain last, when there was some first, and how much; 0 while there was none."""

    flat: float
    at: float
    gain: float


class _Bounds(NamedTuple):
    """The window that is taken, and the bounds of its length; the lower one of a bucket is negative."""

    window: float
    low: float
    high: float


def is_incomplete(quota: Quota) -> bool:
    """Return whether a quota tells what remains, but not of how much, or not of which time."""
    return quota.remaining is not None and (quota.limit is None or (quota.reset is None and quota.window is None))


def complete(account: Account, group: QuotaBucket, quota: Quota, route: str, event: TurnResult, now: float) -> Quota:
    """Return a quota with the size and the window that the server has left out, as far as they are known.

    Args:
        account: The account, whose dicts are replaced and not changed.
        group: The group of the route.
        quota: The quota.
        route: The route, with its part where each counts by itself.
        event: The result.
        now: The time, in seconds.
    """
    if quota.remaining is None or quota.unit != "requests":
        return quota  # of another unit, what a request takes is not known
    key: Key = (quota.name, "", quota.unit, quota.window, f"? {quota.group}")
    size = _learn_size(account, key, quota.remaining)
    if size < 1:
        return quota
    if quota.limit is None:
        quota = quota._replace(limit=size + 1)
    if quota.reset is not None or quota.window is not None:
        return quota
    known = account["windows"].get(key)
    bounds = _Bounds(*known) if known is not None else _Bounds(0.0, 0.0, 0.0)
    enough = _FULL * (quota.limit or 0.0) if bounds.window else _FIRST
    running = group["running"] + group["stale"]
    found = _learn_window(account, quota, f"{key[4]}? {route} {event.part}", event, now, (running, enough))
    if found is not None:
        bounds = _narrow(bounds, found)
        _keep_numbers(account, key, bounds)
        if known is None or known[0] != bounds.window:
            _forget_paces(account, group, quota, *((SPENDING, ASKING) if known is None else (known[0],)))
    if bounds.window:
        return _fill_in(quota, bounds)
    return _fill_in_unknown(account, group, quota)


def note_own(account: Account, quota: Quota) -> None:
    """Note a request that counts in a quota of which only size and window were announced, and never what remains."""
    key, costs = _make_own_key(quota), account["costs"]
    if quota.window and (key in costs or _count_keys(costs) < _MOST_KEYS):
        account["costs"] = {**costs, key: (count_own(account, quota) + 1, 0.0)}


def count_own(account: Account, quota: Quota) -> float:
    """Return how many requests `note_own` has noted for a quota."""
    return account["costs"].get(_make_own_key(quota), (0.0, 0.0))[0]


def _make_own_key(quota: Quota) -> Key:
    return quota.name, "own", quota.unit, quota.window, "?"


def _learn_size(account: Account, key: Key, left: float) -> float:
    """Return the most that was seen to remain."""
    costs = account["costs"]
    most = costs[key][0] if key in costs else 0.0
    if left > most and (key in costs or _count_keys(costs) < _MOST_KEYS):
        account["costs"] = {**costs, key: (left, 0.0)}
    return max(most, left)


def _count_keys(kept: Mapping[Key, tuple[float, ...]]) -> int:
    """Return how many of the keys are of this module."""
    return sum(key[4].startswith("?") for key in kept)


def _keep_numbers(account: Account, key: Key, values: tuple[float, float, float]) -> None:
    if key in account["windows"] or _count_keys(account["windows"]) < _MOST_KEYS:
        account["windows"] = {**account["windows"], key: tuple(values)}  # type: ignore[dict-item]


def _learn_window(
    account: Account, quota: Quota, owner: str, event: TurnResult, now: float, counts: tuple[int, float]
) -> _Bounds | None:
    """Return bounds of the window that a response shows, or None.

    Args:
        account: The account.
        quota: The quota, with its limit.
        owner: What its keys are kept under.
        event: The result.
        now: The time, in seconds.
        counts: The requests under way, and the gain from which on it is measured.
    """
    first: Key = (quota.name, "at", quota.unit, None, owner)
    grown: Key = (quota.name, "growth", quota.unit, None, owner)
    (running, enough), limit, left = counts, quota.limit or 0.0, quota.remaining or 0.0
    told, seen = account["windows"].get(first), account["windows"].get(grown)
    # What is under way may be counted in what was told, or not: so it is counted when it comes back, at the latest.
    anchor, growth = _Anchor(now, left, float(-running)), _Growth(now, 0.0, 0.0)
    bounds = None
    if told is not None and seen is not None:
        anchor, growth = _Anchor(*told), _Growth(*seen)
        anchor = anchor._replace(own=anchor.own + (event.refused is None))
        if now - event.seconds >= growth.flat:  # nothing came back while it was under way, so that nothing overtook it
            gain = left - (anchor.left - anchor.own)
            growth = _note_gain(growth, now, gain)
            if growth.at == now and left >= limit - running - 1 - _NOISE and gain >= _MUCH * limit:
                bounds = _Bounds(0.0, max(0.0, growth.flat - anchor.at), now - anchor.at)
            elif gain < -running - _MUCH * limit:
                growth = growth._replace(gain=-1.0)  # others spend it too, and some of what comes back
            elif growth.gain > 0 and anchor.left >= _MUCH * limit and left <= _EMPTY * limit + 1 and gain >= enough:
                bounds = _bound_window(limit * (now - anchor.at) / gain, growth.at - anchor.at)
            if bounds is not None:
                anchor, growth = _Anchor(now, left, float(-running)), _Growth(now, 0.0, 0.0)
        elif not growth.gain:
            growth = growth._replace(flat=now)
    _keep_numbers(account, first, anchor)
    _keep_numbers(account, grown, growth)
    return bounds


def _note_gain(growth: _Growth, now: float, gain: float) -> _Growth:
    if growth.gain:
        return growth
    return growth._replace(at=now, gain=gain) if gain > _NOISE else growth._replace(flat=now)


def _bound_window(window: float, first: float) -> _Bounds:
    """Return the bounds of a window that was measured, in which some was back after `first` seconds."""
    if first < 0.5 * window:
        return _Bounds(window, -window, window)
    return _Bounds(0.0, (1 - _SAME) * window, 1.1 * window)


def _narrow(known: _Bounds, found: _Bounds) -> _Bounds:
    """Return the bounds that agree with all that was seen, or the later ones where they contradict each other."""
    if found.low < 0:
        is_measured = known.low < 0 and abs(found.high - known.window) <= _SAME * known.window
        is_sure = known.window and known.low > 0.5 * known.high
        return (
            known
            if is_measured or is_sure
            else found._replace(window=_find_round_length(0.8 * found.high, 1.2 * found.high, found.high))
        )
    low, high = (max(known.low, found.low), min(known.high, found.high)) if known.window else found[1:]
    if known.low < 0 or low >= high:
        low, high = found.low, found.high
    return _Bounds(_find_round_length(low, high * (1 + _ROUNDED), high), low, high)


def _find_round_length(low: float, high: float, otherwise: float) -> float:
    """Return the longest round length within bounds, or else another length."""
    return max((length for length in _ROUND if low < length <= high), default=otherwise)


def _fill_in(quota: Quota, bounds: _Bounds) -> Quota:
    left, limit = quota.remaining or 0.0, quota.limit or 0.0
    if bounds.low >= 0 or not limit:
        return quota._replace(window=bounds.window)
    reset = max(0.0, limit - left) * bounds.window / limit
    return quota._replace(window=bounds.window, reset=reset, resolution=0.0)


def _fill_in_unknown(account: Account, group: QuotaBucket, quota: Quota) -> Quota:
    left, limit = quota.remaining or 0.0, quota.limit or 0.0
    if left > max(_NOISE, _EMPTY * limit):
        _forget_paces(account, group, quota, ASKING)
        return quota._replace(window=SPENDING)
    _forget_paces(account, group, quota, SPENDING)
    return quota._replace(window=ASKING, remaining=0.0)


def _forget_paces(account: Account, group: QuotaBucket, quota: Quota, *windows: float) -> None:
    """Forget the paces of a quota that were kept for other windows."""
    former = [key for key in account["paces"] if key[3] in windows and (key[0], key[2]) == (quota.name, quota.unit)]
    if former:
        group["quotas"] = tuple(key for key in group["quotas"] if key not in former)
        routes.forget(account, *former)
