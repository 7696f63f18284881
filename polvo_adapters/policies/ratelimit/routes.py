"""Which quotas a request counts in: learned from the responses, route by route.

A *route* is a method and a path without its ids; a *part* is the first id in the path. Requests of one route count in
the same quotas, until a response shows that each part has quotas of its own (a channel of Discord, a store of
BigCommerce). Routes that count in the same quotas are one *group*, with one queue.

**Where a response belongs.** The server may name a bucket, or say that a quota is for everything. Otherwise a quota is
taken for one that is known if name, unit, window and limit agree, and what remains is not more than can remain there
after the last response. More than that cannot remain in one quota, so that it must be another: routes that are taken
for one group too often are separated by the next response, and never put off each other by more than one.

**Routes that are not known yet** count in the group that all routes count in so far, if there is one. Where that would
make them wait, one request at a time goes on trial: what it brings decides where the route belongs. A trial that is
refused costs a request. So there is none where many routes were seen to share their quotas, and after one that was
refused there is none for a pause that grows. Where routes were seen to count apart, each new one begins on trial.

**Silent servers** refuse and announce nothing. All routes are one group until one of them is refused. It is the
suspect; another route goes on trial while the group is paused, and if the server accepts it, it has a limit of its own.
"""

from __future__ import annotations

from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit.account import EVERYTHING, Account, Key, QuotaBucket, make_group
from polvo_adapters.policies.ratelimit.pacing import state
from polvo_adapters.policies.ratelimit.pacing.state import RING, SLOTS, Pace
from polvo_adapters.policies.ratelimit.turns import TurnRequest, TurnResult

MOST_ROUTES, _MOST_PARTS, _MOST_PACES = 256, 256, 128
_ENOUGH = 8  # routes, or ids of one route, that share their quotas: then the next one will
_FIRST_RETRIAL, _LONGEST_RETRIAL = 60.0, 300.0  # seconds without a trial, doubling, after one that was refused
_PARTITIONED = "discord"  # its bucket leaves out the channel, which is the first id of the path
_SPLIT = -1


def find_route(account: Account, route: str, part: str) -> str:
    """Return the name under which requests of a route count: with the part, where each part counts by itself."""
    seen = account["parts"].get(route) if part else None
    return f"{route} #{part}" if seen is not None and seen[1] == _SPLIT else route


def find_group(account: Account, route: str) -> str:
    """Return the name of the group in which the requests of a route wait for their turn."""
    name = account["routes"].get(route)
    if name is not None:
        return name
    return route if account["separate"] or route in account["groups"] else account["main"]


def start_group(account: Account, route: str, name: str, now: float) -> QuotaBucket:
    """Return a group that is not there yet: the first one, or that of a route on trial.

    A trial counts in nothing but the quotas in which everything counts.
    """
    group = make_group(now)
    if name != account["main"] or account["routes"]:
        group["trial"] = name.startswith(route)
        group["quotas"] = tuple(key for key in account["paces"] if key[4] == EVERYTHING)
    return group


def find_trial(account: Account, group: QuotaBucket, route: str, event: TurnRequest, now: float) -> str:
    """Return the name of the trial on which a request may go that would wait in its group, or an empty string."""
    if group["trial"] or not group["known"] or now < max(account["paused"], account["next_trial"]):
        return ""
    if route not in account["routes"]:
        name, seen = route, account["joins"]
    elif group["suspect"] and group["suspect"] != route:
        name, seen = route, 0
    else:
        last, seen = account["parts"].get(route, ("", _SPLIT)) if event.part else ("", _SPLIT)
        if seen == _SPLIT or event.part == last:
            return ""
        name = f"{route} #{event.part}"
    is_likely = seen < _ENOUGH or account["separate"] or any(key[4] for key in group["quotas"])
    return name if is_likely and name not in account["groups"] else ""


def find_key(account: Account, group: QuotaBucket, quota: Quota, route: str, event: TurnResult, now: float) -> Key:
    """Return the key of the quota that a response speaks of; the account notes what that says of routes and parts."""
    if quota.group:
        owner = quota.group
        if event.part and quota.dialect == _PARTITIONED:
            owner = f"{owner} #{event.part}"
            last, seen = account["parts"].get(event.route, (event.part, 0))
            if seen != _SPLIT:
                _split(account, event.route, event.part, last)
        return (quota.name, "", quota.unit, quota.window, owner)
    scope = "" if quota.scope in ("global", "user", "shared") else quota.scope
    alike = (quota.name, scope, quota.unit, quota.window)
    if quota.scope == "global":
        return (*alike, EVERYTHING)
    paces = account["paces"]
    own = next((key for key in group["quotas"] if key[:4] == alike and key[4] != EVERYTHING), None)
    if own is not None and _is_one(account, own, quota, route, event, now):
        return own
    if own is not None and paces[own]["by"] == route:
        route = _split(account, route, event.part, paces[own]["part"])
    others = [key for key in paces if key[:4] == alike and key[4] != EVERYTHING]
    for key in others:
        if key != own and _is_one(account, key, quota, route, event, now):
            return key
    return (*alike, route if others else "")


def _is_one(account: Account, key: Key, quota: Quota, route: str, event: TurnResult, now: float) -> bool:
    """Return whether a response speaks of a quota that is known, and count what it has in common with the last one."""
    pace = account["paces"][key]
    if pace["by"] == route and pace["part"] == event.part:
        return True
    if not _fits(account, key, pace, quota, event, now):
        return False
    _note_join(account, route, event.part, pace)
    return True


def _fits(account: Account, key: Key, pace: Pace, quota: Quota, event: TurnResult, now: float) -> bool:
    """Return whether a response of another route may speak of this quota."""
    cost = 1.0 if quota.unit == "requests" else state.round_cost(account["costs"].get(key, (0.0, 0.0))[0])
    limit = quota.limit or 0.0
    if limit / cost != pace["limit"]:
        return False
    if quota.remaining is None or now >= pace["low"]:
        return True
    asked = now - event.seconds
    since, slots = now - pace["told_at"] + event.seconds, pace["log"]
    more = 2 * pace["limit"] * since / pace["window"] + (pace["refills"] != "windows")  # whole requests, rounded
    steps = min(SLOTS, int(since * SLOTS / pace["window"]) + 1)
    more += sum(slots[(pace["slot"] + step) % RING] for step in range(1, steps + 1)) if since > 0 else 0.0
    if asked < pace["told_at"]:  # which of the two the server counted first is not known
        more += 2.0 + sum(each["running"] + each["stale"] for each in account["groups"].values())
    return quota.remaining / cost <= pace["told"] - 0.5 + more


def _note_join(account: Account, route: str, part: str, pace: Pace) -> None:
    """Count a route, or a part of one, that was seen to share a quota with another."""
    if pace["by"] != route:
        if account["joins"] < _ENOUGH and route not in account["routes"]:
            account["joins"] += 1
    elif part and pace["part"]:
        _, seen = account["parts"].get(route, ("", 0))
        if 0 <= seen < _ENOUGH:
            account["parts"] = {**account["parts"], route: (part, seen + 1)}


def note_part(account: Account, route: str, part: str) -> None:
    """Remember the part that a route was first used with."""
    parts = account["parts"] = {**account["parts"], route: (part, 0)}
    if len(parts) > _MOST_PARTS:
        del parts[next(iter(parts))]


def _split(account: Account, route: str, part: str, other: str) -> str:
    """Let each part of a route count by itself, and return the name of one of them as a route."""
    account["parts"] = {**account["parts"], route: (part, _SPLIT)}
    routes = account["routes"] = account["routes"].copy()
    name = routes.pop(route, None)
    if name is not None:
        routes[f"{route} #{other}"] = name
    account["separate"] = True
    return f"{route} #{part}"


def settle(account: Account, event: TurnResult, route: str, name: str, keys: tuple[Key, ...], now: float) -> str:
    """Let a route count where its response shows that it does, and return the name of its group.

    Args:
        account: The account, whose dicts are replaced and not changed.
        event: The result.
        route: The route.
        name: The group that the request took its turn in.
        keys: The quotas that the response spoke of.
        now: The time, in seconds.
    """
    group = account["groups"][name]
    is_settled = account["routes"].get(route) == name and not group["trial"]
    if not keys:
        return name if is_settled else _settle_silent(account, event, route, name, now)
    wanted = _unite(group["quotas"], keys) if is_settled else keys
    bucket = next((quota.group for quota in event.quotas if quota.group), "")
    target = _find_target(account, route, name, wanted, bucket, now)
    if group["trial"]:
        joined = target == account["main"] and event.refused is not None
        _note_trial(account, refused=joined, now=now)
    if target != name:
        _move(account, route, name, target)
    else:
        _set_group(account, name, quotas=wanted, trial=False)
    _remember_route(account, route, target)
    return target


def _settle_silent(account: Account, event: TurnResult, route: str, name: str, now: float) -> str:
    """Settle a route whose response announced nothing."""
    group = account["groups"][name]
    if group["trial"]:
        if event.refused is not None and not account["separate"]:
            _note_trial(account, refused=True, now=now)
            _move(account, route, name, account["main"])
            _set_group(account, account["main"], suspect="")
            return account["main"]
        _note_trial(account, refused=False, now=now)
        _set_group(account, name, trial=False)
        account["separate"] = True
    elif group["quotas"]:
        return name  # it may count elsewhere, or nowhere
    _remember_route(account, route, name)
    return name


def _note_trial(account: Account, *, refused: bool, now: float) -> None:
    if not refused:
        account["mistrials"], account["next_trial"] = 0, 0.0
        return
    pause = min(_LONGEST_RETRIAL, _FIRST_RETRIAL * 2.0 ** min(8, account["mistrials"]))
    account["mistrials"], account["next_trial"] = account["mistrials"] + 1, now + pause


def _unite(known: tuple[Key, ...], keys: tuple[Key, ...]) -> tuple[Key, ...]:
    """Return the quotas of a group with those that a response spoke of, which may have another owner now."""
    moved = {key[:4] for key in keys}
    kept = tuple([key for key in known if key[:4] not in moved or key in keys])
    return kept + tuple([key for key in keys if key not in known])


def _find_target(account: Account, route: str, name: str, wanted: tuple[Key, ...], bucket: str, now: float) -> str:
    """Return the group with just these quotas: one that is there, the group itself if it is the route's own, or new."""
    groups, keys = account["groups"], frozenset(wanted)
    group = groups[name]
    if frozenset(group["quotas"]) == keys and not group["trial"] and (not bucket or name == bucket):
        return name
    for other, each in groups.items():
        if frozenset(each["quotas"]) == keys and not each["trial"]:
            return other
    if (not bucket or name == bucket) and is_own(account, route, name):
        return name
    target = bucket if bucket and bucket not in groups else route
    if target not in groups:
        made = make_group(now)
        made["known"], made["latency"], made["quotas"] = True, group["latency"], wanted
        account["groups"] = {**groups, target: made}
    else:
        _set_group(account, target, quotas=wanted, trial=False)
    return target


def is_own(account: Account, route: str, name: str) -> bool:
    """Return whether no other route counts in a group."""
    return not any(group == name and other != route for other, group in account["routes"].items())


def _move(account: Account, route: str, name: str, target: str) -> None:
    """Let a route go from one group to another, and drop the first where no route is left in it."""
    groups = account["groups"]
    left = groups.get(name)
    is_first = not account["routes"] or (name == account["main"] and is_own(account, route, name))
    if is_first:
        account["main"] = target
    elif target != account["main"]:
        account["separate"] = True
    if left is not None and (left["trial"] or is_own(account, route, name)) and left["running"] + left["stale"] == 0:
        account["groups"] = {each: group for each, group in groups.items() if each != name}


def _set_group(account: Account, name: str, **changes: object) -> None:
    group = account["groups"].get(name)
    if group is not None:
        changed: QuotaBucket = {**group, **changes}  # type: ignore[typeddict-item]
        account["groups"] = {**account["groups"], name: changed}


def _remember_route(account: Account, route: str, name: str) -> None:
    if account["routes"].get(route) != name:
        routes = account["routes"] = {**account["routes"], route: name}
        if len(routes) > MOST_ROUTES:
            del routes[next(iter(routes))]


def drop_paces(account: Account) -> None:
    """Forget the quotas that have not been spoken of for longest, where there are too many."""
    paces = account["paces"]
    if len(paces) > _MOST_PACES:
        forget(account, min(paces, key=lambda key: paces[key]["at"]))


def forget(account: Account, *gone: Key) -> None:
    """Forget quotas, in every group."""
    account["paces"] = {key: pace for key, pace in account["paces"].items() if key not in gone}
    account["windows"] = {key: window for key, window in account["windows"].items() if key not in gone}
    account["costs"] = {key: cost for key, cost in account["costs"].items() if key not in gone}
    account["groups"] = {
        name: {**group, "quotas": tuple(key for key in group["quotas"] if key not in gone)}
        for name, group in account["groups"].items()
    }
