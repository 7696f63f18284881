"""One logical host, several places that serve it: the first that answers, one after the other, a quorum, or all.

Theory of operation. The path and the query of the call are appended to the base URL of each region, and every region is
a call of its own to all that is further inside: it has its own circuit, rate limit and latency, because those are kept
by origin. A region whose circuit is open answers at once that it was not sent to (BARRED); it is passed over, and
comes back by itself when its circuit closes.

    mode      sent to                                             returned                      cancelled
    --------  --------------------------------------------------  ----------------------------  ---------
    fallback  one, and the next where that one cannot serve it    the answer of the last asked  nothing
    race      all at once, or one after the other by `stagger`    the first good answer         the rest
    quorum    all at once                                         the first good answer, once   the rest
                                                                  as many are good
    fanout    all at once                                         the first in order that is    nothing
                                                                  good, once all have answered

**Good** is any answer but 429, 500 and above, and those in `reroute_codes`. Where none is good, the most informative
outcome is returned: an answer rather than an error, and an error after the request may have arrived rather than one
before.

**Safety.** Race, quorum and fanout do the work of a request several times. A request that is not safe, or whose body
cannot be sent several times at once, is refused before anything is sent. Fallback follows the rules of retries: after
an attempt that may have been processed, only an idempotent request goes on to another region; and a body that can be
read once goes on only where it was never sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.effects import Flow, Proceed, Race, Start, WaitAny
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import NOT_SENT, UNCLASSIFIED, Outcome
from polvo_adapters.errors import ConfigurationError, ReplayError, ServiceUnavailableError
from polvo_adapters.policies.outcomes import (
    SAFE_METHODS,
    better,
    most_informative,
    noted,
    safe_elsewhere,
    sendable_at_once,
    unprocessed,
    was_served,
)
from polvo_adapters.policies.retry import ExponentialBackoff

__all__ = ["Regions"]

_MODES = ("race", "fallback", "quorum", "fanout")
_BELONGING: tuple[tuple[str, str, object], ...] = (
    ("quorum", "quorum", None),
    ("stagger", "race", 0),
    ("max_reroutes", "fallback", None),
    ("region_policy", "fallback", "fallback"),
)
"""Fields that belong to one mode, and what they are where they are not set."""


@dataclass(frozen=True)
class Regions:
    """Let several regions serve one host.

    Args:
        urls: Base URLs in order of preference, such as "https://eu.api.example.com"; the path of a call is appended.
        mode: "fallback" asks one region, and the next where it fails; "race" takes the first good answer; "quorum"
            wants good answers of several; "fanout" sends to all and waits for all.
        quorum: In mode "quorum", how many good answers are wanted; by default more than half.
        stagger: In mode "race", seconds between one start and the next; a bad answer starts the next at once.
        retry_codes: Statuses that are tried again in the same region, with the waits of ExponentialBackoff.
        reroute_codes: Statuses that send the call to the next region. Time-outs and broken connections do as well.
        max_reroutes: In mode "fallback", how many other regions are asked at most; by default all. A region whose
            circuit is open does not count.
        region_policy: In mode "fallback", "strict" means that a region that is down is not replaced by another: where
            it gives no answer the call fails, and only `reroute_codes` send it on.
        methods: Methods that are safe to send to several regions at once; None declares every method safe. In mode
            "fallback" the idempotent ones (PUT, DELETE) go on to another region as well.

    Raises:
        ValueError: A value is out of range, or two settings contradict each other.

    Source: The modes and words are those of EZThrottle's jobs.
    """

    urls: Sequence[str]
    mode: Literal["race", "fallback", "quorum", "fanout"] = "fallback"
    quorum: int | None = None
    stagger: float = 0.0
    retry_codes: Collection[int] = ()
    reroute_codes: Collection[int] = frozenset({500, 502, 503, 504})
    max_reroutes: int | None = None
    region_policy: Literal["fallback", "strict"] = "fallback"
    methods: Collection[str] | None = SAFE_METHODS
    _retry: ExponentialBackoff | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", validate.base_urls(self, "urls"))
        validate.choice(self, "mode", _MODES)
        validate.choice(self, "region_policy", ("fallback", "strict"))
        validate.number(self, "stagger", 0)
        for name in ("retry_codes", "reroute_codes"):
            object.__setattr__(self, name, validate.statuses(self, name))
        object.__setattr__(self, "methods", validate.methods(self, "methods"))
        if self.quorum is not None:
            validate.count(self, "quorum", 1)
        if self.max_reroutes is not None:
            validate.count(self, "max_reroutes", 0)
        self._check_together()
        if self.retry_codes:
            again = ExponentialBackoff(
                retry_on=self.retry_codes, retry_after_on=(), exceptions=(), methods=self._repeatable
            )
            object.__setattr__(self, "_retry", again)

    def _check_together(self) -> None:
        for name, mode, unset in _BELONGING:
            if getattr(self, name) != unset and self.mode != mode:
                raise validate.contradiction(self, name, "mode", f"{name} belongs to mode={mode!r}")
        if self.quorum is not None and self.quorum > len(self.urls):
            raise validate.contradiction(self, "quorum", "urls", f"there are only {len(self.urls)} regions")
        both = ", ".join(map(str, sorted(set(self.retry_codes) & set(self.reroute_codes))))
        if both:
            reason = f"{both} in both is contradictory; retry in the same region or go to the next, not both"
            raise validate.contradiction(self, "retry_codes", "reroute_codes", reason)

    @property
    def _repeatable(self) -> frozenset[str] | None:
        """Methods that may be sent again, one after the other."""
        return None if self.methods is None else IDEMPOTENT_METHODS | frozenset(self.methods)

    @property
    def _wanted(self) -> int:
        """How many good answers make a quorum."""
        return self.quorum or len(self.urls) // 2 + 1

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call in the regions."""
        if self.mode == "fallback":
            return (yield from self._fallback(call, proceed))
        if not safe_elsewhere(call, self.methods) or not sendable_at_once(call):
            return self._refusal(call)
        run = {"race": self._race, "quorum": self._quorum, "fanout": self._fanout}[self.mode]
        outcome: Outcome = yield Race(run(call, proceed))
        return outcome

    def _branch(self, number: int, call: Call, proceed: Proceed) -> Flow:
        """Return the flow of the call in one region."""
        there = call._replace(url=_moved(call.url, self.urls[number]))
        return proceed(there) if self._retry is None else self._retry.flow(there, proceed)

    def _good(self, outcome: Outcome) -> bool:
        return was_served(outcome) and outcome.status not in self.reroute_codes

    # One after the other.

    def _fallback(self, call: Call, proceed: Proceed) -> Flow:
        sent = 0
        best: Outcome | None = None
        for number, url in enumerate(self.urls):
            outcome = yield from self._branch(number, call, proceed)
            sent += outcome.failure is not NOT_SENT
            if not self._goes_on(outcome):
                return noted(outcome, f"rerouted to {_host(url)}") if number else outcome
            last = number + 1 == len(self.urls) or (self.max_reroutes is not None and sent > self.max_reroutes)
            stopped = self._stopped(call, outcome, last)
            if stopped is not None:
                return stopped
            best = outcome if best is None else better(outcome, best)
            if last or (call.deadline is not None and outcome.now >= call.deadline):
                break
        return best or Outcome()

    def _goes_on(self, outcome: Outcome) -> bool:
        """Tell whether another region may do better."""
        failure = outcome.failure
        if failure is None:
            return outcome.status in self.reroute_codes
        return (failure is NOT_SENT or failure.transient) and self.region_policy != "strict"

    def _stopped(self, call: Call, outcome: Outcome, last: bool) -> Outcome | None:
        """Return how the call ends where it must not go on to another region, or None."""
        failure = outcome.failure
        if failure is not None and not failure.sent:
            return None
        if not unprocessed(outcome) and not safe_elsewhere(call, self._repeatable):
            # Whatever other regions said: to hide that this one may have acted would invite a duplicate.
            reason = f"{call.method} is not sent to another region: this one may have processed it"
            return outcome if last else noted(outcome, reason)
        return _unreplayable(call, outcome) if call.body == "once" and not last else None

    # Several at once.

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        bad: dict[int, Outcome] = {}
        started, due = 0, True
        while len(bad) < len(self.urls):
            while started < len(self.urls) and due:
                yield Start(self._branch(started, call, proceed))
                started += 1
                due = self.stagger == 0
            ended = yield WaitAny(self.stagger if started < len(self.urls) else None)
            due = True
            if ended is None:
                continue
            number, outcome = ended
            if self._good(outcome):
                return noted(outcome, f"{self._host(number)} answered first")
            bad[number] = outcome
        return noted(_in_order(bad), f"none of {len(bad)} regions succeeded")

    def _quorum(self, call: Call, proceed: Proceed) -> Flow:
        wanted = self._wanted
        for number in range(len(self.urls)):
            yield Start(self._branch(number, call, proceed))
        first: Outcome | None = None
        succeeded, bad = 0, dict[int, Outcome]()
        while len(self.urls) - len(bad) >= wanted:
            number, outcome = yield WaitAny(None)
            if not self._good(outcome):
                bad[number] = outcome
                continue
            succeeded += 1
            first = first or outcome
            if succeeded == wanted:
                return noted(first, f"{succeeded} of {len(self.urls)} regions succeeded, as wanted")
        return self._missed(call, bad, succeeded)

    def _fanout(self, call: Call, proceed: Proceed) -> Flow:
        for number in range(len(self.urls)):
            yield Start(self._branch(number, call, proceed))
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < len(self.urls):
            number, outcome = yield WaitAny(None)
            outcomes[number] = outcome
        succeeded = {number: outcome for number, outcome in outcomes.items() if self._good(outcome)}
        note = f"{len(succeeded)} of {len(outcomes)} regions succeeded"
        return noted(succeeded[min(succeeded)] if succeeded else _in_order(outcomes), note)

    # Errors.

    def _refusal(self, call: Call) -> Outcome:
        if safe_elsewhere(call, self.methods):
            reason = "its body cannot be sent several times at once; pass bytes, or use mode='fallback'"
        else:
            reason = (
                "it would be processed several times; declare it idempotent with methods=None, or use mode='fallback'"
            )
        error = ConfigurationError(
            f"{call.method} {call.host}: not sent, Regions(mode={self.mode!r}) sends a request to several regions at "
            f"once, and {reason}",
            host=call.host,
        )
        return Outcome(error=error, failure=NOT_SENT)

    def _missed(self, call: Call, bad: dict[int, Outcome], succeeded: int) -> Outcome:
        best = _in_order(bad)
        told = ", ".join(f"{self._host(number)} {_what(bad[number])}" for number in sorted(bad))
        error = ServiceUnavailableError(
            f"{call.method} {call.host}: the quorum of {self._wanted} cannot be reached, {len(bad)} of "
            f"{len(self.urls)} regions failed ({told}) and {succeeded} succeeded; call again later, or lower quorum",
            response=best.response,
            host=call.host,
            retry_after=None if best.failure else headers.retry_after(best.headers, best.wall),
        )
        error.__cause__ = best.error
        return best._replace(error=error, failure=best.failure or UNCLASSIFIED)

    def _host(self, number: int) -> str:
        return _host(self.urls[number])


def _moved(url: str, base: str) -> str:
    """Return the URL with its path and query appended to another base."""
    rest = url.partition("://")[2]
    ends = [end for end in map(rest.find, "/?#") if end >= 0]
    rest = rest[min(ends) :] if ends else ""
    return base + (rest if rest.startswith("/") else "/" + rest)


def _host(url: str) -> str:
    return origin(url).partition("://")[2]


def _what(outcome: Outcome) -> str:
    return str(outcome.status) if outcome.failure is None else outcome.failure.name


def _in_order(outcomes: dict[int, Outcome]) -> Outcome:
    """Return the most informative outcome; of equals, that of the region preferred."""
    return most_informative(outcomes[number] for number in sorted(outcomes))


def _unreplayable(call: Call, outcome: Outcome) -> Outcome:
    error = ReplayError(
        f"{call.method} {call.host}: {_what(outcome)}, and the body can be read only once, so that the request was not "
        "sent to another region; pass bytes or a seekable file",
        response=outcome.response,
        host=call.host,
    )
    error.__cause__ = outcome.error
    return outcome._replace(error=error, failure=UNCLASSIFIED)
