"""What the error codes of APIs mean for the pace of requests, whatever the vendor.

Theory of operation. APIs name their refusals by words of a small vocabulary, in any spelling: `THROTTLED`,
`userRateLimitExceeded`, `throttle_violation`, `policies.ratelimit.SpikeArrestViolation`. So a code is split into its
words, and the words are looked for, not the code. A code that speaks of a limit as of a thing, such as
`invalid_rate_limit_policy`, refuses for another reason.

Prose is not a code, as its words may mean anything. Only a few fixed phrases are known, for refusals without a code.
"""

from __future__ import annotations

import re
from functools import lru_cache

from polvo_adapters.headers import times
from polvo_adapters.headers.quota import Kind

_LONGEST_CODE, _LONGEST_PROSE = 128, 1024
_OF_DEVICE_LOGIN = "slow_down"  # asks for a longer interval from now on, not for a repeat (RFC 8628, section 3.5)
_CODE = re.compile(r"[A-Za-z0-9_.:/#\-]+\Z")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ABOUT_SETTINGS = re.compile(
    r"_(?:invalid|config|configuration|missing|must|not|disabled|unknown|unsupported|settings?)_"
)
_CONCURRENT = re.compile(r"_(?:limit|limits|exceeded|reached|max|maximum|too)_")
_SPENT = re.compile(
    r"_(?:insufficient_(?:quota|credits)|quota_exhausted"
    r"|(?:daily|weekly|monthly|yearly|annual|plan|billing|subscription|spending)_(?:[a-z]+_){0,3}?(?:limit|quota)"
    r"_(?:exceeded|reached|exhausted))_"
)
_TOO_FAST = re.compile(
    r"_(?:throttl[a-z]*|ratelimit[a-z]*|rate_limit[a-z]*|too_many_(?:[a-z]+_)?(?:requests|calls|queries|operations)"
    r"|(?:request|requests|call|calls|api|activity|bandwidth)_limit_(?:exceeded|reached)|request_rate_[a-z]+|slow_down"
    r"|provisioned_throughput_exceeded|complexity_(?:budget|exception)|maxlag|max_lag)_"
)
_PROSE = re.compile(
    r"\brate limit(?:s)? (?:has been |have been |was |is )?(?:exceeded|reached)|exceeded (?:\w+ ){0,4}rate limit"
    r"|\btoo many (?:api )?(?:requests|calls)\b|\brequest limit reached",
    re.IGNORECASE,
)
_WAIT = re.compile(
    r"\b(?:reset|available|again|retry) in ([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|milliseconds?|s|seconds?)\b"
)


@lru_cache(maxsize=512)
def classify_code(code: str) -> Kind | None:
    """Return the kind of refusal that an error code names, or None where it names none.

    Args:
        code: The code; a text with spaces is none.
    """
    if len(code) > _LONGEST_CODE or not _CODE.match(code) or code == _OF_DEVICE_LOGIN:
        return None
    words = "_".join(["", *_WORDS.findall(code), ""]).lower()
    if _ABOUT_SETTINGS.search(words):
        return None
    if "concurren" in words:
        return "concurrency" if _CONCURRENT.search(words) else None
    if _SPENT.search(words):
        return "exhausted"
    return "rate" if _TOO_FAST.search(words) else None


def is_complaint(prose: str) -> bool:
    """Return whether a message says that requests come too fast."""
    return len(prose) <= _LONGEST_PROSE and _PROSE.search(prose) is not None


def find_wait(prose: str) -> float | None:
    """Return the seconds that a message asks to wait, as in "try again in 1.5s", or None."""
    found = _WAIT.search(prose[:_LONGEST_PROSE])
    seconds = None if found is None else times.parse_number(found[1])
    if found is None or seconds is None:
        return None
    return seconds / 1000 if found[2].startswith("m") else seconds
