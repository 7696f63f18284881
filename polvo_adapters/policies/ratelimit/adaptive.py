"""All quotas of one account: which of them a request counts in, which request goes next, and what refusals mean.

An *account* is an origin and a credential. Its requests count in *groups* of routes that share their quotas; `routes`
learns from the responses which do. Each group has any number of quotas at once (per second and per day, requests and
tokens), with a `Pace` each; the one that makes a request wait longest governs.

**The queue** is two numbers. A request that has to wait takes the ticket `tail`, and goes when `head` has come to it.
It sleeps until its turn should have come, but not much longer than a second at a time, since responses in between may
change everything. A ticket whose thread has died would block the queue: a request that could go but for those ahead of
it, twice in a row, goes past them.

**Refusals** pause the group, or everything if the server says so, until the time that the server names. A delay of zero
is no information. Beyond that:

    kind          quotas known            nothing known
    ------------  ----------------------  -----------------------------------------------------------------------
    rate          see `learning.refuse`;  one request at a time tries whether it is over, after pauses that double; the
                  pauses that double,     rate is what was accepted from one end of refusals to the next; it then grows,
                  without a time          slower near the old rate, then faster (Ha, Rhee, Xu: CUBIC, 2008)
    concurrency   fewer at once, by three tenths; one more after as many successes as there are slots; the rate stays
    exhausted     as rate, paused until then

All is pure: dicts of numbers and strings, copied before they are changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit import routes
from polvo_adapters.policies.ratelimit.account import (
    ERA,
    Account,
    Key,
    QuotaBucket,
    advance_era,
    make_group,
    release_request,
    replace_group,
)
from polvo_adapters.policies.ratelimit.pacing import buckets, credit, learning, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult

_SCOUTS = 8  # requests at once to a group of which nothing is known: few enough not to break a small quota much
_LONGEST_SLEEP, _SHORTEST_SLEEP = 1.0, 0.005  # seconds in the queue until the turn is requested again
_IDLE = 5.0  # seconds between two responses that count as use; a longer pause is the caller's own
_MOST_QUOTAS, _MOST_HOLDS = 16, 64
_FEWER = 0.7  # of the slots, after a refusal; CUBIC and the AWS SDKs use the same
_NEARLY = 0.98  # of a rate that is announced, since not all requests take the same time to the server
_SHORT = 5.0  # seconds of a window that is spread out without a need
_LESS = 0.9  # of the rate that had grown until it was refused
_A_LITTLE_LESS = 0.97  # of the rate that was accepted
_PLATEAU = 10.0  # seconds of traffic until the rate is back where it was refused, at least
_APART, _MOST_APART = 70.0, 350.0  # the same for each refusal in a row, so that there is about one a minute at most
_STREAK = 3  # refusals in a row that are no accident
_OFTEN = 20.0  # times the length of the refusals, within which they have to come again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # seconds, doubling, where a server refuses and says nothing
_PAUSE = 1.0  # seconds, where a server that announces quotas refuses and does not say for how long
_SHORTEST_WINDOW = 0.1
_TICK = 0.001  # seconds
_NO_TURN = Turn()
_STALE = 10.0  # windows after which a quota that is not announced any more is forgotten


def acquire_turn(account: Account, event: TurnRequest, now: float, trial: str = "") -> tuple[Account, Turn]:
    """Return the account after a request has taken its turn or its place in the queue, and the turn.

    Args:
        account: The account.
        event: The request.
        now: The time, in seconds.
        trial: Group to which the request goes on trial, in place of that of its route.
    """
    route = routes.find_route(account, event.route, event.part) if event.part else event.route
    name = trial or account["routes"].get(route) or routes.find_group(account, route)
    ticketed = event.ticket >= 0
    if ticketed and event.group != name:
        account, event, ticketed = _leave_queue(account, event), event._replace(ticket=-1, tries=0), False
    known, paces = account["groups"].get(name), account["paces"]
    group = known.copy() if known is not None else routes.start_group(account, route, name, now)
    if now - group["era_began"] >= ERA:
        advance_era(group, now)
    ahead = _count_ahead(group, event) if ticketed else group["tail"] - group["head"]
    own: dict[Key, Pace] = {}
    for key in group["quotas"]:  # a third faster than a comprehension
        own[key] = paces[key].copy()
    until = group["paused"]
    if account["paused"] > until or account["holds"]:
        until = max(until, account["paused"], account["holds"].get(route, 0.0))
    if ahead or ticketed or now < until or not _has_plenty(account, group, own):
        waiting = _wait(_Queue(account, name, group, own, until), route, event, now, ahead, can_try=not trial)
        if waiting is not None:
            return waiting
    if ticketed and event.ticket == group["head"]:
        group["head"] += 1
    for pace in own.values():
        left = pace["credit"] - 1
        pace["credit"] = left if left > 0 else 0.0
    group["running"] += 1
    if group["rate"] != math.inf:
        _spend_rate(group, now)
    return _replace(account, name, group, own), _make_turn(name, group["era"])


def _count_ahead(group: QuotaBucket, event: TurnRequest) -> int:
    """Return how many tickets go before that of the request, which goes past those that seem to be dead."""
    ahead = max(0, event.ticket - group["head"])
    if ahead and event.tries >= 2:
        group["head"], ahead = event.ticket, 0
    return ahead


def _wait(
    queue: _Queue, route: str, event: TurnRequest, now: float, ahead: int, *, can_try: bool
) -> tuple[Account, Turn] | None:
    """Return the account with the request in the queue, or on trial, or None where it is its turn."""
    for pace in queue.paces.values():
        credit.earn(pace, now)
    at, reason = _find_ready_time(queue, now, ahead, event.chance)
    if at <= now and not ahead:
        return None
    tried = _try_alone(queue.account, queue.group, route, event, now) if can_try else None
    return tried or _queue(queue, event, now, at, reason)


def _try_alone(
    account: Account, group: QuotaBucket, route: str, event: TurnRequest, now: float
) -> tuple[Account, Turn] | None:
    """Return the account and the turn of a request that goes on trial in place of waiting, or None."""
    trial = routes.find_trial(account, group, route, event, now)
    if not trial:
        return None
    tried, turn = acquire_turn(account, event._replace(ticket=-1, tries=0), now, trial)
    if turn.wait > 0:
        return None
    return _leave_queue(tried, event) if event.ticket >= 0 else tried, turn


class _Queue(NamedTuple):
    """The group that a request waits in, with its quotas, and the time until which it is paused."""

    account: Account
    name: str
    group: QuotaBucket
    paces: dict[Key, Pace]
    until: float


def _replace(account: Account, name: str, group: QuotaBucket, paces: dict[Key, Pace]) -> Account:
    account = replace_group(account, name, group)
    if paces:
        account["paces"] = {**account["paces"], **paces} if len(paces) < len(account["paces"]) else paces
    return account


def _count_running(account: Account, group: QuotaBucket, key: Key) -> int:
    """Return how many requests are under way that count in a quota, in all groups."""
    running = group["running"] + group["stale"]
    quotas = group["quotas"]
    for each in account["groups"].values():
        if each["quotas"] is not quotas and key in each["quotas"]:
            running += each["running"] + each["stale"]
    return running


def _spend_rate(group: QuotaBucket, now: float) -> None:
    group["pressed"] = now < group["due"] + 1 / group["rate"]
    group["due"] = max(group["due"], now) + 1 / group["rate"]


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


def _has_plenty(account: Account, group: QuotaBucket, paces: dict[Key, Pace]) -> bool:
    """Return whether a request may go without a closer look: the usual case while quota is plentiful."""
    if not paces or group["rate"] != math.inf or group["slots"] != math.inf or group["trial"]:
        return False
    if account["separate"]:
        return all(
            pace["credit"] >= 1 and pace["remaining"] > _count_running(account, group, key)
            for key, pace in paces.items()
        )
    running = group["running"] + group["stale"]
    for pace in paces.values():  # noqa: SIM110 - half the time of all()
        if pace["credit"] < 1 or pace["remaining"] <= running:
            return False
    return True


def _queue(queue: _Queue, event: TurnRequest, now: float, at: float, reason: str) -> tuple[Account, Turn]:
    """Return the account with a request in the queue, and the time that it sleeps, or the wait that is too long."""
    account, name, group, paces, _ = queue
    ticket = event.ticket
    ready_alone = ticket >= 0 and _find_ready_time(queue, now, 0, event.chance)[0] <= now
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
        return _replace(account, name, group, paces), turn
    if ticket < 0:
        ticket = group["tail"]
        group["tail"] += 1
    spread = 0.0
    if wait > _LONGEST_SLEEP:
        wait = max(_LONGEST_SLEEP, wait / 2)
    if event.chance is None and any(state.is_shared(pace) for pace in paces.values()):
        wait = spread = wait / 2
    return _replace(account, name, group, paces), Turn(wait, spread, ticket, tries, name, group["era"], reason)


def _find_ready_time(queue: _Queue, now: float, ahead: int, chance: float | None) -> tuple[float, str]:
    """Return when the next request may go behind those ahead, and what it waits for.

    Clients that share a quota wait for up to half a request's credit more, as chance has it, so that they do not
    march in step; newcomers for up to a whole one, since every reset would bring them together again.
    """
    account, _, group, paces, until = queue
    running = group["running"] + group["stale"]
    at, reason = until, "rate limit, paused by the server"
    if running + ahead + 1 > group["slots"]:
        at, reason = math.inf, f"rate limit, {running} of {group['slots']:.0f} requests at once"
    separate = account["separate"]
    for key, pace in paces.items():
        in_flight = _count_running(account, group, key) if separate else running
        more = (0.5 if pace["seen"] > state.NEWCOMER else 1.0) * chance if chance and state.is_shared(pace) else 0.0
        ready = credit.find_ready_time(pace, now, ahead + more, in_flight)
        if ready > at:
            at, reason = ready, f"rate limit, {pace['remaining']:g} of {pace['limit']:g} left"
    if group["rate"] != math.inf:
        ready = group["due"] + ahead / group["rate"]
        if ready > at:
            at, reason = ready, f"rate limit, found to be {group['rate']:.3g} per second"
    scouts = 1 if group["trial"] else _SCOUTS
    if group["refusals"] and running + ahead and now >= until:
        at, reason = math.inf, "rate limit, one request asks whether it is over"
    elif not group["known"] and running + ahead >= scouts and now < group["began"] + _LONGEST_SLEEP:
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
    route = routes.find_route(account, event.route, event.part) if event.part else event.route
    name = event.group if event.group in account["groups"] else routes.find_group(account, route)
    known = account["groups"].get(name)
    group = make_group(now) if known is None else known.copy()
    if name == event.group:
        release_request(group, event, now)
    status, refused = event.status, event.refused
    if status:
        group["known"] = True
        group["latency"] += 0.2 * (event.seconds - group["latency"])
    account = replace_group(account, name, group)
    if (group["told"] or refused is not None) and _counts_apart(account, group, event, route, name):
        name, group = route, routes.start_group(account, route, route, now)
        account = replace_group(account, name, group)
        account["separate"] = True
    keys: list[Key] = []
    if event.quotas:
        keys = _learn_quotas(account, group, route, event, now, free)
        group = account["groups"][name]
    if status:
        if event.part or account["routes"].get(route) != name or group["trial"] or group["quotas"] != tuple(keys):
            account, group = _settle(account, group, event, route, name, keys, now)
        if refused is not None or event.pause:
            _learn_pause(account, group, route, event, now)
        if refused is None:
            group["denials"] = 0
            if not group["quotas"] or group["slots"] != math.inf or group["refusals"]:
                _learn_success(group, event, now)
    return account, _NO_TURN


def _settle(
    account: Account, group: QuotaBucket, event: TurnResult, route: str, name: str, keys: list[Key], now: float
) -> tuple[Account, QuotaBucket]:
    """Return the account with the route where it belongs, and its group."""
    if event.part:
        route = _note_part(account, event, route)
    if account["routes"].get(route) == name and not group["trial"] and group["quotas"] == tuple(keys):
        return account, group
    name = routes.settle(account, event, route, name, keys, now)
    settled = account["groups"].get(name)
    group = make_group(now) if settled is None else settled.copy()
    return replace_group(account, name, group), group


def _counts_apart(account: Account, group: QuotaBucket, event: TurnResult, route: str, name: str) -> bool:
    """Return whether a response says that its route counts apart from the other routes of its group."""
    if event.refused is not None and any(each.startswith("endpoint") for each in event.refused.quotas):
        return not routes.is_own(account, route, name)  # Stripe
    rates = [quota.limit for quota in event.quotas if quota.unit == "requests-per-second" and quota.limit]
    return bool(rates) and _NEARLY * rates[0] != group["told"] and not routes.is_own(account, route, name)


def _note_part(account: Account, event: TurnResult, route: str) -> str:
    """Remember the part, and return the route, which is the part's own if parts were found to count apart."""
    if event.route not in account["parts"]:
        routes.note_part(account, event.route, event.part)
        return route
    return routes.find_route(account, event.route, event.part)


def _learn_pause(account: Account, group: QuotaBucket, route: str, event: TurnResult, now: float) -> None:
    """Let what the response is about pause: everything, the group, or the route."""
    refused = event.refused
    if refused is None:
        if event.pause > 0:
            if event.quotas or event.paced:
                group["paused"] = max(group["paused"], now + event.pause)
            else:
                route = routes.find_route(account, event.route, event.part)
                holds = {each: until for each, until in account["holds"].items() if until > now}
                account["holds"] = {**holds, route: now + event.pause} if len(holds) < _MOST_HOLDS else holds
        return
    until = now + _learn_refusal(group, refused, now - event.seconds, route)
    means_all = refused.scope == "global" or any(name.startswith("global") for name in refused.quotas)
    means_all = means_all or any(quota.scope == "global" and quota.remaining == 0 for quota in event.quotas)
    if means_all and refused.kind != "concurrency":
        account["paused"] = max(account["paused"], until)
    else:
        group["paused"] = max(group["paused"], until)


def _learn_quotas(
    account: Account, group: QuotaBucket, route: str, event: TurnResult, now: float, free: float
) -> list[Key]:
    """Move the paces of all quotas of a response, and return their keys."""
    account["paces"] = account["paces"].copy()
    keys = []
    for quota in event.quotas if len(event.quotas) <= _MOST_QUOTAS else event.quotas[:_MOST_QUOTAS]:
        key = _learn_quota(account, group, quota, route, event, now, free)
        if key is not None:
            keys.append(key)
    if len(account["paces"]) > len(keys):
        _forget_stale(account, group, now)
    return keys


def _forget_stale(account: Account, group: QuotaBucket, now: float) -> None:
    """Forget quotas that are not spoken of any more, and those beyond the number that is kept."""
    paces = account["paces"]
    gone = [key for key in group["quotas"] if now - paces[key]["at"] > _STALE * paces[key]["window"]]
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
    if limit is None or remaining is None or limit <= 0 or unit == "concurrent-requests":
        _learn_other(group, quota, event.quotas)
        return None
    if reset is None and announced is None:
        return None
    paces = account["paces"]
    for key in group["quotas"]:
        if key[0] == name and key[3] == announced and key[2] == unit and key[1] == scope and not bucket:
            known: Pace | None = paces[key]
            if known is not None and known["by"] == route and known["part"] == event.part:
                break
    else:
        key = routes.find_key(account, group, quota, route, event, now)
        known = paces.get(key)
    match: buckets.Match | None = None
    if announced and announced > _SHORTEST_WINDOW:
        window = announced
    else:
        window, match = _find_window(account, key, quota, known, event, now)
    cost = 1.0 if unit == "requests" else _estimate_cost(account, key, unit, remaining)
    asked = now - event.seconds
    left = (remaining if remaining < limit else limit) / cost  # noqa: FURB136 - half the time of min()
    if known is not None and known["limit"] == limit / cost and known["window"] == window:
        pace = known.copy()
        if event.refused is None and left >= 1 and learning.absorb_repeat(pace, left, asked, now):
            paces[key] = pace
            if asked < pace["told_at"] or pace["by"] != route or pace["part"] != event.part:
                _note_source(pace, left, asked, now, route, event.part)
            else:
                pace["told"], pace["told_at"] = left, now
            return key
    running = _count_running(account, group, key) if account["separate"] else group["running"] + group["stale"]
    seen = _make_seen(quota, known, event, window, match, now)._replace(limit=limit / cost, remaining=left)
    pace = paces[key] = _learn_seen(known, seen, now, free, running, accepted=event.refused is None)
    _note_source(pace, left, asked, now, route, event.part)
    state.note_end(pace, seen, now)
    return key


def _find_window(
    account: Account, key: Key, quota: Quota, known: Pace | None, event: TurnResult, now: float
) -> tuple[float, buckets.Match]:
    """Return the length of a window that is not announced, or absurdly short, and what speaks for a bucket."""
    match = known["bucket"] if known is not None else buckets.UNKNOWN
    window = _estimate_window(account, key, quota, now)
    level = _read_level(quota, event, now)
    if level is None or quota.window is not None:
        return window, match
    match = buckets.match(match, level)
    return buckets.find_window(match, known["window"] if known is not None else 0.0) or window, match


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


def _learn_other(group: QuotaBucket, quota: Quota, others: Sequence[Quota]) -> None:
    """Learn from a quota that does not say what remains: how many requests at once, or which rate.

    Many requests may go at once at such a rate, but not how many is known. A window of some seconds is spread out from
    the beginning, which delays no request for longer; of a longer one, what was refused shows that it is used up.
    """
    limit, window = quota.limit, 1.0 if quota.unit == "requests-per-second" else quota.window
    if quota.unit == "concurrent-requests":
        if limit is not None:
            group["most"] = max(1.0, limit)
            group["slots"] = min(group["slots"], group["most"])
    elif limit and window and window > _SHORTEST_WINDOW and not any(each.remaining is not None for each in others):
        group["told"] = _NEARLY * limit / window
        if group["rate"] != math.inf or (quota.unit == "requests" and window <= _SHORT):
            group["rate"] = min(group["rate"], group["told"])
            group["peak"], group["plateau"] = group["peak"] or group["told"], group["plateau"] or _PLATEAU


def _learn_seen(known: Pace | None, seen: Seen, now: float, free: float, running: int, *, accepted: bool) -> Pace:
    """Return the pace of a quota after a response that says something new."""
    if known is None:
        return state.start_pace(seen, now, running)
    if known["limit"] != seen.limit or known["window"] != seen.window:
        return state.restart_pace(known, seen, now, running)
    pace = known.copy()
    if not accepted and seen.remaining < 1:
        learning.refuse(pace)
    learning.learn(pace, seen, now, accepted=accepted, free=free, in_flight=running)
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
        return _SHORTEST_WINDOW
    reset = quota.reset
    longest, due, jump = account["windows"].get(key, (_SHORTEST_WINDOW, now + reset, 0.0))
    step, longest = now + reset - due, max(longest, reset)
    if max(longest - 1.1, 0.6 * longest) < step < longest + 0.5:
        jump = min(jump, step) if jump else step
    account["windows"] = {**account["windows"], key: (longest, now + reset, jump)}
    if jump:
        return round(jump) if quota.resolution >= 1 else jump
    if quota.resolution >= 1 and longest >= 1:
        return math.floor(longest + 0.1)
    return longest


def _estimate_cost(account: Account, key: Key, unit: str, remaining: float) -> float:
    """Return what one request takes of a quota that does not count requests, in steps; 1 until it is known.

    A percentage shows the cost of many requests at best; it only matters when all of it is used up.
    """
    if unit == "percent":
        account["costs"] = {**account["costs"], key: (state.PERCENT, remaining)}
        return state.PERCENT
    cost, left = account["costs"].get(key, (0.0, remaining))
    taken = left - remaining
    if taken > 0:
        cost += (taken - cost) * (0.2 if cost else 1.0)
    account["costs"] = {**account["costs"], key: (cost, remaining)}
    return state.round_cost(cost)


def _learn_refusal(group: QuotaBucket, refused: Throttled, asked: float, route: str) -> float:
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
        return min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(20, group["denials"] - 1)) if pause is None else pause
    if not group["refusals"]:
        group["busy"] += min(_IDLE, max(0.0, asked - group["heard"]))
        group["refused_at"] = group["heard"] = asked
        group["suspect"] = route
    if is_news or not group["refusals"]:
        group["refusals"] += 1
    if pause is not None:
        return pause
    return _compute_pause(group)


def _compute_pause(group: QuotaBucket) -> float:
    """Return the pause after the last refusal in a row of a server that says nothing."""
    first = max(_FIRST_PAUSE, min(_LONGEST_PAUSE, 1 / group["told"]) if group["told"] else 0.0)
    return min(_LONGEST_PAUSE, first * 2.0 ** min(20, group["refusals"] - 1))


def _learn_success(group: QuotaBucket, event: TurnResult, now: float) -> None:
    """Let the rate grow, and the number of requests at once; where refusals are over, find the rate."""
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
    grown = max(rate, group["peak"] * (1 + (1 - _FEWER) * progress**3))
    group["rate"] = min(grown, group["told"]) if group["told"] else grown


def _find_rate(group: QuotaBucket, now: float) -> None:
    """Take what was accepted from one end of refusals to the next for the rate, if refusals come in a rhythm.

    A refusal that comes alone, or once in a long while, says nothing of a rate: it is waited out. A streak does.
    """
    refused = now - group["refused_at"]
    seconds = max(group["busy"] + refused, 0.001)
    often = (group["cycled"] or group["refusals"] >= _STREAK) and seconds < _OFTEN * refused + _PLATEAU
    if group["told"] and group["rate"] == math.inf:
        group["rate"] = group["peak"] = group["told"]
        group["plateau"] = _PLATEAU
    elif often or group["rate"] != math.inf:
        grown_to = 0.0 if group["rate"] == math.inf else _LESS * group["rate"]
        counted, last_pause = max(group["counted"], 1), _compute_pause(group)
        if group["refusals"] < _STREAK:  # a pause that the server named was rounded up to whole seconds
            last_pause = max(last_pause, min(1.0, group["paused"] - group["refused_at"]))
        group["rate"] = _A_LITTLE_LESS * max(grown_to, counted / seconds)
        # The server may have stopped refusing at any time in the last pause, and accept as much more.
        group["peak"] = max(grown_to, counted / max(seconds - last_pause, 0.5 * seconds))
        group["plateau"] = max(_PLATEAU, min(_MOST_APART, _APART * group["refusals"]))
    group["cycled"], group["grown"], group["refusals"], group["due"] = True, 0.0, 0, now
    group["counted"], group["busy"], group["heard"] = 0, 0.0, now
