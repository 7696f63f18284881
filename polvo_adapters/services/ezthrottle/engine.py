"""What an engine owes a client: four calls, in plain values that serialise.

An engine is given jobs (`polvo_adapters.services.ezthrottle.step`) and gives back mappings with `job_id` and `status`.
It may live in this process, at a service, or on workers of the user's own: nothing but JSON passes between the two.
`tests/services/ezthrottle/test_engine_contract.py` is what each engine passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Engine(Protocol):
    """Executes jobs.

    Attributes:
        knows_status: Whether `status`, `wait` and `cancel` work; otherwise they raise UnsupportedError.
        repeats_safely: Whether a repeat of a job's request, with the same key, is safe whatever its method.
    """

    knows_status: bool
    repeats_safely: bool

    def attempt_headers(self, job: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers by which a server recognizes a repeat of the job's request; none, where it does not."""

    def submit(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Accept a job, and return at least `job_id` and `status`; once it returns, the job is not lost.

        A second job with the same key is the same job: the result has its `job_id`, and `duplicate: True` where the
        engine has noticed.

        Raises:
            EZThrottleError: The job was not accepted, or may have been: `InDoubtError`.
        """

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what has become of a job; raise UnknownJobError where there is none."""

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Return the result of a job once it has ended; raise JobTimeoutError where that takes longer."""

    def cancel(self, job_id: str) -> bool:
        """Take a job back where it has not begun, and return whether that was so."""

    def close(self) -> None:
        """Stop, and release what the engine holds; jobs that it has accepted are not lost."""
