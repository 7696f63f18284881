"""An id for each logical call, by which the logs of both sides can be searched.

The shell gives each call its id before the flow begins (`polvo_adapters.shells.request_identity`), so that all
attempts, hedges and redirects carry the same one, and the flow has nothing to do. The id is not an idempotency key and
makes no repeat safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.keywords import explain_arguments


@explain_arguments
@dataclass(frozen=True)
class RequestIDs:
    """The id of each call: a random UUID, unless the caller has set one.

    Args:
        header: Name of the header.
        correlation_header: Name of the header for the id of the job that calls are part of, which `correlated` sets.

    Raises:
        ValueError: A header cannot have such a name.
    """

    header: str = "X-Request-ID"
    correlation_header: str = "X-Correlation-ID"

    makes_request_ids = True
    stack_option = "request_id"

    def __post_init__(self) -> None:
        for field in ("header", "correlation_header"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"RequestIDs({field}={value!r}): {field} must be the name of a header")

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Return the flow of the call, unchanged."""
        return proceed(call)
