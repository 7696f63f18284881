"""What the error codes of APIs mean for the pace of requests, whatever the vendor.

Theory of operation. APIs name their refusals by words of a small vocabulary, in any spelling: `THROTTLED`,
`userRateLimitExceeded`, `throttle_violation`, `policies.ratelimit.SpikeArrestViolation`. So a code is split into its
words, and the words are looked for, not the code. A code that speaks of a limit as of a thing, such as
`invalid_rate_limit_policy` or `rate_limit_rule_exists`, refuses for another reason.

Prose is not a code, as its words may mean anything. Only a few fixed phrases are known, for refusals without a code,
and not within quotation marks: there a message repeats what the caller has sent.

**Other things.** Much else has a rate: interest, frames, the exchange of currencies. Much else has a limit, and is
refused in the same words: seats, storage, coupons, withdrawals. A code that names such a thing is not about the
pace, nor is a sentence that names it and no requests.
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
    r"_(?:insufficient_(?:quota|credits)|quota_exhausted|key_exhausted|over_quota|over_(?:daily|monthly)_limit"
    r"|daily_query_over_limit|cap_exceeded"
    r"|usage_(?:limit|quota)_(?:exceeded|reached|exhausted)"
    r"|(?:daily|weekly|monthly|yearly|annual|plan|billing|subscription|spending)_(?:[a-z]+_){0,3}?(?:limit|quota)"
    r"_(?:exceeded|reached|exhausted))_"
)
_TOO_FAST = re.compile(
    r"_(?:throttl[a-z]*|ratelimit[a-z]*|rate_limit[a-z]*|too_many_(?:[a-z]+_)?(?:requests|calls|queries|operations)"
    r"|(?:request|requests|call|calls|api|activity)_limit_(?:exceeded|reached)|request_rate_[a-z]+|slow_down"
    r"|(?:hourly|minutely|secondly|burst)_(?:[a-z]+_){0,3}?(?:limit|quota)_(?:exceeded|reached|exhausted)"
    r"|[a-z]*qps_(?:[a-z]+_){0,3}?limit|over_qps|over_rate|over_(?:query|request|rate)_limit|query_limit_exceeded"
    r"|request_threshold_(?:violated|exceeded)|too_frequent(?:ly)?|flood_wait|server_busy"
    r"|provisioned_throughput_exceeded|complexity_(?:budget|exception)|maxlag|max_lag)_"
)
_OTHER_RATES = re.compile(
    r"[_ ](?:exchange|interest|frame|heart|sampl(?:e|ing)|bit|discount|tax|fx|commission|growth|mortgage"
    r"|shipping|lending|swap|funding|pulse|respiratory|bounce|complaint|clock|baud)"
    r"[_ ]rates?[_ ](?:limit|quota)[a-z]*",
    re.IGNORECASE,
)
_OTHER_CODES = re.compile(
    r"_(?:too_many_(?:pull|merge|leave|friend|join|batch|change|purchase|pending)_|in_(?:a_)?(?:batch|bulk)_"
    r"|(?:storage|disk|memory|mailbox|bandwidth|emails?|mails?|sms|seats?|members?|sessions?|devices?|streams?|coupons?"
    r"|discounts?|vouchers?|gift|cards?|withdrawals?|transfers?|payments?|deposits?|orders?|purchases?|files?|uploads?"
    r"|rows?|records?|projects?|builds?|invites?|invitations?"
    r"|spend|spending|payouts?|transactions?|purchasing|trading|trades?|bets?|loans?)_)"
)
_OF_A_DAY = re.compile(
    r"_(?:daily|weekly|monthly|yearly|annual)_(?!(?:(?:api|requests?|calls?|quer(?:y|ies)|rate|usage|user|app|account|key"
    r"|hits|over|tokens?)_){0,3}(?:limit|quota)_)"
)
_OTHER_THINGS = re.compile(
    r"\b(?:storage|disks?|memory|mailbox|bandwidth|e-?mails?|sms|seats?|members?|coupons?|discounts?|vouchers?"
    r"|gift cards?|withdrawals?|transfers?|payments?|deposits?|files?|uploads?|invites?|invitations?|instances?|cores"
    r"|volumes?|projects?|spending|payouts?|transactions?|purchases?|trades?|bets?|loans?)\b"
    r"|\bquota '(?!\w*(?:request|quer|call|read|write))\w{1,64}' exceeded",
    re.IGNORECASE,
)
_EXCEEDED = r"(?:exceeded|reached|hit|met|violated)"
_IS = r"(?:has been |have been |was |is |quota )?"
_FAST = r"(?:frequent|frequently|quick|quickly|fast|rapidly)"
_OF_SENDING = (
    r"(?:from|for|to|by|of|on|this|that|your|the|our|an?|ip|address|client|account|user|app|key|token|service|api|server"
    r"|host|endpoint|resource|url|is|are|was|were|been|being|have|has|made|making|sent|sending|arriving|arrived|coming"
    r"|come|received|issued|called|accessed|used|you|we|it|data|way|far|much|happening|occurring|performed)"
)
"""What may stand between requests and their being too fast."""
_PER_TIME = r"(?:qps|(?:queries|requests|calls)[- ]per[- ](?:second|minute|hour))"
_OWN = r"(?:^|[.:!] |\b(?:the|your|this|api|http|user|client|app|account|key|max|maximum|second|minute|hour) )"
"""What may stand before a limit of requests; a quote request is something else."""
_PROSE = re.compile(
    rf"\brate[- ]?limits? {_IS}{_EXCEEDED}"
    r"|\b(?:exceed(?:ed|s|ing)?|over|hit|reached|surpassed) (?:[\w'\u2019-]+ ){0,6}rate[- ]limit"
    r"|\b(?:being|been) rate[- ]limited\b|\blimit of [0-9]+ (?:requests|calls) in [0-9]+"
    r"|\btoo (?:many|much) (?:api )?(?:requests?|calls|visits)\b"
    r"(?! (?:pending|open|awaiting|waiting))|\bdoing that too much\b"
    rf"|{_OWN}(?:request|query|calls?) (?:rate |count |usage )?limit {_IS}{_EXCEEDED}\b"
    rf"|(?<!phone )\b(?:requests?|calls?|access|endpoint)(?: {_OF_SENDING}){{0,8}} too {_FAST}\b"
    r"(?! (?:for our|to be|after)\b)"
    rf"|\bapi limit {_IS}{_EXCEEDED}\b|\bmore than [0-9]{{1,9}} (?:api )?(?:calls|requests) per (?:second|minute)\b"
    rf"|\b(?:allowed|maximum) number of (?:\w+ ){{0,2}}(?:requests|calls) {_IS}exceeded"
    rf"|\bexceeded the (?:maximum|allowed) number of (?:\w+ ){{0,2}}(?:requests|calls)\b"
    r"|\brequest rate (?:threshold )?exceeded|^rate exceeded\b|\bquota limit (?:exceeded|reached)"
    rf"|\b(?:exceeded|reached|hit|over) (?:[\w-]+ ){{0,4}}{_PER_TIME} (?:\w+ )?limit\b"
    rf"|\b{_PER_TIME} (?:\w+ )?limit {_IS}{_EXCEEDED}\b"
    r"|\brequest was throttled\b|\bthrottled:|\bthrottling your requests?\b|\b(?:trigger )?frequency limit\b"
    r"|\bratelimiter does not permit\b|\bapp call limited\b|^retry later\s*\Z|\benhance your calm\b"
    r"|\bflood control\b|\b(?:minute|second|hour)[- ](?:quota|limit) (?:is )?(?:reach(?:ed)?|exceeded)\b"
    r"|\b(?:hit|reached|exceeded) (?:\w+ ){0,2}(?:hourly|secondly) limit (?:for|of) (?:\w+ )?(?:calls|requests)\b"
    r"|^envoy overloaded\b",
    re.IGNORECASE,
)
_BATCH = re.compile(r"\b(?:batch|bulk)\b", re.IGNORECASE)
_AT_ONCE = r"(?:[a-z]{0,16}concurren[a-z]{1,4}|simultaneous(?:ly)?|parallel)"
_SIMULTANEOUS = re.compile(
    rf"(?:too many|limit|exceed\w*|exhausted|maximum|max|over|reached) (?:[\w-]+ ){{0,6}}?{_AT_ONCE}\b"
    rf"|\b{_AT_ONCE} (?:[\w()-]+ ){{0,4}}?(?:limit|quota|exceeded|reached)\b",
    re.IGNORECASE,
)
_LONG = r"(?:daily|weekly|monthly|yearly)"
_SPENT_PROSE = re.compile(
    rf"(?:exceeded|reached|reach|used up|hit) (?:[\w'\u2019-]+ ){{0,3}}{_LONG} "
    r"(?:\w+ ){0,3}(?:quota|(?:rate-)?limit|cap|budget)\b"
    rf"|\b(?:{_LONG}|day) (?:\w+ ){{0,3}}(?:quota|limit|count|cap|budget)\b(?: \w+){{0,7}} (?:exceeded|reached|met)\b"
    rf"|\bcap exceeded: {_LONG}\b|\bexceeded (?:\w+ )?(?:calls|requests) per (?:day|month|year) (?:quota|limit)\b"
    r"|\b(?:exceeded|reached) (?:\w+ ){0,3}maximum number of daily\b"
    r"|\blimited to [0-9,]{1,12} (?:\w+ )?(?:calls|requests) ?(?:/|per|a) ?(?:day|month|year)\b"
    r"|\b(?:calls|requests) limit reached: [0-9,]{1,12}\s*\Z"
    r"|\brun out of (?:searches|requests|calls|queries)\b|\bno more requests available\b"
    r"|\bout of (?:call|calls|request|api) (?:\w+ ){0,2}quota\b",
    re.IGNORECASE,
)
_OF_REQUESTS = re.compile(r"\b(?:requests?|calls?|api|quer(?:y|ies)|rate[- ]limits?)\b", re.IGNORECASE)
_BARE_QUOTA = re.compile(rf"(?:{_LONG}|day) quota (?:is )?(?:reached|exceeded)\W*\Z", re.IGNORECASE)
_OF_ACCESS = re.compile(r"\b(?:requests?|calls?|api|access|quer(?:y|ies)|connections?)\b", re.IGNORECASE)
_OF_USE = re.compile(r"\busage\b", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|“[^”“]*”|«[^»«]*»")
_AMOUNT = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_UNIT = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|days?)"
_WAIT = re.compile(
    r"\b(?:(?:resets?|available|again|this|retry|replenished) (?:in|after|until)|wait(?: for)?(?: at least)?|last for) "
    r"['\"~]?"
    r"(?:(?:([0-9]{1,3})\.)?([0-9]{1,6}):([0-9]{2}):([0-9]{2})\b"
    rf"|((?:{_AMOUNT}['\"]?(?: more)? ?{_UNIT}\b(?:,? and |, | )?){{1,4}})"
    rf"|((?:{_AMOUNT}(?:ms|h|m|s)){{2,4}})\b"
    rf"|({_AMOUNT})['\"]?\.?\Z)",
    re.IGNORECASE,
)
_PART = re.compile(rf"({_AMOUNT})['\"]?(?: more)? ?(ms|mil|s|m|h|d)", re.IGNORECASE)
_MOMENT = re.compile(
    r"\b(?:until|again at|again after|reset at|resets at) ([0-9]{10}(?:[0-9]{3})?\b"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,12}Z?)",
    re.IGNORECASE,
)
_PER_SECOND = {"ms": 1e3, "mil": 1e3, "s": 1.0, "m": 1 / 60, "h": 1 / 3600, "d": 1 / times.DAY}


@lru_cache(maxsize=512)
def classify_code(code: str) -> Kind | None:
    """Return the kind of refusal that an error code names, or None where it names none.

    Args:
        code: The code; a text with spaces is none.
    """
    if len(code) > _LONGEST_CODE or not _CODE.match(code) or code == _OF_DEVICE_LOGIN:
        return None
    words = _OTHER_RATES.sub("", _split_words(code))
    if _ABOUT_SETTINGS.search(words) or (_ABOUT_RULES.search(words) and not _HAPPENED.search(words)):
        return None
    if "concurren" in words:
        return "concurrency" if _CONCURRENT.search(words) else None
    if _SPENT.search(words):
        return "exhausted"
    return "rate" if _TOO_FAST.search(words) else None


def names_other_things(code: str) -> bool:
    """Return whether a code names a limit of something other than requests, such as seats, or likes of a day."""
    words = _split_words(code)
    return _OTHER_CODES.search(words) is not None or _OF_A_DAY.search(words) is not None


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
    said = _OTHER_RATES.sub("", f" {_strip_quotes(prose)}").strip()
    found = _PROSE.search(said)
    return found is not None and (is_certain or "too" not in found[0].lower() or not _BATCH.search(prose))


def is_about_concurrency(prose: str, *, is_certain: bool = True) -> bool:
    """Return whether a message says that there are too many requests at once.

    Args:
        prose: The message.
        is_certain: Whether the status says that it is about requests; otherwise the message has to name them.
    """
    if len(prose) > _LONGEST_PROSE or _SIMULTANEOUS.search(_strip_quotes(prose)) is None:
        return False
    return is_certain or _OF_ACCESS.search(prose) is not None


def is_spent(prose: str, *, is_certain: bool = False) -> bool:
    """Return whether a message says that the requests of a day, or of a longer time, are used up.

    Args:
        prose: The message.
        is_certain: Whether the status or a code says that it is about requests, which the message need not name then.
    """
    if len(prose) > _LONGEST_PROSE:
        return False
    said = _strip_quotes(prose)
    if _SPENT_PROSE.search(said) is None:
        return False
    if is_certain:
        return not is_about_other_things(said)
    return (_OF_REQUESTS.search(said) or _BARE_QUOTA.match(said)) is not None or (
        _OF_USE.search(said) is not None and not is_about_other_things(said)
    )


def is_about_other_things(prose: str) -> bool:
    """Return whether a message names a limit of something other than requests, and no requests."""
    said = prose[:_LONGEST_PROSE]
    return _OTHER_THINGS.search(said) is not None and _OF_REQUESTS.search(said) is None


def _strip_quotes(prose: str) -> str:
    return " ".join(_QUOTED.sub("", prose).split()) if not _QUOTED.fullmatch(prose) else prose


def find_wait(prose: str) -> float | None:
    """Return the seconds that a message asks to wait, as in "try again in 1.5s" or "in 01:12:31", or None."""
    found = _WAIT.search(prose[:_LONGEST_PROSE])
    if found is None:
        return None
    days, hours, minutes, seconds, spelled, duration, amount = found.groups()
    if duration:
        return resets.read(duration.lower()).seconds
    if spelled:
        return sum(float(number) / _PER_SECOND[unit.lower()] for number, unit in _PART.findall(spelled))
    if amount:
        return times.parse_number(amount)
    return int(days or 0) * times.DAY + int(hours) * 3600.0 + int(minutes) * 60.0 + int(seconds)


def find_moment(prose: str) -> float | None:
    """Return the Unix time until which a message asks to wait, as in "banned until 1790000060000", or None."""
    found = _MOMENT.search(prose[:_LONGEST_PROSE])
    return None if found is None else resets.read(found[1]).moment
