"""What the error codes of APIs mean for the pace of requests, whatever the vendor.

Theory of operation. APIs name their refusals by words of a small vocabulary, in any spelling: `THROTTLED`,
`userRateLimitExceeded`, `throttle_violation`, `policies.ratelimit.SpikeArrestViolation`. So a code is split into its
words, and the words are looked for, not the code. A code that speaks of a limit as of a thing, such as
`invalid_rate_limit_policy` or `rate_limit_rule_exists`, refuses for another reason.

Prose is not a code, as its words may mean anything. Only a few fixed phrases are known, for refusals without a code,
and not within quotation marks: there a message repeats what the caller has sent.
"""

from __future__ import annotations

import re
from functools import lru_cache

from polvo_adapters.headers import resets, times
from polvo_adapters.headers.quota import Kind

_LONGEST_CODE, _LONGEST_PROSE = 128, 1024
_OF_DEVICE_LOGIN = "slow_down"  # asks for a longer interval from now on, not for a repeat (RFC 8628, section 3.5)
_CODE = re.compile(r"[A-Za-z0-9_.:/#\-]+\Z")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ABOUT_SETTINGS = re.compile(
    r"_(?:invalid|config|configuration|missing|must|not|disabled|unknown|unsupported|settings?)_"
)
_ABOUT_RULES = re.compile(
    r"_(?:exists?|already|conflict|duplicate|required|rules?|taken|names?|ids?|fields?|values?|formats?|too_(?:high|low|large|small|long)|such"
    r"|forbidden|denied|permission|update|delete|create|edit)_"
)
_HAPPENED = re.compile(r"_(?:exceeded|reached|hit|exhausted|too_many)_")
_CONCURRENT = re.compile(r"_(?:limit|limits|exceeded|reached|max|maximum|too)_")
_SPENT = re.compile(
    r"_(?:insufficient_(?:quota|credits)|quota_exhausted|over_(?:daily|monthly)_limit"
    r"|usage_(?:limit|quota)_(?:exceeded|reached|exhausted)"
    r"|(?:daily|weekly|monthly|yearly|annual|plan|billing|subscription|spending)_(?:[a-z]+_){0,3}?(?:limit|quota)"
    r"_(?:exceeded|reached|exhausted))_"
)
_TOO_FAST = re.compile(
    r"_(?:throttl[a-z]*|ratelimit[a-z]*|rate_limit[a-z]*|too_many_(?:[a-z]+_)?(?:requests|calls|queries|operations)"
    r"|(?:request|requests|call|calls|api|activity|bandwidth)_limit_(?:exceeded|reached)|request_rate_[a-z]+|slow_down"
    r"|over_(?:query|request|rate)_limit"
    r"|provisioned_throughput_exceeded|complexity_(?:budget|exception)|maxlag|max_lag)_"
)
_PROSE = re.compile(
    r"\brate limit(?:s)? (?:has been |have been |was |is )?(?:exceeded|reached)|exceeded (?:\w+ ){0,4}rate limit"
    r"|\btoo (?:many|much) (?:api )?(?:requests?|calls)\b|\brequest limit reached"
    r"|\brequest rate (?:threshold )?exceeded",
    re.IGNORECASE,
)
_SPENT_PROSE = re.compile(
    r"(?:exceeded|reached|used up) (?:\w+ ){0,3}(?:daily|weekly|monthly|yearly) (?:\w+ ){0,3}(?:quota|limit)\b"
    r"|\b(?:daily|weekly|monthly|yearly|day) (?:\w+ ){0,3}(?:quota|limit|count)\b(?: \w+){0,7} (?:exceeded|reached)"
    r"|\bout of (?:call|calls|request|api) (?:\w+ ){0,2}quota\b",
    re.IGNORECASE,
)
_OF_REQUESTS = re.compile(r"\b(?:requests?|calls?|api|usage|quer(?:y|ies))\b", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|“[^”“]*”|«[^»«]*»")
_WAIT = re.compile(
    r"\b(?:reset|available|again|retry|replenished) (?:in|after) "
    r"(?:([0-9]{1,6}):([0-9]{2}):([0-9]{2})\b"
    r"|([0-9]{1,9}(?:\.[0-9]{1,9})?)(?: ?(ms|milliseconds?|s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b|\.?\Z)"
    r"|((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|h|m|s)){2,4})\b)",
    re.IGNORECASE,
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@lru_cache(maxsize=512)
def classify_code(code: str) -> Kind | None:
    """Return the kind of refusal that an error code names, or None where it names none.

    Args:
        code: The code; a text with spaces is none.
    """
    if len(code) > _LONGEST_CODE or not _CODE.match(code) or code == _OF_DEVICE_LOGIN:
        return None
    words = "_".join(["", *_WORDS.findall(code), ""]).lower()
    if _ABOUT_SETTINGS.search(words) or (_ABOUT_RULES.search(words) and not _HAPPENED.search(words)):
        return None
    if "concurren" in words:
        return "concurrency" if _CONCURRENT.search(words) else None
    if _SPENT.search(words):
        return "exhausted"
    return "rate" if _TOO_FAST.search(words) else None


def is_complaint(prose: str) -> bool:
    """Return whether a message says that requests come too fast."""
    return len(prose) <= _LONGEST_PROSE and _PROSE.search(_strip_quotes(prose)) is not None


def is_spent(prose: str) -> bool:
    """Return whether a message says that the requests of a day, or of a longer time, are used up."""
    if len(prose) > _LONGEST_PROSE:
        return False
    said = _strip_quotes(prose)
    return _SPENT_PROSE.search(said) is not None and _OF_REQUESTS.search(said) is not None


def _strip_quotes(prose: str) -> str:
    return _QUOTED.sub("", prose) if not _QUOTED.fullmatch(prose) else prose


def find_wait(prose: str) -> float | None:
    """Return the seconds that a message asks to wait, as in "try again in 1.5s" or "in 01:12:31", or None."""
    found = _WAIT.search(prose[:_LONGEST_PROSE])
    if found is None:
        return None
    hours, minutes, seconds, amount, unit, duration = found.groups()
    if duration:
        return resets.read(duration.lower()).seconds
    if amount is None:
        return int(hours) * 3600.0 + int(minutes) * 60.0 + int(seconds)
    number = times.parse_number(amount)
    name = (unit or "s").lower()
    if number is None:
        return None
    return number / 1000 if name.startswith(("ms", "mil")) else number * _UNITS[name[0]]
