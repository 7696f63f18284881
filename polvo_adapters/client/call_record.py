"""What is known of one call of the resilient client while it is under way, for its errors and its log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polvo_adapters.client.config import ClientConfig
    from polvo_adapters.core.report import Report


@dataclass(slots=True)
class CallRecord:
    """One call.

    Args:
        method: Its HTTP method, in upper case.
        url: Its URL as it may be shown: no user name, no query, no fragment.
        host: Its host.
        config: The settings of its client.
        target: Its URL in full.

    Attributes:
        request_id: Its `X-Request-ID`, once it is known.
        report: What was performed for the last answer, of which there are several where redirects are followed.
    """

    method: str
    url: str
    host: str
    config: ClientConfig
    target: str = field(repr=False)
    request_id: str = ""
    report: Report | None = field(default=None, repr=False)


current_record: ContextVar[CallRecord | None] = ContextVar("polvo_client_call", default=None)
"""The call that the running task carries out."""
