"""The RateLimit fields of the IETF, in four generations with the same names and incompatible syntaxes.

    A   drafts 00 to 03   RateLimit-Limit: 10, 10;w=1, 50;w=60     -Remaining: 9   -Reset: 1    policies in the limit
    B   04 to 06          RateLimit-Limit: 10     -Remaining: 9   -Reset: 1     RateLimit-Policy: 10;w=1, 50;w=60
    C   07                RateLimit: limit=10, remaining=9, reset=1            RateLimit-Policy: 10;w=1, 50;w=60
    D   08 to 10          RateLimit: "burst";r=9;t=1     RateLimit-Policy: "burst";q=10;w=1, "daily";q=1000;w=86400

Theory of operation. A to C announce one state, that of the limit which expires next, and policies by size; D
announces a state for each policy, by name and partition key. Every quota that is mentioned is returned: those with a
state with what is left, the others with size and window alone. Policies change rarely, so what was read from a policy
text is remembered.

A reset is a delay in all drafts, and a Unix time in what GitLab sends under the names of A; magnitude decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from polvo_adapters.headers import resets, structured
from polvo_adapters.headers.entries import (
    MOST_QUOTAS,
    Context,
    Dimensions,
    Entry,
    Parts,
    make_entry,
    parse_amount,
    pick_tightest,
    to_amount,
)
from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY
from polvo_adapters.headers.resets import UNKNOWN, Reset

_UNITS = {"bytes": "content-bytes"}
# What nearly all servers of the two generations send, because nearly all use the same few libraries.
_PLAIN_NAMED = re.compile(r'"([A-Za-z0-9_.:-]{1,64})"; ?r=([0-9]{1,15})(?:; ?t=([0-9]{1,15}))?\Z')
_KIND_OF_WINDOW = re.compile(r'"[^",;]{1,64}"; ?(?="[^",;]{1,64}"; ?q=)')  # "fixed window";"api";q=500 of Hugging Face
_DICTIONARY = re.compile(r"[ \t]*[A-Za-z]+[ \t]*=")
_PLAIN_DICTIONARY = re.compile(r"limit=([0-9]{1,15}), ?remaining=([0-9]{1,15}), ?reset=([0-9]{1,15})\Z")


class QuotaPolicy(NamedTuple):
    """A quota policy: size and window; in generation D, which is `named`, also name, unit and partition key."""

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
    """Return the quotas in the RateLimit fields of one response, of whatever generation.

    Args:
        dimensions: The texts of the fields; there is one dimension.
        context: What else is known about the response.

    Source: draft-ietf-httpapi-ratelimit-headers-03 section 3, -06 section 5, -07 section 5, -10 sections 3 and 4;
    GitLab (`RateLimit-Name`, `RateLimit-ResetTime`), Docker Hub (windows in `RateLimit-Limit`).
    """
    parts = dimensions.get("", {})
    sized, named = _read_kinds(parts["policy"]) if "policy" in parts else ((), ())
    state = parts.get("state", "")
    entries: list[Entry] = []
    if _DICTIONARY.match(state):
        entries += _read_dictionary(state, sized)
        state, sized = "", ()
    if "limit" in parts or "remaining" in parts or "reset" in parts:
        entries += _read_separate(parts, sized, context)
        sized = ()
    if state or named:
        entries += _join_named(_read_states(state), named)
    entries += [_make_policy_entry(policy, "ietf-06") for policy in sized]
    return entries[:MOST_QUOTAS]


@lru_cache(maxsize=256)
def _read_policies(text: str) -> tuple[QuotaPolicy, ...]:
    """Return the quota policies of a `RateLimit-Policy`, or of a `RateLimit-Limit` of generation A."""
    items = structured.read_list(_KIND_OF_WINDOW.sub("", text))[:MOST_QUOTAS]
    return tuple(policy for policy in map(_read_policy, items) if policy is not None)


@lru_cache(maxsize=256)
def _read_kinds(text: str) -> tuple[tuple[QuotaPolicy, ...], tuple[QuotaPolicy, ...]]:
    """Return the policies of B and C, by size, and those of D, by name."""
    found = _read_policies(text)
    return tuple(policy for policy in found if not policy.named), tuple(policy for policy in found if policy.named)


def _read_policy(item: structured.Item) -> QuotaPolicy | None:
    value, parameters = item
    window = to_amount(parameters.get("w")) or None
    if isinstance(value, str):
        limit, unit = to_amount(parameters.get("q")), parameters.get("qu")
        unit = unit.lower() if isinstance(unit, str) and unit else "requests"
        return QuotaPolicy(value, limit, window, _UNITS.get(unit, unit), _read_key(parameters), True)
    limit = to_amount(value)
    return None if limit is None else QuotaPolicy("", limit, window, "requests", "", False)


@lru_cache(maxsize=256)
def _read_states(text: str) -> tuple[QuotaState, ...]:
    """Return the items of a `RateLimit` of generation D."""
    plain = _PLAIN_NAMED.match(text)
    if plain is not None:
        reset = _trust_delay(resets.from_number(None if plain[3] is None else float(plain[3])))
        return (QuotaState(plain[1], float(plain[2]), reset, ""),)
    found = []
    for value, parameters in structured.read_list(text)[:MOST_QUOTAS]:
        if isinstance(value, str):
            reset = _trust_delay(resets.from_number(to_amount(parameters.get("t"))))
            found.append(QuotaState(value, to_amount(parameters.get("r")), reset, _read_key(parameters)))
    return tuple(found)


def _read_key(parameters: structured.Parameters) -> str:
    key = parameters.get("pk", "")
    return key.decode("ascii") if isinstance(key, bytes) else key if isinstance(key, str) else ""


def _trust_delay(reset: Reset) -> Reset:
    """Return a delay as certain, because the drafts fix its unit; a Unix time, which they forbid, stays a guess."""
    return reset if reset.seconds is None else reset._replace(confidence=CERTAIN)


def _join_named(states: Sequence[QuotaState], policies: Sequence[QuotaPolicy]) -> list[Entry]:
    """Return an entry for each state, with what its policy says, and for each policy without a state."""
    entries, met = [], []
    for name, remaining, reset, scope in states:
        policy = _find_by_name(name, scope, policies) or _NO_POLICY
        met.append(policy)
        _, limit, window, unit, policy_scope, _ = policy
        entries.append(make_entry("ietf-08", limit, remaining, reset, name, window, unit, scope or policy_scope))
    return entries + [_make_policy_entry(policy, "ietf-08") for policy in policies if policy not in met]


def _find_by_name(name: str, scope: str, policies: Sequence[QuotaPolicy]) -> QuotaPolicy | None:
    """Return the policy of a state, by name and partition key, or by name where one of the two has no key."""
    same = [policy for policy in policies if policy.name == name]
    exact = [policy for policy in same if policy.scope == scope]
    loose = [policy for policy in same if not (policy.scope and scope)]
    return next(iter(exact or loose), None)


def _read_dictionary(text: str, sized: Sequence[QuotaPolicy]) -> list[Entry]:
    plain = _PLAIN_DICTIONARY.match(text)
    values: list[float | None]
    if plain is not None:
        values = [float(plain[1]), float(plain[2]), float(plain[3])]
    else:
        members = structured.read_dictionary(text)
        values = [to_amount(members[key].value) if key in members else None for key in ("limit", "remaining", "reset")]
    limit, remaining, reset = values
    return _join_sized("ietf-07", limit, remaining, _trust_delay(resets.from_number(reset)), sized)


def _read_separate(parts: Parts, sized: Sequence[QuotaPolicy], context: Context) -> list[Entry]:
    """Return the quotas in the three fields of A and B."""
    if "," in parts.get("remaining", ""):
        parts = pick_tightest(parts)
    items = _read_policies(parts["limit"]) if "limit" in parts else ()
    limit = items[0].limit if items and not items[0].named else None
    within = [policy for policy in items if not policy.named and policy.window is not None]
    remaining = parse_amount(parts.get("remaining", ""))
    reset = resets.read(parts.get("reset", "").partition(";")[0])
    if "gitlab" not in context.marks:
        dialect = "ietf-03" if within or len(items) > 1 else "ietf-06"
        return _join_sized(dialect, limit, remaining, _trust_delay(reset), [*within, *sized])
    if reset.moment is None:
        reset = _trust_delay(resets.read(parts.get("moment", "")))
    else:
        reset = reset._replace(confidence=CERTAIN)
    name = parts.get("name", "")[:64].strip()
    return _join_sized("gitlab", limit, remaining, reset, [*within, *sized], name)


def _join_sized(
    dialect: str,
    limit: float | None,
    remaining: float | None,
    reset: Reset,
    policies: Sequence[QuotaPolicy],
    name: str = "",
) -> list[Entry]:
    """Return the limit that expires next, with the window of its policy, and the other policies as they are."""
    if limit is None and remaining is None and reset is UNKNOWN:
        return [_make_policy_entry(policy, dialect) for policy in policies]
    confidence = CERTAIN
    if limit is None and len(policies) == 1:
        limit, confidence = policies[0].limit, GUESSED
    own = _find_by_size(limit, reset.seconds, policies)
    if own is not None and not _can_be(own, remaining, reset.seconds):  # the limit is that of another policy
        others = [policy for policy in policies if _can_be(policy, remaining, reset.seconds)]
        own = min(others, key=lambda policy: policy.limit or 0.0, default=own)
        limit = own.limit
    window = own.window if own else None
    first = make_entry(dialect, limit, remaining, reset, name, window, group=name, confidence=confidence)
    return [first, *(_make_policy_entry(policy, dialect) for policy in policies if policy is not own)]


def _can_be(policy: QuotaPolicy, remaining: float | None, seconds: float | None) -> bool:
    """Return whether so much of a policy can remain for so long; Klaviyo names the burst, and means the minute."""
    is_long = policy.window is None or seconds is None or policy.window >= seconds - 1
    return is_long and (remaining is None or policy.limit is None or policy.limit >= remaining)


def _find_by_size(limit: float | None, seconds: float | None, policies: Iterable[QuotaPolicy]) -> QuotaPolicy | None:
    """Return the policy with a size, and of several the first whose window can last as long as its reset."""
    sized = [policy for policy in policies if policy.limit == limit]
    lasting = [policy for policy in sized if policy.window is None or seconds is None or policy.window >= seconds]
    return next(iter(lasting or sized), None)


def _make_policy_entry(policy: QuotaPolicy, dialect: str) -> Entry:
    name, limit, window, unit, scope, _ = policy
    confidence = CERTAIN if dialect == "ietf-08" else LIKELY
    return make_entry(dialect, limit, None, UNKNOWN, name, window, unit, scope, "", confidence)
