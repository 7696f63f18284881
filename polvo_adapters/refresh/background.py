"""Refreshes that run beside the calls that need them, shared by all that need the same, and few at a time.

Theory of operation. A refresh is completed even if the call that began it has no more time: its result serves the next
call. So it runs on another thread, and the call waits for it no longer than it may. Calls that need the same value
while it is being refreshed join: a token endpoint that hangs costs one thread per token, however many calls give it up.

**No thread.** There are at most 64 of these threads. Where all are busy, where the system has no more, and where the
interpreter shuts down, a refresh ahead of time is left out, and any other runs on the thread of the call that needs it,
within the time of that call.

**The end of the process** does not wait for these threads, with one exception. While a refresh uses something that the
server accepts only once, such as a refresh token that is replaced at each use, the response must not be lost. The
process then ends once the refresh does, or three seconds after it was sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

from polvo_adapters.context.call import call_settings, call_started
from polvo_adapters.core.report import Entry
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.shared_call import SharedCall
from polvo_adapters.runtime.workers import NoThreadError, Workers

T = TypeVar("T")

LONGEST_EXIT = 3.0
"""Seconds after it was begun, and again after it is sent, for which a refresh may keep the process from ending."""

REFRESHERS = Workers("token refresh", 64)
"""The threads of all refreshes of this process."""


class _Task:
    """What runs on a refresh thread, in a context."""

    def __init__(self, work: Callable[[], object], context: Context) -> None:
        self._work, self._context = work, context
        self._is_over = threading.Event()
        self._exit_at: float | None = None

    def __call__(self) -> None:
        """Do the work."""
        self._context.run(self._run)

    def _run(self) -> None:
        call_started.set(None)
        call_settings.set(None)
        _current.set(self)
        try:
            self._work()
        finally:
            self.end()

    def end(self) -> None:
        """Let the process end."""
        self._is_over.set()

    def delay_exit(self) -> None:
        """Keep the process from ending, by a thread that is no daemon, until the work is done or has taken too long."""
        is_first, self._exit_at = self._exit_at is None, SYSTEM.now() + LONGEST_EXIT
        if is_first:
            guard = threading.Thread(target=self._wait, name="end of a refresh", daemon=False)
            with suppress(RuntimeError):  # the process is ending already
                guard.start()

    def _wait(self) -> None:
        while self._exit_at is not None and (seconds := self._exit_at - SYSTEM.now()) > 0:
            if self._is_over.wait(seconds):
                return


_current: ContextVar[_Task | None] = ContextVar("current_refresh", default=None)


def start(work: Callable[[], object], name: str, context: Context | None = None, *, delays_exit: bool = False) -> None:
    """Run a refresh on another thread.

    Args:
        work: The refresh.
        name: Name of the thread meanwhile.
        context: The context that it runs in; by default an empty one.
        delays_exit: Whether it uses something that is accepted only once, as `delay_exit` says later.

    Raises:
        NoThreadError: There is no thread for it.
    """
    task = _Task(work, Context() if context is None else context)
    if delays_exit:
        task.delay_exit()  # first, or the refresh may be about to do so while the process ends
    try:
        REFRESHERS.run(task, name)
    except NoThreadError:
        task.end()
        raise


def delay_exit() -> None:
    """Say that the refresh on this thread uses something that the server accepts only once."""
    task = _current.get()
    if task is not None:
        task.delay_exit()


class SharedCalls:
    """The refreshes in progress of one object, by what they refresh.

    It has no lock: of two threads that begin the same at a time, one finds what the other has put in.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, SharedCall[Any]] = {}
        forks.register(self)

    def join(
        self, key: Hashable, work: Callable[[list[Entry]], T], now: float, seconds: float, *, delays_exit: bool = False
    ) -> SharedCall[T]:
        """Return the refresh in progress, which is begun where there is none, in the context of this call.

        Args:
            key: What is refreshed.
            work: Refreshes it; it is given the list that the entries of the report are appended to.
            now: The time.
            seconds: How long it may be joined; a call that comes later begins another.
            delays_exit: See `start`.

        Raises:
            NoThreadError: There is no thread for it.
        """
        found = self._calls.get(key)
        if found is not None and (now >= found.expires_at or found.over.done()):  # its thread has yet to forget it
            self._forget(key, found)
        own: SharedCall[T] = SharedCall(now + seconds)
        shared = self._calls.setdefault(key, own)
        if shared is own:
            self._begin(key, own, work, delays_exit)
        return shared

    def _begin(self, key: Hashable, own: SharedCall[T], work: Callable[[list[Entry]], T], delays_exit: bool) -> None:
        try:
            start(partial(self._run, key, own, work), "token refresh", copy_context(), delays_exit=delays_exit)
        except NoThreadError as error:
            self._forget(key, own)
            own.cancel(error)  # for those who have joined meanwhile
            raise

    def _run(self, key: Hashable, own: SharedCall[T], work: Callable[[list[Entry]], T]) -> None:
        try:
            own.run(work)
        finally:
            self._forget(key, own)

    def _forget(self, key: Hashable, shared: SharedCall[Any]) -> None:
        if self._calls.get(key) is shared:
            self._calls.pop(key, None)

    def after_fork_in_child(self) -> None:
        """Forget them all: their threads are the parent's."""
        self._calls.clear()
