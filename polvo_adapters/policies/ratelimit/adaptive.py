"""All quotas of one account: which of them a request counts in, which request goes next, and what refusals mean.

An *account* is an origin and a credential. Its requests count in *groups*, the buckets or resources that the server
names (search and core at GitHub, the buckets of Discord); a route that is not known yet counts in the group of the
last response. Each group has any number of quotas at once (per second and per day, requests and tokens), with a `Pace`
each; the one that makes a request wait longest governs.

**The queue** is two numbers. A request that has to wait takes the ticket `tail`, and goes when `head` has come to it.
It sleeps until its turn should have come, but not much longer than a second at a time, since responses in between may
change everything. A ticket whose thread has died would block the queue: a request that could go but for those ahead of
it, twice in a row, goes past them.

**Refusals** pause the group until the time that the server names. Beyond that:

    kind          quotas known            nothing known
    ------------  ----------------------  -----------------------------------------------------------------------
    rate          see `learning.refuse`   one request at a time tries whether it is over, after pauses that double; the
                                          rate is what was accepted from one end of refusals to the next; it then grows,
                                          slower near the old rate, then faster (Ha, Rhee, Xu: CUBIC, 2008)
    concurrency   fewer at once, by three tenths; one more after as many successes as there are slots; the rate stays
    exhausted     as rate, paused until then

All is pure: dicts of numbers and strings, copied before they are changed.
"""

from __future__ import annotations

import math
from functools import lru_cache

from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit.account import (
    Account,
    Key,
    QuotaBucket,
    advance_era,
    make_group,
    release_request,
    replace_group,
)
from polvo_adapters.policies.ratelimit.pacing import credit, learning, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult

_SCOUTS = 8  # requests at once to a group of which nothing is known: few enough not to break a small quota much
_LONGEST_SLEEP, _SHORTEST_SLEEP = 1.0, 0.005  # seconds in the queue until the turn is requested again
_IDLE = 5.0  # seconds between two responses that count as use; a longer pause is the caller's own
_MOST_ROUTES, _MOST_QUOTAS = 256, 16
_FEWER = 0.7  # of the slots, after a refusal; CUBIC and the AWS SDKs use the same
_LESS = 0.9  # of the rate that had grown until it was refused
_A_LITTLE_LESS = 0.95  # of the rate that was accepted
_PLATEAU = 10.0  # seconds of traffic until the rate is back where it was refused, at least
_OFTEN = 20.0  # times the length of the refusals, within which they have to come again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # seconds, doubling, where a server refuses and says nothing
_PAUSE = 1.0  # seconds, where a server that announces quotas refuses and does not say for how long
_SHORTEST_WINDOW = 0.1
_NO_TURN = Turn()
_STALE = 10.0  # windows after which a quota that is not announced any more is forgotten


def acquire_turn(account: Account, event: TurnRequest, now: float) -> tuple[Account, Turn]:
    """Return the account after a request has taken its turn or its place in the queue, and the turn."""
    name = account["routes"].get(event.route, account["last"])
    known = account["groups"].get(name)
    group = make_group(now) if known is None else known.copy()
    advance_era(group, now)
    ticketed = event.ticket >= 0 and event.group == name
    if event.ticket >= 0 and not ticketed:
        account, event = _leave_queue(account, event), event._replace(ticket=-1, tries=0)
    ahead = max(0, event.ticket - group["head"]) if ticketed else group["tail"] - group["head"]
    if ahead and event.tries >= 2:
        group["head"], ahead = event.ticket, 0
    group["paces"] = paces = {key: pace.copy() for key, pace in group["paces"].items()}
    if ahead or ticketed or now < group["paused"] or not _has_plenty(group, paces):
        for pace in paces.values():
            credit.earn(pace, now)
        at, reason = _find_ready_time(group, now, ahead, event.chance)
        if at > now or ahead:
            return _queue(account, name, group, event, now, at, reason)
    if ticketed and event.ticket == group["head"]:
        group["head"] += 1
    for pace in paces.values():
        pace["credit"] = max(0.0, pace["credit"] - 1)
    group["running"] += 1
    if group["rate"] != math.inf:
        group["pressed"] = now < group["due"] + 1 / group["rate"]
        group["due"] = max(group["due"], now) + 1 / group["rate"]
    return replace_group(account, name, group), _make_turn(name, group["era"])


@lru_cache(maxsize=256)
def _make_turn(group: str, era: int) -> Turn:
    return Turn(group=group, era=era)


def _leave_queue(account: Account, event: TurnRequest) -> Account:
    """Return the account without the place in the queue of a group, because the route counts in another now."""
    known = account["groups"].get(event.group)
    if known is None:
        return account
    group = known.copy()
    group["head"] = min(group["tail"], max(group["head"], event.ticket + 1))
    return replace_group(account, event.group, group)


def _has_plenty(group: QuotaBucket, paces: dict[Key, Pace]) -> bool:
    """Return whether a request may go without a closer look: the usual case while quota is plentiful."""
    if not paces or group["rate"] != math.inf or group["slots"] != math.inf:
        return False
    running = group["running"] + group["stale"]
    for pace in paces.values():  # noqa: SIM110 - half the time of all()
        if pace["credit"] < 1 or pace["remaining"] <= running:
            return False
    return True


def _queue(
    account: Account, name: str, group: QuotaBucket, event: TurnRequest, now: float, at: float, reason: str
) -> tuple[Account, Turn]:
    """Return the account with a request in the queue, and the time that it sleeps, or the wait that is too long."""
    ticket = event.ticket
    ready_alone = ticket >= 0 and _find_ready_time(group, now, 0, event.chance)[0] <= now
    tries = event.tries + 1 if ready_alone else 0
    if at == math.inf:  # a response decides; the longer the wait was, the less often the turn is requested
        wait = max(_SHORTEST_SLEEP, min(_LONGEST_SLEEP, max(group["latency"] / 2, event.waited / 4)))
        refused = event.find_overrun(max(wait, event.waited), now)
    else:
        wait = max(at - now, _SHORTEST_SLEEP)
        refused = event.find_overrun(wait, now)
    if refused:
        if ticket == group["head"] and ticket >= 0:
            group["head"] += 1
        turn = Turn(wait=wait, ticket=ticket, group=name, reason=reason, refused=refused)
        return replace_group(account, name, group), turn
    if ticket < 0:
        ticket = group["tail"]
        group["tail"] += 1
    spread = 0.0
    if wait > _LONGEST_SLEEP:
        wait = max(_LONGEST_SLEEP, wait / 2)
    if event.chance is None and any(state.is_shared(pace) for pace in group["paces"].values()):
        wait = spread = wait / 2
    return replace_group(account, name, group), Turn(wait, spread, ticket, tries, name, group["era"], reason)


def _find_ready_time(group: QuotaBucket, now: float, ahead: int, chance: float | None) -> tuple[float, str]:
    """Return when the next request may go behind those ahead, and what it waits for.

    Clients that share a quota wait for up to half a request's credit more, as chance has it, so that they do not
    march in step; newcomers for up to a whole one, since every reset would bring them together again.
    """
    running = group["running"] + group["stale"]
    at, reason = group["paused"], "rate limit, paused by the server"
    if running + ahead + 1 > group["slots"]:
        at, reason = math.inf, f"rate limit, {running} of {group['slots']:.0f} requests at once"
    for pace in group["paces"].values():
        more = (0.5 if pace["seen"] > state.NEWCOMER else 1.0) * chance if chance and state.is_shared(pace) else 0.0
        ready = credit.find_ready_time(pace, now, ahead + more, running)
        if ready > at:
            at, reason = ready, f"rate limit, {pace['remaining']:g} of {pace['limit']:g} left"
    if group["rate"] != math.inf:
        ready = group["due"] + ahead / group["rate"]
        if ready > at:
            at, reason = ready, f"rate limit, found to be {group['rate']:.3g} per second"
    if group["refusals"] and running + ahead and now >= group["paused"]:
        at, reason = math.inf, "rate limit, one request asks whether it is over"
    elif not group["known"] and running + ahead >= _SCOUTS and now < group["began"] + _LONGEST_SLEEP:
        at, reason = math.inf, "rate limit, not known before the first response"
    return at, reason


def learn_result(account: Account, event: TurnResult, now: float, *, free: float) -> tuple[Account, Turn]:
    """Return the account after the result of a request.

    Args:
        account: The account.
        event: The result.
        now: When it came, in seconds.
        free: Part of a quota above which a client that is alone does not wait.
    """
    account, name, group = _find_group(account, event, now)
    if event.status:
        group["known"] = True
        group["latency"] += 0.2 * (event.seconds - group["latency"])
    if event.quotas:
        _learn_quotas(group, event, now, free)
    if event.refused is not None:
        group["paused"] = max(group["paused"], now + _learn_refusal(group, event.refused, now - event.seconds))
    elif event.status:
        _learn_success(group, event, now)
    account = replace_group(account, name, group)
    account["last"] = name
    if account["routes"].get(event.route) != name:
        routes = account["routes"] = account["routes"].copy()
        routes[event.route] = name
        if len(routes) > _MOST_ROUTES:
            del routes[next(iter(routes))]
    return account, _NO_TURN


def _find_group(account: Account, event: TurnResult, now: float) -> tuple[Account, str, QuotaBucket]:
    """Return the group that the server counted the request in, with the request released where it was under way."""
    name = event.group
    for quota in event.quotas:
        if quota.group:
            name = quota.group
            break
    groups = account["groups"]
    group = groups[name].copy() if name in groups else make_group(now)
    if name == event.group:
        release_request(group, event, now)
    elif event.group in groups:
        other = groups[event.group].copy()
        release_request(other, event, now)
        account = replace_group(account, event.group, other)
    return account, name, group


def _learn_quotas(group: QuotaBucket, event: TurnResult, now: float, free: float) -> None:
    paces = group["paces"] = group["paces"].copy()
    for quota in event.quotas if len(event.quotas) <= _MOST_QUOTAS else event.quotas[:_MOST_QUOTAS]:
        _learn_quota(group, quota, event, now, free)
    if len(paces) > _MOST_QUOTAS:
        for key in list(paces)[: len(paces) - _MOST_QUOTAS]:
            del paces[key]
        group["windows"] = {key: value for key, value in group["windows"].items() if key in paces}
        group["costs"] = {key: value for key, value in group["costs"].items() if key in paces}
    if len(paces) > len(event.quotas):
        for key in [key for key, pace in paces.items() if now - pace["at"] > _STALE * pace["window"]]:
            del paces[key]


def _learn_quota(group: QuotaBucket, quota: Quota, event: TurnResult, now: float, free: float) -> None:
    """Move the pace of one quota, where there is anything to learn."""
    name, limit, remaining, reset, announced, unit, scope, _, resolution, _, _ = quota
    if unit == "concurrent-requests":
        if limit is not None:
            group["most"] = max(1.0, limit)
            group["slots"] = min(group["slots"], group["most"])
        return
    if limit is None or remaining is None or limit <= 0 or (reset is None and announced is None):
        return
    key, paces = (name, scope, unit, announced), group["paces"]
    known = paces.get(key)
    window = announced if announced and announced > _SHORTEST_WINDOW else _estimate_window(group, key, quota, now)
    cost = 1.0 if unit == "requests" else _estimate_cost(group, key, remaining)
    accepted, asked = event.refused is None, now - event.seconds
    size, left = limit / cost, min(limit, remaining) / cost
    pace = None
    if known is not None and known["limit"] == size and known["window"] == window:
        pace = paces[key] = known.copy()
        if accepted and learning.absorb_repeat(pace, left, asked, now):
            return
    seen = Seen(asked, size, window, left, max(0.0, reset) if reset else reset, resolution, announced is not None)
    running = group["running"] + group["stale"]
    if pace is not None:
        if not accepted and remaining < cost:
            learning.refuse(pace)
        learning.learn(pace, seen, now, accepted=accepted, free=free, in_flight=running)
    elif known is not None:
        paces[key] = state.restart_pace(known, seen, now, running)
    else:
        paces[key] = state.start_pace(seen, now, running)


def _estimate_window(group: QuotaBucket, key: Key, quota: Quota, now: float) -> float:
    """Return the length of a window that is not announced, or absurdly short.

    It is the longest time to a reset seen so far, until the reset is seen to jump by about as much: a moment that is
    rounded to a whole second looks up to a second longer or shorter than it is, the distance of two of them does not.
    """
    if quota.window is not None or quota.reset is None:
        return _SHORTEST_WINDOW
    reset = quota.reset
    longest, due, jump = group["windows"].get(key, (_SHORTEST_WINDOW, now + reset, 0.0))
    step, longest = now + reset - due, max(longest, reset)
    if max(longest - 1.1, 0.6 * longest) < step < longest + 0.5:
        jump = min(jump, step) if jump else step
    group["windows"] = {**group["windows"], key: (longest, now + reset, jump)}
    if jump:
        return round(jump) if quota.resolution >= 1 else jump
    if quota.resolution >= 1 and longest >= 1:
        return math.floor(longest + 0.1)
    return longest


def _estimate_cost(group: QuotaBucket, key: Key, remaining: float) -> float:
    """Return what one request takes of a quota that does not count requests, in steps; 1 until it is known."""
    cost, left = group["costs"].get(key, (0.0, remaining))
    taken = left - remaining
    if taken > 0:
        cost += (taken - cost) * (0.2 if cost else 1.0)
    group["costs"] = {**group["costs"], key: (cost, remaining)}
    return 2.0 ** round(math.log2(cost)) if cost >= 1 else 1.0  # in steps, because each change restarts the pace


def _learn_refusal(group: QuotaBucket, refused: Throttled, asked: float) -> float:
    """Count a refusal of a request that was sent at `asked`, and return the seconds for which the group pauses."""
    pause = refused.retry_after
    if refused.kind == "concurrency":
        running = group["running"] + group["stale"]
        group["slots"] = max(1.0, math.floor(_FEWER * min(group["slots"], running + 1)))
        return pause or 0.0
    if group["paces"]:
        return _PAUSE if pause is None else pause
    if not group["refusals"]:
        group["refused_at"] = group["heard"] = asked
    if asked >= group["paused"] or not group["refusals"]:
        group["refusals"] += 1
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(20, group["refusals"] - 1)) if pause is None else pause


def _learn_success(group: QuotaBucket, event: TurnResult, now: float) -> None:
    if group["paces"] and group["slots"] == math.inf and not group["refusals"]:
        return
    if group["refusals"]:
        if now - event.seconds < group["paused"]:
            group["counted"] += 1
            return  # it was sent before the refusals
        _find_rate(group, now)
    group["counted"] += 1
    group["busy"] += min(_IDLE, now - group["heard"])
    group["heard"] = now
    if group["slots"] != math.inf:
        group["slots"] = min(group["most"], group["slots"] + 1 / group["slots"])
    rate = group["rate"]
    if rate == math.inf:
        return
    # Time counts only while the limit is made use of, or silence would look like success.
    group["grown"] += 1 / rate if group["pressed"] else 0.0
    progress = group["grown"] / group["plateau"] - 1
    group["rate"] = max(rate, group["peak"] * (1 + (1 - _FEWER) * progress**3))


def _find_rate(group: QuotaBucket, now: float) -> None:
    """Take what was accepted from one end of refusals to the next for the rate, if refusals come in a rhythm.

    A refusal that comes alone, or once in a long while, says nothing of a rate: it is waited out.
    """
    refused = now - group["refused_at"]
    seconds = max(group["busy"] + refused, 0.001)
    often = group["cycled"] and seconds < _OFTEN * refused + _PLATEAU
    if often or group["rate"] != math.inf:
        grown_to = 0.0 if group["rate"] == math.inf else _LESS * group["rate"]
        group["peak"] = max(grown_to, max(group["counted"], 1) / seconds)
        group["rate"] = _A_LITTLE_LESS * group["peak"]
        group["plateau"] = max(_PLATEAU, 5 * refused)
    group["cycled"], group["grown"], group["refusals"], group["due"] = True, 0.0, 0, now
    group["counted"], group["busy"], group["heard"] = 0, 0.0, now
