"""The calls of one job: its own, and those of its fallbacks; and what they come to.

the call ended with              then
-------------------------------  ------------------------------------------------------------------------------
2xx                              success
a limit or an open circuit       the job waits, and is tried again
a failure that a trigger names   the next fallback is called, and its end counts
a time-out that a trigger names  the same, even where the call may have been made: the caller has said so
a call that may have been made   in doubt, whatever else there is to call
any other failure                failed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from polvo_adapters.services.ezthrottle.engines.local_attempts import Attempts
from polvo_adapters.services.ezthrottle.engines.local_results import make_values
from polvo_adapters.services.ezthrottle.local_call import CallEnd, is_idempotent

_SHORTEST_HOLD, _LONGEST_HOLD = 0.2, 60.0


class JobEnd(NamedTuple):
    """What the calls of a job came to.

    Attributes:
        status: As in a JobResult.
        result: Other values of its result.
        held: Seconds after which the job is to be tried again, where this process held it up; otherwise None.
    """

    status: str
    result: dict[str, Any]
    held: float | None = None

    def __repr__(self) -> str:
        return f"<JobEnd {self.status}>"  # the result holds a body


def execute(attempts: Attempts, job: Mapping[str, Any], job_id: str, *, forget: bool = False) -> JobEnd:
    """Make the calls of a job, and return what they came to.

    Args:
        attempts: Makes the calls.
        job: The job.
        job_id: Its id, which is its key where it has none.
        forget: Whether it was found out that an earlier request was not processed.
    """
    end = attempts.attempt(job, _key_of(job, job_id), _find_limit(job), forget=forget)
    result = make_values(end)
    if end.is_success:
        return JobEnd("success", result)
    fallback = job.get("fallback_job")
    if end.held and fallback is None:
        return JobEnd("failed", result, min(max(end.retry_after or 1.0, _SHORTEST_HOLD), _LONGEST_HOLD))
    doubt, depth = _is_in_doubt(job, end), 0
    while fallback is not None:
        depth += 1
        if _is_triggered(fallback.get("trigger", {}), end, doubt=doubt):
            end = attempts.attempt(fallback, _key_of(fallback, f"{job_id}-{depth}"), _find_limit(fallback))
            result = {**make_values(end), "fallback": depth}
            if end.is_success:
                return JobEnd("success", result)
            doubt = doubt or _is_in_doubt(fallback, end)
        fallback = fallback.get("fallback_job")
    return JobEnd("in_doubt" if doubt else "failed", result)


def _is_in_doubt(job: Mapping[str, Any], end: CallEnd) -> bool:
    if end.in_doubt:
        return True
    return not end.status and not end.unsent and not is_idempotent(job["method"])


def _key_of(job: Mapping[str, Any], job_id: str) -> str:
    key: str = job.get("idempotent_key") or job_id
    return key


def _find_limit(job: Mapping[str, Any]) -> float | None:
    """Return the seconds that the call of a job may take: until it counts as failed, or a fallback takes its place."""
    trigger = job.get("fallback_job", {}).get("trigger", {})
    limits = [each for each in (job.get("on_failure_timeout_ms"), trigger.get("timeout_ms")) if each is not None]
    return min(limits) / 1000 if limits else None


def _is_triggered(trigger: Mapping[str, Any], end: CallEnd, *, doubt: bool) -> bool:
    if "timeout_ms" in trigger and end.timeout:
        return True  # the caller has said so, and for a POST as well
    if doubt:
        return False
    if "codes" not in trigger:
        return "timeout_ms" not in trigger
    return end.status in trigger["codes"] or (not end.status and not end.timeout)
