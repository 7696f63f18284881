"""What an answer is: one verdict, worked out once, and read by all policies alike.

Theory of operation. A status alone does not say what a server means: a 403 may ask for a slower pace, a 429 may say
that the money is gone, a 200 may refuse. So no policy looks at the status for that. The verdict comes from, in this
order,

    the user's judges     functions of the `Answer`, see `polvo_adapters.core.judges`
    a replay              headers by which a server says that it repeats an earlier answer
    a refusal             `polvo_adapters.headers.throttled`: status, headers, and bodies that are there anyway
    the status            where nothing else is known

and is one of these kinds:

    kind           what the server says                               a repeat                    it was processed
    -------------  -------------------------------------------------  --------------------------  ----------------
    served         an answer, be it one that blames the caller        by status, as listed        yes
    failed         5xx, or no answer at all                           if safe                     maybe
    refused        403 with a reason that is not the pace             none                        no
    throttled      too fast                                           after what it says          no, see `processed`
    concurrent     too many at once                                   after what it says          no, see `processed`
    unavailable    503 with Retry-After, 529: not now                 after what it says          no
    exhausted      the quota of a plan is used up                     none                        no
    replayed       an error that it has stored for the key            none: it stays the same     yes
    at work        the first request with the key is under way        of the key, after a wait    maybe
    key refused    the key is not accepted                            none                        no

**Worked out once**, by `polvo_adapters.core.judgement`. Policies that ask for the verdict of one outcome share it by
the list that its shell gives to the outcome. For nearly every answer, a success whose body has no marker of a refusal,
the question costs one search in its body and no object. No body is read for it: a streamed one is not looked at.

**In doubt.** Some servers in front of an API answer alike to what is over their limit and to what they cannot pass on:
`limit_req` of nginx refuses with the page of a service that is down. Only the answers around it tell. Amid requests
that are served it is a refusal; where nothing has been served for `LONGEST_DOUBT`, the service has failed. A rate limit
and a circuit breaker know that each from its own state.

**Lists of statuses.** Settings such as `retry_on` name statuses. 429 in one stands for whatever is throttled,
concurrent or exhausted, 503 for whatever is unavailable, and 500 for what a judge says has failed; see `is_listed`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from polvo_adapters import headers

Kind: TypeAlias = Literal[
    "served",
    "failed",
    "refused",
    "throttled",
    "concurrent",
    "unavailable",
    "exhausted",
    "replayed",
    "at work",
    "key refused",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))
LONGEST_DOUBT = 5.0
"""Seconds without a success, after which an answer in doubt means that the service is down."""

_PACE = frozenset({"throttled", "concurrent", "exhausted"})
_DECLINED = _PACE | {"unavailable"}
_FINAL = frozenset({"refused", "exhausted", "replayed", "key refused"})
_OF_THROTTLED: Mapping[str, Kind] = {"rate": "throttled", "concurrency": "concurrent", "exhausted": "exhausted"}
_TO_THROTTLED: Mapping[str, Any] = {
    "throttled": "rate",
    "unavailable": "rate",
    "concurrent": "concurrency",
    "exhausted": "exhausted",
}


class Verdict(NamedTuple):
    """What an answer is.

    Attributes:
        kind: See the table of this module.
        retry_after: Seconds after which the server wants the request again; None where it did not say.
        names: Names of the quotas that it is about, where the server names them.
        scope: What it is about: "global" for everything, "method" for this method of the API alone, "user", "shared",
            or "" where the server does not say.
        reason: Short words for a person: "403, userRateLimitExceeded".
        processed: Whether a part of a request that was throttled was processed all the same.
        until: Unix time of the end of `retry_after`, or None.
        in_doubt: Whether an answer that counts as failed may be a refusal for want of quota just as well.
    """

    kind: Kind
    retry_after: float | None = None
    names: tuple[str, ...] = ()
    scope: str = ""
    reason: str = ""
    processed: bool = False
    until: float | None = None
    in_doubt: bool = False

    @classmethod
    def of_refusal(cls, refusal: headers.Throttled) -> Verdict:
        """Return the verdict that says what a refusal says."""
        kind, retry_after, names, reason, scope, processed = refusal
        return cls(_OF_THROTTLED[kind], retry_after, names, scope, reason, processed)

    @property
    def is_about_pace(self) -> bool:
        """Whether the server refuses for want of quota, whatever the status: throttled, concurrent, or exhausted."""
        return self.kind in _PACE

    @property
    def is_declined(self) -> bool:
        """Whether the server says that it did not process the request, and may do so later."""
        return self.kind in _DECLINED and not self.processed

    @property
    def is_refusal(self) -> bool:
        """Whether the server asks for another time: throttled, concurrent, exhausted, or unavailable."""
        return self.kind in _DECLINED

    @property
    def is_final(self) -> bool:
        """Whether the same request gets the same answer, however often it is sent."""
        return self.kind in _FINAL

    def to_throttled(self) -> headers.Throttled | None:
        """Return the refusal as `polvo_adapters.headers` has it, or None where it is none."""
        kind = _TO_THROTTLED.get(self.kind)
        if kind is None:
            return None
        return headers.Throttled(kind, self.retry_after, self.names, self.reason, self.scope, self.processed)


SERVED = Verdict("served")
"""The verdict on nearly every answer."""


def is_listed(statuses: Collection[int], status: int, verdict: Verdict) -> bool:
    """Return whether a setting that names statuses means an answer.

    Args:
        statuses: The setting.
        status: The status of the answer.
        verdict: The verdict on it.
    """
    if status in statuses:
        return True
    if verdict.kind == "failed":
        return status < 500 and 500 in statuses  # a judge says so
    return (verdict.is_about_pace and 429 in statuses) or (verdict.kind == "unavailable" and 503 in statuses)
