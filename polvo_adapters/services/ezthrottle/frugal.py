"""FRUGAL: the call is made in this process first, and becomes a job only where that can help and harms nothing.

    the call ended with           and then
    ----------------------------  ----------------------------------------------------------------------------------
    2xx                           on_success is executed; if that fails, the result says so, and nothing is repeated
    any failure                   FRUGAL fallbacks whose trigger fits are made here, the first success is the result
    a status that forwards        the whole job is submitted, with everything that is chained to it
    no answer, nothing was sent   the same
    no answer, and it was sent    the same for GET, PUT, DELETE ...; a POST or PATCH raises InDoubtError
    any other status              failed; on_failure is executed

A status forwards if `fallback_on_error` names it. Where the step names none, 429, 500, 502, 503 and 504 do; but then a
POST or PATCH is forwarded only if the server says that it was not processed: 429, or 503 with Retry-After. The engine
changes that where its repeats are safe, as the server recognizes them by their key.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from polvo_adapters.errors import PolvoError
from polvo_adapters.services.ezthrottle.errors import EZThrottleError, InDoubtError
from polvo_adapters.services.ezthrottle.local_call import CallEnd, is_idempotent, make_call
from polvo_adapters.services.ezthrottle.results import JobResult
from polvo_adapters.services.ezthrottle.step import FORWARDED_CODES, FallbackStep, Job, Step, StepType

if TYPE_CHECKING:
    from polvo_adapters.services.ezthrottle.engine import Engine
    from polvo_adapters.shells.requests.session import Session


class FrugalClient(Protocol):
    """What a client has for calls that are made in this process.

    Attributes:
        engine: Executes the jobs that become of them.
        session: Makes the calls.
    """

    engine: Engine
    session: Session

    def make_retry(self, forwarded: Collection[int]) -> Any:
        """Return the retries of a call, given the statuses on which it is forwarded."""

    def execute_step(self, step: Step) -> JobResult:
        """Execute a step that follows."""


class FrugalRun:
    """One execution of a FRUGAL step.

    Args:
        client: The client that executes it.
        step: The step.
    """

    def __init__(self, client: FrugalClient, step: Step) -> None:
        self._client = client
        self._step = step
        self._job = step.to_job()

    def execute(self) -> JobResult:
        """Make the call, and return its result, or that of the job that it became."""
        end = self._call(self._step, self._job)
        if end.is_success:
            return self._finish(self._step, make_result(end))
        result, fallback = self._try_fallbacks(self._step, end)
        if result is not None:
            return self._finish(self._step, result)
        if self._is_in_doubt(self._step, end):
            raise make_doubt(self._job, end)
        if self._forwards(self._step, end):
            return JobResult(self._client.engine.submit(self._job), self._client.engine)
        if fallback is not None:
            return JobResult(self._client.engine.submit(fallback.step.to_job()), self._client.engine)
        return self._fail(self._step, end)

    def _call(self, step: Step, job: Job) -> CallEnd:
        codes = FORWARDED_CODES if step._forwarded is None else step._forwarded
        milliseconds = [each.timeout_ms for each in step._fallbacks if each.timeout_ms is not None]
        milliseconds += [job["on_failure_timeout_ms"]] if "on_failure_timeout_ms" in job else []
        seconds = min([step._local_timeout, *(each / 1000 for each in milliseconds)])
        fields = {**job.get("headers", {})}
        names = {name.lower() for name in fields}
        fields.update({n: v for n, v in self._client.engine.attempt_headers(job).items() if n.lower() not in names})
        retry = self._client.make_retry(codes)
        return make_call(self._client.session, job, headers=fields, timeout=seconds, deadline=seconds, retry=retry)

    def _try_fallbacks(self, step: Step, end: CallEnd) -> tuple[JobResult | None, FallbackStep | None]:
        """Return the result of the first fallback that succeeds here, or the first that an engine has to run."""
        for each in step._fallbacks:
            if not self._is_triggered(step, each, end):
                continue
            if each.step._type is StepType.PERFORMANCE:
                return None, each
            job = each.step.to_job()
            other = self._call(each.step, job)
            if other.is_success:
                return self._finish(each.step, make_result(other, fallback=True)), None
            result, fallback = self._try_fallbacks(each.step, other)
            if result is not None or fallback is not None:
                return result, fallback
            if self._is_in_doubt(each.step, other):  # the engine would run it once more
                raise make_doubt(job, other)
        return None, None

    def _is_triggered(self, step: Step, fallback: FallbackStep, end: CallEnd) -> bool:
        if fallback.timeout_ms is not None and end.timeout:
            return True  # the caller has said so, and for a POST as well
        if self._is_in_doubt(step, end):
            return False
        if fallback.codes is None:
            return fallback.timeout_ms is None
        return end.status in fallback.codes or (not end.status and not end.timeout)

    def _is_in_doubt(self, step: Step, end: CallEnd) -> bool:
        """Return whether the call may have been made, so that it must not be made again."""
        if end.status or end.unsent or self._client.engine.repeats_safely:
            return False
        return not is_idempotent(step._fields["method"])

    def _forwards(self, step: Step, end: CallEnd) -> bool:
        if not end.status:
            return True
        if step._forwarded is not None:
            return end.status in step._forwarded
        is_safe = end.declined or is_idempotent(step._fields["method"]) or self._client.engine.repeats_safely
        return end.status in FORWARDED_CODES and is_safe

    def _finish(self, step: Step, result: JobResult) -> JobResult:
        if step._success is not None:
            result["on_success"] = self._follow(step._success)
        return result

    def _fail(self, step: Step, end: CallEnd) -> JobResult:
        result = make_result(end)
        if step._forwarded is None and end.status in FORWARDED_CODES:
            result["error"] += (
                f"; not forwarded, as the server may have processed the {step._fields['method']}: name {end.status} in "
                "fallback_on_error to forward it"
            )
        if step._failure is not None:
            result["on_failure"] = self._follow(step._failure)
        return result

    def _follow(self, step: Step) -> dict[str, Any]:
        """Execute a chained step; its failure must not hide the result of the first, nor repeat it."""
        try:
            return dict(self._client.execute_step(step))
        except EZThrottleError as error:
            status = "in_doubt" if isinstance(error, InDoubtError) else "failed"
            return {"job_id": None, "status": status, "error": str(error)}


def make_result(end: CallEnd, **more: Any) -> JobResult:
    """Return the result of a call that was made here and answered."""
    values: dict[str, Any] = {
        "job_id": f"local_{uuid.uuid4()}",
        "status": "success" if end.is_success else "failed",
        "executed_locally": True,
        "status_code": end.status or None,
        "response": end.text if end.is_success else None,
        "error": None if end.is_success else f"Request failed: {end.status}" if end.status else end.problem,
    }
    return JobResult({**values, **more})


def make_doubt(job: Job, end: CallEnd) -> PolvoError:
    """Return the error for a call that may have been made."""
    return InDoubtError(
        f"{end.problem}: the {job['method']} may have been processed, and its answer is lost; it was not sent "
        "again and not forwarded: find out on the other side, or execute it with a key that the server honours",
        key=job.get("idempotent_key", ""),
        attempts=end.attempts,
        reason="in doubt",
    )
