"""The result of a step: a dict with `job_id` and `status`, which can be waited for.

    key               value
    ----------------  ---------------------------------------------------------------------------------------
    job_id            the id of the job at its engine; of a call that was made here, one that no engine knows
    status            "queued", "running", "success", "failed", "in_doubt" or "cancelled"
    executed_locally  whether the call was made in this process before `execute` returned
    status_code       status of the response, or None
    response          body of the response as text, or None
    error             the reason of a failure, or None

All of them are always there. The engine may add others, such as `duplicate`, `region` or `idempotent_key`; a chained
step that was executed here is under `on_success` or `on_failure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polvo_adapters.services.ezthrottle.engine import Engine

FINAL = frozenset({"success", "failed", "in_doubt", "cancelled"})
"""States that do not change by themselves."""


class JobResult(dict[str, Any]):
    """What became of a step; see the keys above.

    Args:
        values: What is known.
        engine: The engine that has the job, or None where the call was made here.
    """

    def __init__(self, values: Mapping[str, Any], engine: Engine | None = None) -> None:
        super().__init__(
            {"executed_locally": engine is None, "status_code": None, "response": None, "error": None, **values}
        )
        self._engine = engine

    def status(self) -> JobResult:
        """Ask the engine, and return what has become of the job by now.

        Raises:
            UnsupportedError: The engine does not know: the result comes to the webhooks.
            UnknownJobError: The engine has the job no more.
        """
        if self._engine is None:
            return self
        return JobResult({**self, **self._engine.status(self["job_id"])}, self._engine)

    def wait(self, timeout: float | None = None) -> JobResult:
        """Wait until the job has ended, and return its result.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            JobTimeoutError: It did not end in time; it goes on.
            UnsupportedError: The engine does not know: the result comes to the webhooks.
        """
        if self._engine is None:
            return self
        return JobResult({**self, **self._engine.wait(self["job_id"], timeout)}, self._engine)

    def cancel(self) -> bool:
        """Take the job back where it has not begun, and return whether that was so."""
        return self._engine is not None and self._engine.cancel(self["job_id"])

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, (dict(self),))  # an engine does not travel
