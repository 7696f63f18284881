"""The logical call that the current thread or task is making, so that calls within it keep its deadline."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import requests


class LogicalCall(NamedTuple):
    """A logical call that the next sends are part of.

    Attributes:
        session: The session that follows its redirects, or None.
        at: When it began.
        deadline: When it must be over, or None.
        sent: Whether its first request was sent, so that the next ones are hops.
        resume: Whether its body goes on where it breaks off; None where the adapter decides.
    """

    session: requests.Session | None
    at: float
    deadline: float | None = None
    sent: bool = False
    resume: bool | None = None


call_started: ContextVar[LogicalCall | None] = ContextVar("call_started", default=None)
"""The logical call that the next sends are part of."""
