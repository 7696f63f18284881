"""The logical call that the current thread or task is making, so that calls within it keep its deadline.

What is said for single calls, by `polvo_adapters.call`, is kept here as well. Neither reaches into calls that a call
makes for itself, such as the refresh of a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from polvo_adapters.policies.one_call import CallSettings


class CallSpan:
    """How long a logical call lasts: contexts are copied, to threads and tasks that may outlive it."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over = False


class LogicalCall(NamedTuple):
    """A logical call that the next sends are part of.

    Attributes:
        session: The session that follows its redirects, or None.
        at: When it began.
        deadline: When it must be over, or None.
        sent: Whether its first request was sent, so that the next ones are hops.
        is_default: Whether the deadline is that of a session which names none: it binds no body that is streamed, in
            either direction, no wait between attempts, and no call that is made within the call.
        span: Whether it is over already, where that is known.
    """

    session: Any
    at: float
    deadline: float | None = None
    sent: bool = False
    is_default: bool = False
    span: CallSpan | None = None


call_started: ContextVar[LogicalCall | None] = ContextVar("call_started", default=None)
"""The logical call that the next sends are part of."""

call_settings: ContextVar[CallSettings | None] = ContextVar("call_settings", default=None)
"""What is said for the next calls, or None."""


def current_call() -> LogicalCall | None:
    """Return the logical call that the next sends are part of, unless it has ended since the context was copied."""
    logical = call_started.get()
    if logical is not None and logical.span is not None and logical.span.is_over:
        return None
    return logical


def extend_default_deadline(seconds: float) -> None:
    """Leave the next hops of the logical call as much time as if there had been no wait of so many seconds."""
    logical = current_call()
    if logical is not None and logical.is_default and logical.deadline is not None:
        call_started.set(logical._replace(deadline=logical.deadline + seconds))  # until the call is over


@contextmanager
def settings_scope(settings: CallSettings | None) -> Iterator[None]:
    """Let something else, or nothing, be said for the calls within a `with` block."""
    token = call_settings.set(settings)
    try:
        yield
    finally:
        call_settings.reset(token)


@contextmanager
def separate_call(logical: LogicalCall | None, settings: CallSettings | None = None) -> Iterator[None]:
    """Make what the `with` block sends a call of its own, for which nothing is said that was said outside.

    Args:
        logical: The logical call that it is, whose deadline bounds it, or None.
        settings: What is said for it.
    """
    started, token = call_started.set(logical), call_settings.set(settings)
    try:
        yield
    finally:
        call_started.reset(started)
        call_settings.reset(token)
