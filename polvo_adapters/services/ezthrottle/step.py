"""The builder: a `Step` says what call is to be made, where, how often, and what comes after it.

Theory of operation. A step is a value until it is executed: each setter checks its argument, copies it and returns the
step. `to_job` compiles it to a job: a dict of plain values that serialise, with the names that the service has on the
wire. A job is all that an engine is given. A default is left out of it, as the published client does.

    step                              job
    --------------------------------  -------------------------------------------------------------------------
    fallback(a), fallback(b)          fallback_job: a, at the end of whose own chain is b
    fallback(a, codes, milliseconds)  its trigger: {"type": "on_error", "codes": [...], "timeout_ms": ...}
    on_success(a), on_failure(a)      on_success, on_failure: the job of a
    IdempotentStrategy.UNIQUE         idempotent_key: a new UUID each time that the step is compiled
    type, fallback_on_error,          nothing: they say what this process does before there is a job
    local_timeout, description
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from polvo_adapters.core.calls import find_host
from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.ezthrottle import checks

if TYPE_CHECKING:
    from polvo_adapters.services.ezthrottle.results import JobResult

Job: TypeAlias = "dict[str, Any]"
"""A job in plain values that serialise, by the names of the wire."""

FORWARDED_CODES = (429, 500, 502, 503, 504)
"""Statuses on which a FRUGAL step is forwarded that names none."""
LOCAL_TIMEOUT = 30.0

_DEEPEST = 32


class StepType(str, enum.Enum):
    """Where a step begins: at the engine (PERFORMANCE), or in this process (FRUGAL)."""

    PERFORMANCE = "performance"
    FRUGAL = "frugal"


class IdempotentStrategy(str, enum.Enum):
    """Which jobs are the same: those with equal URL, method and body (HASH), or none (UNIQUE)."""

    HASH = "hash"
    UNIQUE = "unique"


class StepExecutor(Protocol):
    """What executes steps: a client."""

    def execute_step(self, step: Step) -> JobResult:
        """Execute a step, and return its result."""


@unpicklable
class FallbackStep(NamedTuple):
    """A step that takes the place of another.

    Attributes:
        step: The step.
        codes: Statuses on which it does; None where none were named.
        timeout_ms: Milliseconds without an answer after which it does, or None.
    """

    step: Step
    codes: tuple[int, ...] | None
    timeout_ms: int | None

    def trigger(self) -> dict[str, Any]:
        """Return the trigger as it is on the wire."""
        if self.codes is None and self.timeout_ms is None:
            return {}
        trigger: dict[str, Any] = {"type": "on_timeout" if self.codes is None else "on_error"}
        if self.codes is not None:
            trigger["codes"] = list(self.codes)
        if self.timeout_ms is not None:
            trigger["timeout_ms"] = self.timeout_ms
        return trigger

    def __repr__(self) -> str:
        return f"<FallbackStep {self.step!r} {self.trigger()}>"


@unpicklable
class Step:
    """A call that is executed as a job; every setter returns the step, and raises ArgumentError for a bad value.

    Args:
        client: The client that executes it, unless `execute` is given another.
    """

    def __init__(self, client: StepExecutor | None = None) -> None:
        if client is not None and not hasattr(client, "execute_step"):
            raise checks.refuse("client", f"it must be an EZThrottle, and is of type {type(client).__name__}")
        self._client = client
        self._fields: dict[str, Any] = {"method": "GET"}
        self._type = StepType.PERFORMANCE
        self._strategy = IdempotentStrategy.HASH
        self._fallbacks: list[FallbackStep] = []
        self._success: Step | None = None
        self._failure: Step | None = None
        self._forwarded: tuple[int, ...] | None = None
        self._local_timeout = LOCAL_TIMEOUT
        self._notes: dict[str, str] = {}

    # ---- The call

    def type(self, value: StepType | str) -> Step:
        """Say where the step begins; PERFORMANCE by default."""
        words = tuple(each.value for each in StepType)
        self._type = StepType(checks.check_word("type", value, words))
        return self

    def url(self, value: str) -> Step:
        """Set the URL, which every step needs."""
        self._fields["url"] = checks.check_url("url", value)
        return self

    def method(self, value: str) -> Step:
        """Set the HTTP method; GET by default."""
        self._fields["method"] = checks.check_method(value)
        return self

    def headers(self, value: Mapping[str, str]) -> Step:
        """Set the headers of the call, its credentials among them: they go to the engine and to the URL."""
        self._fields["headers"] = checks.check_headers(value)
        return self

    def body(self, value: str) -> Step:
        """Set the body, a string; `json.dumps` makes one of a value."""
        self._fields["body"] = checks.check_body(value)
        return self

    def metadata(self, value: Mapping[str, Any]) -> Step:
        """Set values that come back with the result."""
        self._fields["metadata"] = checks.check_metadata(value)
        return self

    # ---- Where it runs, and how often

    def regions(self, value: Iterable[str]) -> Step:
        """Name the regions to run in."""
        self._fields["regions"] = checks.check_regions("regions", value)
        return self

    def region_policy(self, value: str) -> Step:
        """Say what happens where a region is down: "fallback" (default) goes on to another, "strict" does not."""
        self._fields["region_policy"] = checks.check_word("region_policy", value, ("fallback", "strict"))
        return self

    def execution_mode(self, value: str) -> Step:
        """Say what several regions are for: "race" (default) for the first completion, "fanout" for all of them."""
        self._fields["execution_mode"] = checks.check_word("execution_mode", value, ("race", "fanout"))
        return self

    def retry_policy(self, value: Mapping[str, Any]) -> Step:
        """Set `max_retries`, `max_reroutes`, `retry_codes` (same region) and `reroute_codes` (another region)."""
        self._fields["retry_policy"] = checks.check_retry_policy(value)
        return self

    def retry_at(self, value: int) -> Step:
        """Set the Unix time in milliseconds before which the engine does not begin."""
        self._fields["retry_at"] = checks.check_time("retry_at", value)
        return self

    def fallback_on_error(self, value: Iterable[int]) -> Step:
        """Name the statuses on which a FRUGAL step is forwarded to the engine."""
        self._forwarded = tuple(checks.check_codes("fallback_on_error", value))
        return self

    def local_timeout(self, value: float) -> Step:
        """Set the seconds that a FRUGAL step may wait for its answer in this process; 30 by default."""
        self._local_timeout = checks.check_seconds("local_timeout", value)
        return self

    # ---- Which jobs are the same

    def idempotent_strategy(self, value: IdempotentStrategy | str) -> Step:
        """Say which jobs are the same where there is no key; HASH by default."""
        words = tuple(each.value for each in IdempotentStrategy)
        self._strategy = IdempotentStrategy(checks.check_word("idempotent_strategy", value, words))
        return self

    def idempotent_key(self, value: str) -> Step:
        """Set the key of the job; a second job with it is the same one."""
        self._fields["idempotent_key"] = checks.check_key("idempotent_key", value)
        return self

    # ---- What comes after it

    def webhooks(self, value: Iterable[Mapping[str, Any]]) -> Step:
        """Say where the result is delivered to: mappings with "url", and "regions" and "has_quorum_vote" if needed."""
        self._fields["webhooks"] = checks.check_webhooks(value)
        return self

    def webhook_quorum(self, value: int) -> Step:
        """Set how many of the webhooks that have a vote must be delivered; 1 by default."""
        self._fields["webhook_quorum"] = checks.check_count("webhook_quorum", value, 1)
        return self

    def on_success(self, step: Step) -> Step:
        """Set the step that follows where this one succeeds."""
        self._success = _require_step("on_success", step)
        return self

    def on_failure(self, step: Step, timeout_ms: int | None = None) -> Step:
        """Set the step that follows where this one has failed for good.

        Args:
            step: The step.
            timeout_ms: Milliseconds after which the job counts as failed.
        """
        self._failure = _require_step("on_failure", step)
        self._fields.pop("on_failure_timeout_ms", None)
        if timeout_ms is not None:
            self._fields["on_failure_timeout_ms"] = checks.check_count("on_failure.timeout_ms", timeout_ms, 1)
        return self

    def fallback(
        self, step: Step, trigger_on_error: Iterable[int] | None = None, trigger_on_timeout: int | None = None
    ) -> Step:
        """Add a step that takes the place of this one; of several, the first is tried first.

        Args:
            step: The step.
            trigger_on_error: Statuses on which it does.
            trigger_on_timeout: Milliseconds without an answer after which it does. With neither, any failure counts.
        """
        codes = None if trigger_on_error is None else tuple(checks.check_codes("trigger_on_error", trigger_on_error))
        if trigger_on_timeout is not None:
            checks.check_count("trigger_on_timeout", trigger_on_timeout, 1)
        self._fallbacks.append(FallbackStep(_require_step("fallback", step), codes, trigger_on_timeout))
        return self

    # ---- Words for people, which stay here

    def description(self, value: str) -> Step:
        """Note what the step is for; it is not sent."""
        self._notes["description"] = checks.check_body(value)
        return self

    def response_description(self, value: str) -> Step:
        """Note what the response is; it is not sent."""
        self._notes["response_description"] = checks.check_body(value)
        return self

    # ---- What becomes of it

    def execute(self, client: StepExecutor | None = None) -> JobResult:
        """Execute the step, and return its result, a dict with `job_id` and `status`.

        Args:
            client: The client; by default that of the constructor.

        Raises:
            ArgumentError: A field is missing or contradicts another; nothing was sent.
            InDoubtError: A FRUGAL call may have been processed and its answer is lost.
            EZThrottleError: The job could not be submitted.
        """
        chosen = self._client if client is None else client
        if chosen is None:
            raise checks.refuse("client", "there is none; use Step(client) or execute(client)")
        return chosen.execute_step(self)

    def to_job(self, new_key: Callable[[], str] = lambda: str(uuid.uuid4())) -> Job:
        """Compile the step to a job: plain values that serialise, and all that an engine is given.

        Args:
            new_key: Makes the key of a step that is UNIQUE.

        Raises:
            ArgumentError: A field is missing or contradicts another.
        """
        return _compile(self, new_key, ())

    def __copy__(self) -> Step:
        """Return a step of its own with the same fields and the same chained steps."""
        other = Step(self._client)
        vars(other).update(vars(self))
        other._fields, other._fallbacks, other._notes = dict(self._fields), list(self._fallbacks), dict(self._notes)
        return other

    def __repr__(self) -> str:
        where = find_host(self._fields["url"].rpartition("@")[2]) if "url" in self._fields else "without a URL"
        return f"<Step {self._type.value} {self._fields['method']} {where}>"


_LEFT_OUT: dict[str, Any] = {"webhook_quorum": 1, "region_policy": "fallback", "execution_mode": "race"}
_ORDER = (
    *("url", "method", "headers", "body", "metadata", "webhooks", "webhook_quorum", "regions", "region_policy"),
    *("execution_mode", "retry_policy"),
)
_LAST = ("on_failure_timeout_ms", "idempotent_key", "retry_at")


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raise ArgumentError where fields of one job are missing or contradict each other."""
    if not fields.get("url"):
        raise checks.refuse("url", "there is none, and every step needs one")
    checks.check_quorum(fields.get("webhook_quorum", 1), fields.get("webhooks", ()))


def order_fields(fields: Mapping[str, Any], links: Mapping[str, Any]) -> Job:
    """Return a job without its defaults and empty fields, in the order of the wire."""
    chosen = {
        name: value
        for name, value in fields.items()
        if value != _LEFT_OUT.get(name) and value not in (None, "", [], {})
    }
    job = {name: chosen[name] for name in _ORDER if name in chosen}
    job.update(links)
    job.update({name: chosen[name] for name in _LAST if name in chosen})
    return job


def _compile(step: Step, new_key: Callable[[], str], above: tuple[Step, ...]) -> Job:
    if any(step is each for each in above):
        raise checks.refuse("step", "it is chained to itself, and would never end")
    if len(above) >= _DEEPEST:
        raise checks.refuse("step", f"more than {_DEEPEST} steps are chained one in the other")
    above = (*above, step)
    fields = step._fields
    check_fields(fields)
    links: Job = {}
    if step._fallbacks:
        links["fallback_job"] = _chain(step._fallbacks, new_key, above)
    if step._success is not None:
        links["on_success"] = _compile(step._success, new_key, above)
    if step._failure is not None:
        links["on_failure"] = _compile(step._failure, new_key, above)
    if "idempotent_key" not in fields and step._strategy is IdempotentStrategy.UNIQUE:
        fields = {**fields, "idempotent_key": new_key()}
    return order_fields(fields, links)


def _chain(fallbacks: list[FallbackStep], new_key: Callable[[], str], above: tuple[Step, ...]) -> Job:
    """Return the first fallback, at the end of whose own chain are the others."""
    first: Job = {}
    last = first
    for each in fallbacks:
        job = _compile(each.step, new_key, above)
        job["trigger"] = each.trigger()
        if not first:
            first = job
        else:
            last["fallback_job"] = job
        last = job
        while "fallback_job" in last:
            last = last["fallback_job"]
    return first


def _require_step(field: str, step: object) -> Step:
    if not isinstance(step, Step):
        raise checks.refuse(field, f"it must be a Step, without execute(), and is of type {type(step).__name__}")
    return step
