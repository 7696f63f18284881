"""Which header names speak of quotas, and what they say.

Theory of operation. A response has a dozen headers, and usually none of them speaks of a quota; looking for the
seventy names that might is slower than looking at each header once. `KNOWN` maps a name, as it is spelled, to its
`Field`, or to None; a new name is classified and remembered. `KNOWN` is bounded in number and length of names, and
is emptied when it is full, so that a server that invents names does no harm.
"""

from __future__ import annotations

import re

from polvo_adapters.headers import dialects

PERIODS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_592_000.0,
    "year": 31_536_000.0,
}
"""Seconds of the windows that names spell out; a month counts thirty days."""
_LONGEST_NAME = 96
_MOST_NAMES = 1024
_X_ROLES = {
    **{role: role for role in ("limit", "remaining", "reset", "used", "reset-after", "scope", "global")},
    **dict.fromkeys(("left", "available", "remain"), "remaining"),
    **dict.fromkeys(("max", "total", "quota", "allowed", "burst-capacity"), "limit"),
    **dict.fromkeys(("usage", "consumed", "count", "current"), "used"),
    **dict.fromkeys(
        ("window", "interval", "period", "duration", "interval-seconds", "window-seconds", "window-sec"), "window"
    ),
    **dict.fromkeys(("window-ms", "interval-ms", "window-milliseconds", "interval-milliseconds"), "window-ms"),
    **dict.fromkeys(("reset-at", "reset-time", "resettime", "resets", "resets-at", "expires", "expiry"), "reset"),
    **dict.fromkeys(("reset-in", "resets-in", "reset-seconds", "remaining-seconds"), "reset-in"),
    **dict.fromkeys(("reset-ms", "reset-milliseconds", "reset-after-ms", "reset-in-ms"), "reset-ms"),
    "fillrate": "fill",
    "replenish-rate": "fill",
    "bucket": "group",
    "category": "group",
    "type": "type",
    "resource": "group",
    "endpoint-name": "endpoint",
}
_X_MARKS = {
    "reset-after": "discord",
    "bucket": "discord",
    "resource": "github",
    "usage": "strava",
    "fillrate": "atlassian-dc",
    "delay": "azure-devops",
    "category": "zoom",
    "nearlimit": "atlassian",
    "endpoint-name": "linear",
    "complexity-limit": "linear",
}
_X = re.compile(r"x-rate-?limit(?:-(.+))?\Z")
_ROLE_FIRST = re.compile(r"(limit|remaining|reset|renewalperiod)-(.+)\Z")
_ROLE_LAST = re.compile(r"(.+)-(limit|remaining|reset)\Z")
_GLUED = re.compile(r"([a-z]{2,24}?)(limit|remaining|reset)\Z")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(.+)-(limit|remaining|reset)\Z")
_TWITTER = re.compile(r"x-(app|user)-limit-(24hour)-(limit|remaining|reset)\Z")


_WORDS = {
    **dict.fromkeys(("remaining", "left", "available", "remain"), "remaining"),
    **dict.fromkeys(("used", "usage", "consumed", "count", "spent", "current", "running"), "used"),
    **dict.fromkeys(("limit", "max", "maximum", "total", "allowed", "capacity", "size", "quota"), "limit"),
    **dict.fromkeys(("reset", "resets", "renews", "refresh"), "reset"),
    **dict.fromkeys(("window", "interval", "period", "duration"), "window"),
}
_MILLISECONDS = ("ms", "msec", "millis", "milliseconds")
_PERIOD_WORDS = {
    **{f"{name}ly": name for name in ("second", "minute", "hour", "week", "month", "year")},
    **{f"{name}s": name for name in PERIODS},
    "daily": "day",
    "sec": "second",
    "min": "minute",
}
_FILLERS = {
    "ratelimit",
    "quota",
    "throttle",
    "api",
    "time",
    "request",
    "requests",
    "call",
    "calls",
    "per",
    "in",
    "after",
    "at",
    "timestamp",
    "epoch",
}
_NO_REQUESTS = {
    *("storage", "disk", "bytes", "space", "mailbox", "memory", "bandwidth", "container", "meta", "files", "objects"),
    *(
        "email",
        "emails",
        "mail",
        "mails",
        "sms",
        "messages",
        "contacts",
        "records",
        "rows",
        "seats",
        "users",
        "members",
    ),
}
_SUBJECTS = {"ratelimit", "quota", "throttle"}
_PLAIN = {"api", "request", "requests", "call", "calls"}


_ALIASES = re.compile(r"\bfloodcontrol\b|^rl(?=-)")


class Field:
    """What a header name stands for; there is one object per name, so that it can be compared by identity.

    Attributes:
        family: Names the reader that understands the field.
        role: What the field tells: "limit", "reset"; "" where only its presence counts.
        dimension: What stands between the fixed parts of the name: "tokens", "minute".
        mark: The vendor, if only one sends this name.
    """

    __slots__ = ("dimension", "family", "mark", "role")

    def __init__(self, family: str, role: str = "", dimension: str = "", mark: str = "") -> None:
        self.family = family
        self.role = role
        self.dimension = dimension
        self.mark = mark


_EXACT: dict[str, tuple[str, str, str, str]] = {
    "date": ("date", "date", "", ""),
    "ratelimit": ("ietf", "state", "", ""),
    "ratelimit-policy": ("ietf", "policy", "", ""),
    "ratelimit-limit": ("ietf", "limit", "", ""),
    "ratelimit-remaining": ("ietf", "remaining", "", ""),
    "ratelimit-reset": ("ietf", "reset", "", ""),
    "ratelimit-resettime": ("ietf", "moment", "", "gitlab"),
    "ratelimit-name": ("ietf", "name", "", "gitlab"),
    "ratelimit-observed": ("ietf", "", "", "gitlab"),
    "ratelimit-reason": ("x", "", "", "atlassian"),
    "beta-ratelimit": ("ietf", "state", "", "atlassian"),
    "beta-ratelimit-policy": ("ietf", "policy", "", "atlassian"),
    "x-complexity": ("dimensions", "", "", "linear"),
    "x-github-request-id": ("x", "", "", "github"),
    "x-okta-request-id": ("x", "", "", "okta"),
    "x-rapidapi-region": ("dimensions", "", "", "rapidapi"),
    "x-rapidapi-request-id": ("dimensions", "", "", "rapidapi"),
    "x-rapidapi-version": ("dimensions", "", "", "rapidapi"),
    "x-shopify-shop-api-call-limit": ("shopify", "used", "", ""),
    "sforce-limit-info": ("salesforce", "used", "", ""),
    "x-hubspot-ratelimit-max": ("hubspot", "limit", "interval", ""),
    "x-hubspot-ratelimit-remaining": ("hubspot", "remaining", "interval", ""),
    "x-hubspot-ratelimit-interval-milliseconds": ("hubspot", "window", "interval", ""),
    "x-hubspot-ratelimit-daily": ("hubspot", "limit", "daily", ""),
    "x-hubspot-ratelimit-daily-remaining": ("hubspot", "remaining", "daily", ""),
    "x-hubspot-ratelimit-secondly": ("hubspot", "limit", "secondly", ""),
    "x-hubspot-ratelimit-secondly-remaining": ("hubspot", "remaining", "secondly", ""),
    "x-app-usage": ("meta", "usage", "app", ""),
    "x-page-usage": ("meta", "usage", "page", ""),
    "x-ad-account-usage": ("meta", "usage", "ad-account", ""),
    "x-business-use-case-usage": ("meta", "usage", "business", ""),
    "x-amzn-ratelimit-limit": ("amazon", "rate", "", ""),
    "x-limit-per-second": ("etsy", "limit", "second", ""),
    "x-remaining-this-second": ("etsy", "remaining", "second", ""),
    "x-limit-per-day": ("etsy", "limit", "day", ""),
    "x-remaining-today": ("etsy", "remaining", "day", ""),
}
_PREFIXES = (
    ("zendesk-ratelimit-", "zendesk", "state"),
    ("x-ms-ratelimit-remaining-", "azure", "remaining"),
)


class _Known(dict[object, "Field | None"]):
    """Fields by name in any spelling; a name is classified when it is first looked up."""

    def __missing__(self, name: object) -> Field | None:
        if not isinstance(name, str) or len(name) > _LONGEST_NAME:
            return None
        lower = name.lower()
        field = self[lower] if lower != name else _classify(lower)
        if len(self) >= _MOST_NAMES:
            self.clear()
        self[name] = field
        return field


KNOWN = _Known()
"""What header names stand for, in any spelling; None where they say nothing about quotas."""


def _classify(name: str) -> Field | None:
    row = dialects.find_role(name)
    if row is not None:
        return Field("rows", row[1], row[0])
    if name in _EXACT:
        return Field(*_EXACT[name])
    if match := _X.match(name):
        return _classify_x(match[1])
    if match := _ANTHROPIC.match(name):
        return Field("anthropic", match[2], match[1])
    if match := _TWITTER.match(name):
        return Field("twitter", match[3], match[1], "twitter")
    for prefix, family, role in _PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return Field(family, role, name[len(prefix) :], family)
    return _classify_words(name)


def _classify_words(name: str) -> Field | None:
    """Return the field for a name that no dialect knows, if its words say what it tells of a rate limit or quota.

    `X-Acme-RateLimit-Calls-Left` says what remains of calls; `X-Quota-Reset-Ms` when there is more, in milliseconds.
    """
    text = name.replace("_", "-").removeprefix("x-").replace("rate-limit", "ratelimit")
    text = _ALIASES.sub("ratelimit", text).replace("burstlimit", "ratelimit-burst")
    text = text.replace("concurrentlimit", "concurrent-limit").replace("concurrentremaining", "concurrent-remaining")
    words = [_PERIOD_WORDS.get(word, word) for word in text.split("-") if word]
    if not _NO_REQUESTS.isdisjoint(words):
        return None
    if not any(word in _SUBJECTS or word.startswith("concurren") for word in words):
        return _classify_plain(words)
    in_milliseconds = words[-1] in _MILLISECONDS
    if in_milliseconds or words[-1] in ("s", "sec", "secs", "seconds"):
        words.pop()
    last = len(words) - 1
    at = next(
        (at for at in reversed(range(len(words))) if words[at] in _WORDS and (words[at] != "quota" or at == last)), None
    )
    if at is None:
        if words[-1:] != ["ratelimit"]:
            return None
        role = "limit"
    else:
        role = _WORDS[words.pop(at)]
        if at and words[at - 1] == "time" and role not in ("reset", "window"):
            return None  # what remains is time
    dimension = "-".join(word for word in words if word not in _FILLERS)
    if role in ("reset", "window"):
        role = f"{role}-ms" if in_milliseconds else role
    return Field("words", role, dimension)


def _classify_plain(words: list[str]) -> Field | None:
    """Return the field for `X-Requests-Remaining`, or `X-Daily-Calls-Left`, with no word besides."""
    roles = [_WORDS[word] for word in words if _WORDS.get(word) in ("remaining", "used", "reset") or word == "limit"]
    periods = [word for word in words if word in PERIODS]
    counted = _PLAIN & set(words)
    if len(words) != len(roles) + len(periods) + len(_PLAIN & set(words)) or len(roles) != 1 or not counted:
        return None
    return Field("words", roles[0], "-".join(periods))


def _classify_x(tail: str | None) -> Field | None:
    """Return the field for what stands behind `x-ratelimit-`, or for the bare name, which is the limit of Zendesk."""
    if tail is None:
        return Field("x", "limit", mark="zendesk")
    mark = _X_MARKS.get(tail, "")
    if tail in _X_ROLES:
        return Field("x", _X_ROLES[tail], mark=mark)
    if match := _ROLE_FIRST.match(tail):
        named = match[2].removeprefix("per-")
        role, dimension = match[1], _PERIOD_WORDS.get(named, named)
        return Field("periods" if dimension in PERIODS else "openai", role, dimension)
    if match := _ROLE_LAST.match(tail) or _GLUED.match(tail):  # `UserRemaining` of Imgur, `PathLimit` of hapi
        named = match[1].removeprefix("per-")
        dimension, role = _PERIOD_WORDS.get(named, named), match[2]
        return Field("periods" if dimension in PERIODS else "dimensions", role, dimension, mark)
    return Field("x", mark=mark) if mark else None
