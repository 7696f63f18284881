"""One logical host that several regions serve: one after the other, a race, a quorum, or all of them.

Theory of operation. The path and the query of the call are appended to the base URL of each region. Every region is a
call of its own to all policies further inside: it has its own circuit, rate limit and latency, because those are kept
by origin. A region whose circuit is open yields NOT_SENT at once; the flow passes it over, and uses it again when its
circuit has closed.

    mode      sent to                                             returned                      cancelled
    --------  --------------------------------------------------  ----------------------------  ---------
    fallback  one, and the next where that one cannot serve it    the last response             nothing
    race      all at once, or one after the other by `stagger`    the first good response       the rest
    quorum    all at once                                         the first good response, as   the rest
                                                                  soon as enough are good
    fanout    all at once                                         the first in order that is    nothing
                                                                  good, once all have ended

**Good** is any response but a refusal, such as 429, and 500 and above, and those in `reroute_codes`. Where none is
good, the flow returns the most informative outcome; see `polvo_adapters.policies.outcomes`.

**Safety.** Race, quorum and fanout do the work of a request several times. They refuse a request that is not safe, or
whose body cannot be sent several times at once, before anything is sent. Fallback follows the rules of retries: after
an attempt that may have been processed, only an idempotent request goes on to another region, and a body that can be
read once goes on only where it was never sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call, find_host
from polvo_adapters.core.destinations import is_below, is_downgrade, rebase
from polvo_adapters.core.effects import Flow, Proceed, Race, Start, WaitAny
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.judgement import is_declined, verdict_of, was_served
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.outcomes import NOT_SENT, UNCLASSIFIED, Ending, Outcome
from polvo_adapters.core.verdict import is_listed
from polvo_adapters.errors import ConfigurationError, ServiceUnavailableError
from polvo_adapters.policies.outcomes import (
    RACED_METHODS,
    add_note,
    can_send_at_once,
    choose_better,
    choose_most_informative,
    explain_one_shot,
    is_safe_elsewhere,
    outlast_store,
    refuse_to_send,
    replace_error,
)
from polvo_adapters.policies.retry import ExponentialBackoff

__all__ = ["Regions"]

_MODES = ("race", "fallback", "quorum", "fanout")
_MODE_FIELDS: tuple[tuple[str, str, object], ...] = (
    ("quorum", "quorum", None),
    ("stagger", "race", 0),
    ("max_reroutes", "fallback", None),
    ("region_policy", "fallback", "fallback"),
)
"""Fields that belong to one mode: their names, the mode, and their defaults."""


@explain_arguments
@dataclass(frozen=True)
class Regions:
    """Several regions that serve one host.

    Args:
        urls: Base URLs in order of preference, such as "https://eu.api.example.com"; the path of a call is appended.
        mode: "fallback" sends to one region, and to the next where it fails; "race" takes the first good response;
            "quorum" needs several good responses; "fanout" sends to all and waits for all.
        quorum: In mode "quorum", how many good responses are needed; by default more than half.
        stagger: In mode "race", seconds between one start and the next; a bad response starts the next at once.
        retry_codes: Statuses that are retried in the same region, with the waits of ExponentialBackoff.
        reroute_codes: Statuses that send the call to the next region. Timeouts and broken connections do as well.
        max_reroutes: In mode "fallback", how many other regions are tried at most; by default all. A region whose
            circuit is open does not count.
        region_policy: In mode "fallback", "strict" lets the call fail where a region does not respond, so that only
            `reroute_codes` send it on; "fallback" sends it on in both cases.
        methods: Methods that are safe to send to several regions at once; None declares every method safe. In mode
            "fallback" the idempotent ones (PUT, DELETE) go on to another region as well.
        serves: The URL whose host the regions serve; calls to other hosts pass by. By default all calls go to the
            regions, as one mounts them for one host; a Session with a `base_url` names that.

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
    methods: Collection[str] | None = RACED_METHODS
    serves: str = ""
    _retry: ExponentialBackoff | None = field(default=None, init=False, repr=False, compare=False)

    stack_option = "regions"

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", validate.base_urls(self, "urls"))
        validate.choice(self, "mode", _MODES)
        validate.choice(self, "region_policy", ("fallback", "strict"))
        validate.number(self, "stagger", 0)
        for name in ("retry_codes", "reroute_codes"):
            object.__setattr__(self, name, validate.statuses(self, name))
        object.__setattr__(self, "methods", validate.methods(self, "methods"))
        object.__setattr__(self, "serves", validate.served_origin(self, "serves"))
        for name, low in (("quorum", 1), ("max_reroutes", 0)):
            if getattr(self, name) is not None:
                validate.count(self, name, low)
        self._check_together()
        if self.retry_codes:
            retry = ExponentialBackoff(
                retry_on=self.retry_codes, retry_after_on=(), exceptions=(), methods=self._repeatable
            )
            object.__setattr__(self, "_retry", retry)

    def _check_together(self) -> None:
        for name, mode, default in _MODE_FIELDS:
            if getattr(self, name) != default and self.mode != mode:
                raise validate.contradiction(self, name, "mode", f"{name} belongs to mode={mode!r}")
        if self.quorum is not None and self.quorum > len(self.urls):
            raise validate.contradiction(self, "quorum", "urls", f"there are only {len(self.urls)} regions")
        both = ", ".join(map(str, sorted(set(self.retry_codes) & set(self.reroute_codes))))
        if both:
            reason = f"{both} in both is contradictory; retry in the same region or go to the next, not both"
            raise validate.contradiction(self, "retry_codes", "reroute_codes", reason)

    @property
    def races(self) -> bool:
        """Whether calls go to several regions at once."""
        return self.mode != "fallback"

    @property
    def _repeatable(self) -> frozenset[str] | None:
        """Methods that may be sent again, one after the other."""
        return None if self.methods is None else IDEMPOTENT_METHODS | frozenset(self.methods)

    def _serves(self, call: Call) -> bool:
        """Return whether a call is one for the regions, and not for a server that another policy has chosen."""
        if call.rerouted:
            return False
        return self.serves in ("", call.origin) or is_below(call.url, self.urls)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call in the regions."""
        if not self._serves(call):
            return (yield from proceed(call))
        if self.mode == "fallback":
            return (yield from self._fallback(call, proceed))
        if not is_safe_elsewhere(call, self.methods) or not can_send_at_once(call):
            return self._refuse(call)
        outcome: Outcome = yield Race(self._run_at_once(call, proceed))
        return outcome

    def _branch(self, number: int, call: Call, proceed: Proceed) -> Flow:
        """Return the flow of the call in one region."""
        if is_downgrade(call.url, self.urls[number]):
            return _refuse_unencrypted(call, self._host(number))
        there = call._replace(url=rebase(call.url, self.urls[number], self.urls))
        return proceed(there) if self._retry is None else self._retry.flow(there, proceed)

    def _is_good(self, call: Call, outcome: Outcome) -> bool:
        return was_served(call, outcome) and outcome.status not in self.reroute_codes

    def _fallback(self, call: Call, proceed: Proceed) -> Flow:
        sent = 0
        best: Outcome | None = None
        for number in range(len(self.urls)):
            outcome = yield from self._branch(number, call, proceed)
            kept = outlast_store(outcome, best)
            if kept is not None:
                return kept
            sent += outcome.failure is not NOT_SENT
            if not self._may_improve(call, outcome):
                return add_note(outcome, f"rerouted to {self._host(number)}", "regions") if number else outcome
            last = number + 1 == len(self.urls) or (self.max_reroutes is not None and sent > self.max_reroutes)
            final = self._find_final(call, outcome, last)
            if final is not None:
                return final
            best = outcome if best is None else choose_better(outcome, best)
            if last or (call.deadline is not None and outcome.now >= call.deadline):
                break
        if best is not None and best.failure is not None and number:
            best = add_note(best, f"tried {self._list_hosts(number + 1)}")
        return best or Outcome()

    def _list_hosts(self, count: int) -> str:
        """Return the first hosts, for the note where a call failed in each; its error names one of them."""
        return ", ".join(self._host(number) for number in range(count))

    def _may_improve(self, call: Call, outcome: Outcome) -> bool:
        """Return whether another region may do better."""
        failure = outcome.failure
        if failure is None:
            return is_listed(self.reroute_codes, outcome.status, verdict_of(call, outcome))
        return (failure is NOT_SENT or failure.transient) and self.region_policy != "strict"

    def _find_final(self, call: Call, outcome: Outcome, last: bool) -> Outcome | None:
        """Return the outcome of the call where it must not go on to another region, or None."""
        failure = outcome.failure
        if failure is not None and outcome.unsent:
            return None
        declined = failure is None and is_declined(call, outcome)
        if not declined and not is_safe_elsewhere(call, self._repeatable):
            # Whatever other regions said: to hide that this one may have acted would invite a duplicate.
            reason = f"{call.method} is not sent to another region: this one may have processed it"
            return outcome if last else add_note(outcome, reason, "regions")
        return add_note(outcome, explain_one_shot(call), "regions") if call.is_one_shot and not last else None

    def _run_at_once(self, call: Call, proceed: Proceed) -> Flow:
        """Start the call in all regions, and wait until enough are good, or until too many are bad."""
        count = len(self.urls)
        enough = {"race": 1, "quorum": self.quorum or count // 2 + 1, "fanout": count}[self.mode]
        good: dict[int, Outcome] = {}
        bad: dict[int, Outcome] = {}
        started, due = 0, True
        while len(good) < enough and len(good) + len(bad) < count:
            if self.mode != "fanout" and count - len(bad) < enough:
                break
            short = False  # of threads: another region is asked once one has answered
            while started < count and due and not short:
                short = (yield Start(self._branch(started, call, proceed))) is None
                started += not short
                due = self.stagger == 0
            ended = yield WaitAny((self.stagger or None) if started < count else None)
            due = True
            if ended is not None:
                number, outcome = ended
                (good if self._is_good(call, outcome) else bad)[number] = outcome
        if self.mode == "fanout":
            note = f"{len(good)} of {count} regions succeeded"
            return add_note(good[min(good)] if good else _choose_in_order(bad), note, "regions")
        if self.mode == "quorum" and len(good) < enough:
            return self._report_no_quorum(call, enough, bad, len(good))
        if not good:
            return add_note(
                _choose_in_order(bad), f"none of {count} regions succeeded: {self._list_hosts(count)}", "regions"
            )
        first = next(iter(good))
        if self.mode == "race":
            return add_note(good[first], f"{self._host(first)} answered first", "regions")
        return add_note(good[first], f"{enough} of {count} regions succeeded, as wanted", "regions")

    def _refuse(self, call: Call) -> Outcome:
        if is_safe_elsewhere(call, self.methods):
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
        return refuse_to_send(error, "regions", f"it cannot be sent to several regions at once: {reason}")

    def _report_no_quorum(self, call: Call, needed: int, bad: dict[int, Outcome], succeeded: int) -> Outcome:
        best = _choose_in_order(bad)
        failures = ", ".join(f"{self._host(number)} {_describe(bad[number])}" for number in sorted(bad))
        error = ServiceUnavailableError(
            f"{call.method} {call.host}: the quorum of {needed} cannot be reached, {len(bad)} of {len(self.urls)} "
            f"regions failed ({failures}) and {succeeded} succeeded; call again later, or lower quorum",
            response=best.response,
            host=call.host,
            retry_after=None if best.failure else verdict_of(call, best).retry_after,
        )
        ending = Ending("regions", f"the quorum of {needed} cannot be reached, {len(bad)} regions failed")
        return replace_error(best._replace(ending=ending), error, best.failure or UNCLASSIFIED)

    def _host(self, number: int) -> str:
        return find_host(self.urls[number])


def _refuse_unencrypted(call: Call, region: str) -> Flow:
    """Return the flow of a call in a region that it is not sent to, because its credentials would go out in clear."""
    reason = f"the region {region} is not encrypted, and the call is"
    message = f"{call.method} {call.host}: not sent, {reason}; name the region by https"
    yield from ()  # a flow without effects
    return refuse_to_send(ConfigurationError(message, host=call.host), "regions", reason)


def _describe(outcome: Outcome) -> str:
    return str(outcome.status) if outcome.failure is None else outcome.failure.name


def _choose_in_order(outcomes: dict[int, Outcome]) -> Outcome:
    """Return the most informative outcome; of equals, that of the region preferred."""
    return choose_most_informative(outcomes[number] for number in sorted(outcomes))
