"""The RateLimit fields of the IETF, in four generations with the same names and incompatible syntaxes.

    A   drafts 00 to 03   RateLimit-Limit: 10, 10;w=1, 50;w=60     -Remaining: 9   -Reset: 1    policies in the limit
    B   04 to 06          RateLimit-Limit: 10     -Remaining: 9   -Reset: 1     RateLimit-Policy: 10;w=1, 50;w=60
    C   07                RateLimit: limit=10, remaining=9, reset=1            RateLimit-Policy: 10;w=1, 50;w=60
    D   08 to 10          RateLimit: "burst";r=9;t=1     RateLimit-Policy: "burst";q=10;w=1, "daily";q=1000;w=86400

Theory of operation. A to C announce one state, that of the limit which expires next, and policies by size; D
announces a state for each policy, by name and partition key. Every quota that is mentioned is returned: the one
that expires with what is left, the others with size and window alone. Policies change rarely, so what was read
from a policy text is remembered.

A reset is a delay in all drafts, and a Unix time in what GitLab sends under the names of A; magnitude decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from polvo_adapters.headers import resets, structured
from polvo_adapters.headers.announced import MOST_QUOTAS, Context, Dimensions, Entry, Parts, amount, entry, tightest
from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY
from polvo_adapters.headers.resets import UNKNOWN, Reset

_UNITS = {"bytes": "content-bytes"}
_MOST = 1e15
# What nearly all servers of the two generations send, because nearly all use the same few libraries.
_PLAIN_NAMED = re.compile(r'"([A-Za-z0-9_.:-]{1,64})"; ?r=([0-9]{1,15})(?:; ?t=([0-9]{1,15}))?\Z')
_DICTIONARY = re.compile(r"[ \t]*[A-Za-z]+[ \t]*=")
_PLAIN_DICTIONARY = re.compile(r"limit=([0-9]{1,15}), ?remaining=([0-9]{1,15}), ?reset=([0-9]{1,15})\Z")


class QuotaPolicy(NamedTuple):
    """A quota policy: size, window, and from draft 08 on name, unit and partition key."""

    name: str
    limit: float | None
    window: float | None
    unit: str
    scope: str
    named: bool


_NO_POLICY = QuotaPolicy("", None, None, "requests", "", True)


class QuotaState(NamedTuple):
    """What is left of a named policy."""

    name: str
    remaining: float | None
    reset: Reset
    scope: str


def read(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read the RateLimit fields of one response, of whatever generation.

    Args:
        dimensions: The texts of the fields; there is one dimension.
        context: What else is known about the response.

    Source: draft-ietf-httpapi-ratelimit-headers-03 section 3, -06 section 5, -07 section 5, -10 sections 3 and 4;
    GitLab (`RateLimit-Name`, `RateLimit-ResetTime`), Docker Hub (windows in `RateLimit-Limit`).
    """
    parts = dimensions.get("", {})
    sized, named = _kinds(parts["policy"]) if "policy" in parts else ((), ())
    state = parts.get("state", "")
    entries: list[Entry] = []
    if _DICTIONARY.match(state):
        entries += _dictionary(state, sized)
        state, sized = "", ()
    if "limit" in parts or "remaining" in parts or "reset" in parts:
        entries += _separate(parts, sized, context)
        sized = ()
    if state or named:
        entries += _named(states(state), named)
    entries += [_policy_entry(policy, "ietf-06") for policy in sized]
    return entries[:MOST_QUOTAS]


@lru_cache(maxsize=256)
def policies(text: str) -> tuple[QuotaPolicy, ...]:
    """Read the quota policies of a `RateLimit-Policy`, or of a `RateLimit-Limit` of generation A.

    Args:
        text: The field value.
    """
    items = structured.read_list(text)[:MOST_QUOTAS]
    return tuple(policy for policy in map(_policy, items) if policy is not None)


@lru_cache(maxsize=256)
def _kinds(text: str) -> tuple[tuple[QuotaPolicy, ...], tuple[QuotaPolicy, ...]]:
    """Return the policies of B and C, by size, and those of D, by name."""
    found = policies(text)
    return tuple(policy for policy in found if not policy.named), tuple(policy for policy in found if policy.named)


def _policy(item: structured.Item) -> QuotaPolicy | None:
    value, parameters = item
    window = finite(parameters.get("w")) or None
    if isinstance(value, str):
        unit = parameters.get("qu")
        unit = unit.lower() if isinstance(unit, str) and unit else "requests"
        return QuotaPolicy(value, finite(parameters.get("q")), window, _UNITS.get(unit, unit), _key(parameters), True)
    limit = finite(value)
    return None if limit is None else QuotaPolicy("", limit, window, "requests", "", False)


@lru_cache(maxsize=256)
def states(text: str) -> tuple[QuotaState, ...]:
    """Read the items of a `RateLimit` of generation D.

    Args:
        text: The field value.
    """
    plain = _PLAIN_NAMED.match(text)
    if plain is not None:
        reset = resets.of_number(None if plain[3] is None else float(plain[3]))
        return (QuotaState(plain[1], float(plain[2]), _certain(reset), ""),)
    found = []
    for value, parameters in structured.read_list(text)[:MOST_QUOTAS]:
        if isinstance(value, str):
            reset = resets.of_number(finite(parameters.get("t")))
            found.append(QuotaState(value, finite(parameters.get("r")), _certain(reset), _key(parameters)))
    return tuple(found)


def finite(value: object) -> float | None:
    """Return a number as a float, or None for what is none, negative, or too large to be a quota.

    Args:
        value: Anything.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _MOST else None


def _key(parameters: structured.Parameters) -> str:
    key = parameters.get("pk", "")
    return key.decode("ascii") if isinstance(key, bytes) else key if isinstance(key, str) else ""


def _certain(reset: Reset) -> Reset:
    """Trust a delay: the drafts fix its unit; what reads as a Unix time against them stays a guess."""
    return reset if reset.seconds is None else reset._replace(confidence=CERTAIN)


def _named(found: Sequence[QuotaState], named: Sequence[QuotaPolicy]) -> list[Entry]:
    entries, met = [], []
    for state in found:
        policy = _of(state, named) or _NO_POLICY
        met.append(policy)
        scope = state.scope or policy.scope
        entries.append(
            entry("ietf-08", policy.limit, state.remaining, state.reset, state.name, policy.window, policy.unit, scope)
        )
    return entries + [_policy_entry(policy, "ietf-08") for policy in named if policy not in met]


def _of(state: QuotaState, named: Sequence[QuotaPolicy]) -> QuotaPolicy | None:
    """Find the policy of a state, by name and partition key, or by name where one of the two has no key."""
    loose = None
    for policy in named:
        if policy.name != state.name:
            continue
        if policy.scope == state.scope:
            return policy
        if loose is None and not (policy.scope and state.scope):
            loose = policy
    return loose


def _dictionary(text: str, sized: Sequence[QuotaPolicy]) -> list[Entry]:
    plain = _PLAIN_DICTIONARY.match(text)
    values: list[float | None]
    if plain is not None:
        values = [float(plain[1]), float(plain[2]), float(plain[3])]
    else:
        members = structured.read_dictionary(text)
        values = [finite(members[key].value) if key in members else None for key in ("limit", "remaining", "reset")]
    limit, remaining, reset = values
    return _expiring("ietf-07", limit, remaining, _certain(resets.of_number(reset)), sized, {})


def _separate(parts: Parts, sized: Sequence[QuotaPolicy], context: Context) -> list[Entry]:
    """Read the three fields of A and B."""
    if "," in parts.get("remaining", ""):
        parts = tightest(parts)
    items = policies(parts["limit"]) if "limit" in parts else ()
    limit = items[0].limit if items and not items[0].named else None
    within = [policy for policy in items if not policy.named and policy.window is not None]
    gitlab = "gitlab" in context.marks
    dialect = "gitlab" if gitlab else "ietf-03" if within or len(items) > 1 else "ietf-06"
    reset = resets.read(parts["reset"].partition(";")[0]) if "reset" in parts else UNKNOWN
    if gitlab and reset.moment is None:
        reset = resets.read(parts.get("moment", ""))
    elif gitlab:
        reset = reset._replace(confidence=CERTAIN)
    remaining = amount(parts["remaining"]) if "remaining" in parts else None
    return _expiring(dialect, limit, remaining, _certain(reset), [*within, *sized], parts)


def _expiring(
    dialect: str,
    limit: float | None,
    remaining: float | None,
    reset: Reset,
    policies: Sequence[QuotaPolicy],
    parts: Parts,
) -> list[Entry]:
    """Return the limit that expires next, with the window of its policy, and the other policies as they are."""
    if limit is None and remaining is None and reset is UNKNOWN:
        return [_policy_entry(policy, dialect) for policy in policies]
    confidence = CERTAIN
    if limit is None and len(policies) == 1:
        limit, confidence = policies[0].limit, GUESSED
    own = _policy_of(limit, reset.seconds, policies)
    window = own.window if own else None
    name = parts.get("name", "")[:64].strip() if dialect == "gitlab" else ""
    first = entry(dialect, limit, remaining, reset, name, window, group=name, confidence=confidence)
    return [first, *(_policy_entry(policy, dialect) for policy in policies if policy is not own)]


def _policy_of(limit: float | None, seconds: float | None, policies: Iterable[QuotaPolicy]) -> QuotaPolicy | None:
    """Find the policy with a size, and of several the first whose window can last as long as its reset."""
    sized = [policy for policy in policies if policy.limit == limit]
    lasting = [policy for policy in sized if policy.window is None or seconds is None or policy.window >= seconds]
    return next(iter(lasting or sized), None)


def _policy_entry(policy: QuotaPolicy, dialect: str) -> Entry:
    confidence = CERTAIN if dialect == "ietf-08" else LIKELY
    return entry(
        dialect, policy.limit, None, UNKNOWN, policy.name, policy.window, policy.unit, policy.scope, "", confidence
    )
