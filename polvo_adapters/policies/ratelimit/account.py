"""What the adaptive rate limit knows of an account, which is one origin and one credential.

Requests under way are counted by *era*, a minute each: in the current one or the last. A request without a result (of
a killed process) is forgotten with its era.
"""

from __future__ import annotations

import math
from typing import TypeAlias, TypedDict

from polvo_adapters.policies.ratelimit.pacing.state import Pace

_MOST_GROUPS = 64

ERA = 60.0
"""Seconds of an era."""
EVERYTHING = "*"
"""Owner of a quota in which all requests of the account count."""

Key: TypeAlias = tuple[str, str, str, "float | None", str]
"""Name, scope, unit and window of a quota, as announced, and its owner: what tells apart quotas that look alike."""


class LaterGroupParts(TypedDict, total=False):
    """What is missing in groups that were stored by earlier versions.

    Attributes:
        gone: Tickets of calls that were broken off, between the first and the last in the queue.
    """

    gone: tuple[int, ...]


class QuotaBucket(LaterGroupParts):
    """What is known of one group: the routes whose requests count in the same quotas and wait in one queue.

    Attributes:
        quotas: Keys of the quotas that its requests count in.
        trial: Whether it holds one route of which it is not known yet where it belongs.
        suspect: The route whose refusal paused it, while it is open whether the refusal meant the other routes too.
        denials: Refusals in a row of a server that announces quotas and did not say for how long it refuses.
        known: Whether there was a response.
        paused: Time until which no request may go.
        running: Requests under way since this era began.
        stale: Requests under way since the last era.
        era: Number of the era.
        era_began: When it began.
        head: Ticket whose turn it is.
        tail: Next ticket.
        latency: Seconds that a response takes.
        slots: Requests that may be under way at once.
        most: The same, as the server announced it.
        told: Requests per second that the server announced, or 0.
        rate: Requests per second that were found, or infinity.
        peak: Rate that it grows back to.
        grown: Seconds of use since the last refusals.
        due: When the next request may go at that rate.
        plateau: Seconds of use until the rate is back at `peak`.
        pressed: Whether the last request had to keep to the rate.
        refusals: Refusals since the last request that was accepted.
        refused_at: When the first of these requests was sent.
        cycled: Whether there were refusals before.
        counted: Requests accepted since refusals ended.
        busy: Seconds that they took together.
        heard: When the last of them was accepted.
        began: When the group was new.
    """

    quotas: tuple[Key, ...]
    trial: bool
    suspect: str
    denials: int
    known: bool
    paused: float
    running: int
    stale: int
    era: int
    era_began: float
    head: int
    tail: int
    latency: float
    slots: float
    most: float
    told: float
    rate: float
    peak: float
    grown: float
    due: float
    plateau: float
    refusals: int
    refused_at: float
    cycled: bool
    counted: int
    busy: float
    heard: float
    began: float
    pressed: bool


class LaterParts(TypedDict, total=False):
    """What is missing in accounts that were stored by earlier versions.

    Attributes:
        cut: Quotas whose resets are announced without the part of a second.
    """

    cut: tuple[Key, ...]


class Account(LaterParts):
    """What is known of one origin and credential.

    Attributes:
        routes: Name of the group of each route.
        parts: For routes with an id in them: the id of the last response, and how many ids have been seen to share
            their quotas; -1 where each id has quotas of its own.
        groups: The groups by name; the one used last is last.
        paces: A Pace for each quota.
        windows: For windows that are not announced: the longest time to a reset, the next reset, the shortest jump.
        costs: For quotas that do not count requests: what one request takes, and what was left last; see `costs`.
        main: Name of the group that routes count in until they are known, as long as there is one group alone.
        separate: Whether routes have been seen to count apart.
        joins: How many routes have been seen to share their quotas.
        mistrials: Trials in a row that were refused.
        next_trial: Time until which no route is tried while its group waits.
        paused: Time until which no request may go at all.
        holds: Times until which requests to single routes may not go.
    """

    routes: dict[str, str]
    parts: dict[str, tuple[str, int]]
    groups: dict[str, QuotaBucket]
    paces: dict[Key, Pace]
    windows: dict[Key, tuple[float, float, float]]
    costs: dict[Key, tuple[float, ...]]
    main: str
    separate: bool
    joins: int
    mistrials: int
    next_trial: float
    paused: float
    holds: dict[str, float]


def make_account() -> Account:
    """Return an account of which nothing is known."""
    return Account(
        routes={}, parts={}, groups={}, paces={}, windows={}, costs={}, main="", separate=False,
        joins=0, mistrials=0, next_trial=0.0, paused=0.0, holds={},
    )  # fmt: skip


def make_group(now: float) -> QuotaBucket:
    """Return a group of which nothing is known."""
    return QuotaBucket(
        quotas=(), trial=False, suspect="", denials=0, known=False, paused=0.0,
        running=0, stale=0, era=0, era_began=now, head=0, tail=0, latency=0.0, slots=math.inf, most=math.inf,
        told=0.0, rate=math.inf, peak=0.0, grown=0.0, due=0.0, plateau=0.0, pressed=False,
        refusals=0, refused_at=0.0, cycled=False, counted=0, busy=0.0, heard=now, began=now,
    )  # fmt: skip


def replace_group(account: Account, name: str, group: QuotaBucket) -> Account:
    """Return the account with one group replaced; where there are too many, the one unused for longest is dropped."""
    account = account.copy()
    groups = account["groups"].copy()
    account["groups"] = groups
    if len(groups) > 1:
        groups.pop(name, None)  # so that it comes last: the order of the dict is the order of use
        if len(groups) >= _MOST_GROUPS:
            del groups[next(iter(groups))]
    groups[name] = group
    return account


def release_request(group: QuotaBucket, era: int, now: float) -> None:
    """Count a request that began in an era as under way no longer."""
    if now - group["era_began"] >= ERA:
        advance_era(group, now)
    if era == group["era"]:
        if group["running"]:
            group["running"] -= 1
    elif era == group["era"] - 1:
        group["stale"] = max(0, group["stale"] - 1)


def advance_era(group: QuotaBucket, now: float) -> None:
    """Begin a new era, if it is time."""
    if now - group["era_began"] < ERA:
        return
    eras = int((now - group["era_began"]) / ERA)
    group["stale"] = group["running"] if eras == 1 else 0
    group["running"] = 0
    group["era"] += eras
    group["era_began"] += eras * ERA


def count_running(account: Account, group: QuotaBucket, key: Key) -> int:
    """Return how many requests are under way that count in a quota, in all groups."""
    running = group["running"] + group["stale"]
    quotas = group["quotas"]
    for each in account["groups"].values():
        if each["quotas"] is not quotas and key in each["quotas"]:
            running += each["running"] + each["stale"]
    return running
