"""The queue of a group: which request goes next, and how long the others sleep.

The queue is two numbers. A request that has to wait takes the number `tail` for its ticket, and goes when `head` has
reached it. It sleeps until its turn should have come, but not much longer than a second at a time, since responses in
between may change everything. A call that is broken off gives its ticket back. That of a process that has died would
block the queue. So a request that finds twice in a row that it could go if it were first, passes those ahead of it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from polvo_adapters.policies.ratelimit import routes
from polvo_adapters.policies.ratelimit.account import (
    ERA,
    Account,
    Key,
    QuotaBucket,
    advance_era,
    count_running,
    release_request,
    replace_group,
)
from polvo_adapters.policies.ratelimit.pacing import credit, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace
from polvo_adapters.policies.ratelimit.turns import MOST_GONE, Turn, TurnRequest, leave_queue

_SCOUTS = 8  # requests at once to a group of which nothing is known: few enough not to break a small quota much
_LONGEST_SLEEP, _SHORTEST_SLEEP = 1.0, 0.005  # seconds in the queue until the turn is requested again


def acquire_turn(account: Account, event: TurnRequest, now: float, trial: str = "") -> tuple[Account, Turn]:
    """Return the account after a request has taken its turn or its place in the queue, and the turn.

    Args:
        account: The account.
        event: The request.
        now: The time, in seconds.
        trial: Group to which the request goes on trial, in place of that of its route.
    """
    route = routes.find_route(account, event.route, event.part) if event.part else event.route
    name = trial or account["routes"].get(route)
    if name is None:
        name = routes.find_group(account, route)
    ticketed = event.ticket >= 0
    if ticketed and event.group != name:
        account, event, ticketed = _leave_queue(account, event), event._replace(ticket=-1, tries=0), False
    known = account["groups"].get(name)
    group = known.copy() if known is not None else routes.start_group(account, route, name, now)
    if now - group["era_began"] >= ERA:
        advance_era(group, now)
    until = group["paused"]
    if account["paused"] > until or account["holds"]:
        until = max(until, account["paused"], account["holds"].get(route, 0.0))
    ahead = _count_ahead(group, event) if ticketed else group["tail"] - group["head"] - len(group.get("gone", ()))
    own = None if ahead or ticketed or now < until else _spend_plenty(account, group)
    if own is None:
        own = {key: account["paces"][key].copy() for key in group["quotas"]}
        waiting = _wait(_Queue(account, name, group, own, until), route, event, now, ahead, can_try=not trial)
        if waiting is not None:
            return waiting
        _spend(group, own, event, now)
    group["running"] += 1
    account = replace_group(account, name, group)
    if own:
        account["paces"] = own if len(own) == len(account["paces"]) else {**account["paces"], **own}
    return account, _make_turn(name, group["era"])


def release_turn(account: Account, turn: Turn, now: float) -> Account:
    """Return the account after a call was broken off.

    Args:
        account: The account.
        turn: The last turn of the call.
        now: The time, in seconds.
    """
    known = account["groups"].get(turn.group)
    if known is None or turn.refused:
        return account
    group = known.copy()
    if turn.ticket >= 0:
        _leave(group, turn.ticket)
    else:
        release_request(group, turn.era, now)
    return replace_group(account, turn.group, group)


def _leave(group: QuotaBucket, ticket: int) -> None:
    """Take a ticket out of the queue; one between the first and the last is left out when its turn comes."""
    group["head"], group["tail"], gone = leave_queue(ticket, group.get("gone", ()), group["tail"], group["head"])
    group["gone"] = tuple(gone[:MOST_GONE])  # those beyond are passed as dead ones are


def _count_ahead(group: QuotaBucket, event: TurnRequest) -> int:
    """Return how many tickets go before that of the request, which goes past those that seem to be dead."""
    ahead = max(0, event.ticket - group["head"])
    if ahead and event.tries >= 2:
        group["head"], ahead = event.ticket, 0
    gone = group.get("gone")
    return ahead - sum(group["head"] < each < event.ticket for each in gone) if gone and ahead else ahead


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


def _replace_paces(account: Account, name: str, group: QuotaBucket, paces: dict[Key, Pace]) -> Account:
    account = replace_group(account, name, group)
    if paces:
        account["paces"] = {**account["paces"], **paces} if len(paces) < len(account["paces"]) else paces
    return account


def _spend(group: QuotaBucket, paces: dict[Key, Pace], event: TurnRequest, now: float) -> None:
    """Count a request that goes, and that may have waited."""
    if event.ticket == group["head"] and event.ticket >= 0:
        _leave(group, event.ticket)
    for pace in paces.values():
        left = pace["credit"] - 1
        pace["credit"] = left if left > 0 else 0.0
    if group["rate"] != math.inf:
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


def _spend_plenty(account: Account, group: QuotaBucket) -> dict[Key, Pace] | None:
    """Return the paces of a group after a request that goes without a closer look, or None where one is needed.

    It is the usual case, while quota is plentiful: one loop looks, copies and counts, because each costs as much.
    """
    quotas = group["quotas"]
    if group["rate"] != math.inf or group["slots"] != math.inf or group["trial"]:
        return None
    if not quotas and (group["refusals"] or not group["known"]):
        return None
    running, paces = group["running"] + group["stale"], account["paces"]
    own: dict[Key, Pace] = {}
    for key in quotas:
        pace = paces[key]
        credit = pace["credit"]
        if account["separate"]:
            running = count_running(account, group, key)
        if credit < 1 or pace["remaining"] <= running:
            return None
        own[key] = pace = pace.copy()
        pace["credit"] = credit - 1
    return own


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
        if ticket >= 0:
            _leave(group, ticket)
        turn = Turn(wait=wait, ticket=ticket, group=name, reason=reason, refused=refused)
        return _replace_paces(account, name, group, paces), turn
    if ticket < 0:
        ticket = group["tail"]
        group["tail"] += 1
    spread = 0.0
    if wait > _LONGEST_SLEEP:
        wait = max(_LONGEST_SLEEP, wait / 2)
    if event.chance is None and any(state.is_shared(pace) for pace in paces.values()):
        wait = spread = wait / 2
    return _replace_paces(account, name, group, paces), Turn(wait, spread, ticket, tries, name, group["era"], reason)


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
        in_flight = count_running(account, group, key) if separate else running
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
