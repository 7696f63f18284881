"""What the error codes of APIs mean for the pace of requests, whatever the vendor.

Theory of operation. APIs name their refusals by words of a small vocabulary, in any spelling: `THROTTLED`,
`userRateLimitExceeded`, `throttle_violation`, `policies.ratelimit.SpikeArrestViolation`. So a code is split into its
words, and the words are looked for, not the code. A code that speaks of a limit as of a thing, such as
`invalid_rate_limit_policy` or `rate_limit_rule_exists`, refuses for another reason.

Prose is not a code, as its words may mean anything. Only a few fixed phrases are known, for refusals without a code,
and not within quotation marks: there a message repeats what the caller has sent.

**Other things.** Much else has a limit, and is refused in the same words: seats, storage, coupons, withdrawals of a
day. A code that names such a thing is not about the pace, nor is a sentence that names it and no requests.
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
    r"_(?:insufficient_(?:quota|credits)|quota_exhausted|over_(?:daily|monthly)_limit|daily_query_over_limit"
    r"|usage_(?:limit|quota)_(?:exceeded|reached|exhausted)"
    r"|(?:daily|weekly|monthly|yearly|annual|plan|billing|subscription|spending)_(?:[a-z]+_){0,3}?(?:limit|quota)"
    r"_(?:exceeded|reached|exhausted))_"
)
_TOO_FAST = re.compile(
    r"_(?:throttl[a-z]*|ratelimit[a-z]*|rate_limit[a-z]*|too_many_(?:[a-z]+_)?(?:requests|calls|queries|operations)"
    r"|(?:request|requests|call|calls|api|activity)_limit_(?:exceeded|reached)|request_rate_[a-z]+|slow_down"
    r"|(?:hourly|minutely|secondly|burst)_(?:[a-z]+_){0,3}?(?:limit|quota)_(?:exceeded|reached|exhausted)"
    r"|[a-z]*qps_(?:[a-z]+_){0,3}?limit|over_(?:query|request|rate)_limit|too_frequent(?:ly)?|flood_wait|server_busy"
    r"|provisioned_throughput_exceeded|complexity_(?:budget|exception)|maxlag|max_lag)_"
)
_OTHER_CODES = re.compile(
    r"_(?:too_many_(?:pull|merge|leave|friend|join|batch|change|purchase|pending)_|in_(?:a_)?(?:batch|bulk)_"
    r"|(?:storage|disk|memory|mailbox|bandwidth|emails?|mails?|sms|seats?|members?|sessions?|devices?|streams?|coupons?"
    r"|discounts?|vouchers?|gift|cards?|withdrawals?|transfers?|payments?|deposits?|orders?|purchases?|files?|uploads?"
    r"|rows?|records?|projects?|builds?|invites?|invitations?)_)"
)
_OTHER_THINGS = re.compile(
    r"\b(?:storage|disks?|memory|mailbox|bandwidth|e-?mails?|sms|seats?|members?|coupons?|discounts?|vouchers?"
    r"|gift cards?|withdrawals?|transfers?|payments?|deposits?|files?|uploads?|invites?|invitations?|instances?|cores"
    r"|volumes?|projects?)\b",
    re.IGNORECASE,
)
_PROSE = re.compile(
    r"\brate limit(?:s)? (?:has been |have been |was |is )?(?:exceeded|reached)|exceeded (?:\w+ ){0,4}rate limit"
    r"|\btoo (?:many|much) (?:api )?(?:requests?|calls|visits)\b|\brequest limit reached"
    r"|\brequest rate (?:threshold )?exceeded|^rate exceeded\b|\b(?:quota limit|calls? limit) (?:exceeded|reached)"
    r"|\brequest was throttled\b|\bthrottled:|\bthrottling your requests?\b|\b(?:trigger )?frequency limit\b"
    r"|\bflood control\b|\b(?:minute|second|hour)[- ](?:quota|limit) (?:is )?(?:reach(?:ed)?|exceeded)\b",
    re.IGNORECASE,
)
_BATCH = re.compile(r"\b(?:batch|bulk)\b", re.IGNORECASE)
_AT_ONCE = r"(?:[a-z]{0,16}concurren[a-z]{1,4}|simultaneous(?:ly)?|parallel)"
_SIMULTANEOUS = re.compile(
    rf"(?:too many|limit|exceed\w*|maximum|max|over|reached) (?:[\w-]+ ){{0,6}}?{_AT_ONCE}\b"
    rf"|\b{_AT_ONCE} (?:[\w()-]+ ){{0,4}}?(?:limit|exceeded|reached)\b",
    re.IGNORECASE,
)
_SPENT_PROSE = re.compile(
    r"(?:exceeded|reached|reach|used up) (?:\w+ ){0,3}(?:daily|weekly|monthly|yearly) (?:\w+ ){0,3}(?:quota|limit)\b"
    r"|\b(?:daily|weekly|monthly|yearly|day) (?:\w+ ){0,3}(?:quota|limit|count)\b(?: \w+){0,7} (?:exceeded|reached)"
    r"|\bout of (?:call|calls|request|api) (?:\w+ ){0,2}quota\b",
    re.IGNORECASE,
)
_OF_REQUESTS = re.compile(r"\b(?:requests?|calls?|api|quer(?:y|ies))\b", re.IGNORECASE)
_OF_USE = re.compile(r"\busage\b", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|“[^”“]*”|«[^»«]*»")
_WAIT = re.compile(
    r"\b(?:reset|available|again|retry|replenished) (?:in|after) "
    r"(?:(?:([0-9]{1,3})\.)?([0-9]{1,6}):([0-9]{2}):([0-9]{2})\b"
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
    words = _split_words(code)
    if _ABOUT_SETTINGS.search(words) or (_ABOUT_RULES.search(words) and not _HAPPENED.search(words)):
        return None
    if "concurren" in words:
        return "concurrency" if _CONCURRENT.search(words) else None
    if _SPENT.search(words):
        return "exhausted"
    return "rate" if _TOO_FAST.search(words) else None


def names_other_things(code: str) -> bool:
    """Return whether a code names a limit of something other than requests, such as seats."""
    return _OTHER_CODES.search(_split_words(code)) is not None


def _split_words(code: str) -> str:
    return "_".join(["", *_WORDS.findall(code), ""]).lower()


def is_complaint(prose: str, *, is_certain: bool = True) -> bool:
    """Return whether a message says that requests come too fast.

    Args:
        prose: The message.
        is_certain: Whether the status says so too; otherwise too many requests in a batch are none.
    """
    if len(prose) > _LONGEST_PROSE:
        return False
    found = _PROSE.search(_strip_quotes(prose))
    return found is not None and (is_certain or "too" not in found[0].lower() or not _BATCH.search(prose))


def is_about_concurrency(prose: str) -> bool:
    """Return whether a message says that there are too many requests at once."""
    return len(prose) <= _LONGEST_PROSE and _SIMULTANEOUS.search(_strip_quotes(prose)) is not None


def is_spent(prose: str) -> bool:
    """Return whether a message says that the requests of a day, or of a longer time, are used up."""
    if len(prose) > _LONGEST_PROSE:
        return False
    said = _strip_quotes(prose)
    if _SPENT_PROSE.search(said) is None:
        return False
    return _OF_REQUESTS.search(said) is not None or (
        _OF_USE.search(said) is not None and not is_about_other_things(said)
    )


def is_about_other_things(prose: str) -> bool:
    """Return whether a message names a limit of something other than requests, and no requests."""
    said = prose[:_LONGEST_PROSE]
    return _OTHER_THINGS.search(said) is not None and _OF_REQUESTS.search(said) is None


def _strip_quotes(prose: str) -> str:
    return _QUOTED.sub("", prose) if not _QUOTED.fullmatch(prose) else prose


def find_wait(prose: str) -> float | None:
    """Return the seconds that a message asks to wait, as in "try again in 1.5s" or "in 01:12:31", or None."""
    found = _WAIT.search(prose[:_LONGEST_PROSE])
    if found is None:
        return None
    days, hours, minutes, seconds, amount, unit, duration = found.groups()
    if duration:
        return resets.read(duration.lower()).seconds
    if amount is None:
        return int(days or 0) * times.DAY + int(hours) * 3600.0 + int(minutes) * 60.0 + int(seconds)
    number = times.parse_number(amount)
    name = (unit or "s").lower()
    if number is None:
        return None
    return number / 1000 if name.startswith(("ms", "mil")) else number * _UNITS[name[0]]
