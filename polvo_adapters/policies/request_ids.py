"""A name for each logical call, by which it is found again in the logs of both sides.

Theory of operation. The shell gives each call its id before the flow begins (`polvo_adapters.shells.request_identity`),
so that all attempts, hedges and redirects carry the same one; nothing is left for the flow to do. It is no idempotency
key: it makes no repeat safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed


@dataclass(frozen=True)
class RequestIDs:
    """Give each call an id: a random UUID, unless the caller has set one.

    Args:
        header: Name of the header.
        correlation_header: Name of the header for the id of whatever the calls are part of, as `correlated` sets it.

    Raises:
        ValueError: A name is none.
    """

    header: str = "X-Request-ID"
    correlation_header: str = "X-Correlation-ID"

    makes_request_ids = True

    def __post_init__(self) -> None:
        for field in ("header", "correlation_header"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"RequestIDs({field}={value!r}): {field} must be the name of a header")

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call."""
        return proceed(call)
