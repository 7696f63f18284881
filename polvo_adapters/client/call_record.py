"""What is known of one call of the resilient client while it is under way, for its errors and its log."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from polvo_adapters.client.config import ClientConfig


class CallRecord(NamedTuple):
    """One call.

    Attributes:
        method: Its HTTP method, in upper case.
        url: Its URL as it may be shown: no user name, no query, no fragment.
        host: Its host.
        request_id: Its `X-Request-ID`.
        config: The settings of its client.
    """

    method: str
    url: str
    host: str
    request_id: str
    config: ClientConfig


current_record: ContextVar[CallRecord | None] = ContextVar("polvo_client_call", default=None)
"""The call that the running task carries out."""
