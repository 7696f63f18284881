"""All quotas of one account: which of them a request counts in, and what its result teaches.

An *account* is an origin and a credential. Its requests count in *groups* of routes that share their quotas; `routes`
learns from the responses which do. Each group has any number of quotas at once (per second and per day, requests and
tokens), with a `Pace` each; the one that makes a request wait longest governs. `queue` says which request goes next.

Refusals pause the group, or everything if the server says so, until the time that the server names. A delay of zero is
no information. What they mean beyond that stands in `rates`.

All is pure: dicts of numbers and strings, copied before they are changed.
"""

from __future__ import annotations

import math

from polvo_adapters.policies.ratelimit import routes
from polvo_adapters.policies.ratelimit.account import (
    Account,
    Key,
    QuotaBucket,
    make_group,
    release_request,
    replace_group,
)
from polvo_adapters.policies.ratelimit.announced import learn_quotas
from polvo_adapters.policies.ratelimit.rates import announces_rate, end_doubt, learn_refusal, learn_success
from polvo_adapters.policies.ratelimit.turns import Turn, TurnResult

_MOST_HOLDS = 64
_NO_TURN = Turn()


def learn_result(account: Account, event: TurnResult, now: float, *, free: float) -> tuple[Account, Turn]:
    """Return the account after the result of a request.

    Args:
        account: The account.
        event: The result.
        now: When it came, in seconds.
        free: Part of a quota above which a client that is alone does not wait.
    """
    route, name, era, seconds, status, quotas, refused, part, pause = event[:9]  # quicker than each by its name
    if part:
        route = routes.find_route(account, route, part)
    known = account["groups"].get(name)
    if known is not None:
        group = known.copy()
        release_request(group, era, now)
    else:
        name = routes.find_group(account, route)
        known = account["groups"].get(name)
        group = make_group(now) if known is None else known.copy()
    if status:
        group["known"] = True
        group["latency"] += 0.2 * (seconds - group["latency"])
    account = replace_group(account, name, group)
    if (group["told"] or refused is not None) and _counts_apart(account, group, event, route, name):
        name, group = route, routes.start_group(account, route, route, now)
        account = replace_group(account, name, group)
        account["separate"] = True
    keys: tuple[Key, ...] = ()
    if quotas:
        keys = learn_quotas(account, group, route, event, now, free)
        group = account["groups"][name]
    if status:
        if part or group["quotas"] != keys or group["trial"] or account["routes"].get(route) != name:
            account, group = _settle(account, group, event, route, name, keys, now)
        is_usual = refused is None and not pause and group["quotas"] and group["slots"] == math.inf
        if not is_usual or group["refusals"] or group["denials"]:
            _learn_answer(account, group, route, event, now)
    return account, _NO_TURN


def _learn_answer(account: Account, group: QuotaBucket, route: str, event: TurnResult, now: float) -> None:
    """Learn from a refusal, from a response that asks to wait, or from one that no announced quota explains."""
    if event.refused is not None or event.pause:
        _learn_pause(account, group, route, event, now)
    if event.refused is None:
        group["denials"] = 0
        if not group["quotas"] or group["slots"] != math.inf or group["refusals"]:
            learn_success(group, event, now)


def _settle(
    account: Account, group: QuotaBucket, event: TurnResult, route: str, name: str, keys: tuple[Key, ...], now: float
) -> tuple[Account, QuotaBucket]:
    """Return the account with the route where it belongs, and its group."""
    if event.part:
        route = _note_part(account, event, route)
    if account["routes"].get(route) == name and not group["trial"] and group["quotas"] == keys:
        return account, group
    name = routes.settle(account, event, route, name, keys, now)
    settled = account["groups"].get(name)
    group = make_group(now) if settled is None else settled.copy()
    return replace_group(account, name, group), group


def _counts_apart(account: Account, group: QuotaBucket, event: TurnResult, route: str, name: str) -> bool:
    """Return whether a response says that its route counts apart from the other routes of its group."""
    if event.refused is not None and any(each.startswith("endpoint") for each in event.refused.quotas):
        return not routes.is_own(account, route, name)  # Stripe
    return announces_rate(group, event.quotas) and not routes.is_own(account, route, name)


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
    if event.in_doubt and not end_doubt(group, now):
        return
    until = now + learn_refusal(group, refused, now - event.seconds, route)
    means_all = refused.scope == "global" or any(name.startswith("global") for name in refused.quotas)
    means_all = means_all or any(quota.scope == "global" and quota.remaining == 0 for quota in event.quotas)
    if means_all and refused.kind != "concurrency":
        account["paused"] = max(account["paused"], until)
    else:
        group["paused"] = max(group["paused"], until)
