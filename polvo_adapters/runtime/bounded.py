"""Calls that cannot be interrupted, such as a name resolution, within a time limit.

The call is made on another thread. Where the time is up first, it is left to that thread, which gives up what it still
gets. Calls for the same thing share one thread, so that a resolver that hangs holds one thread per name and no more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import Clock

T = TypeVar("T")


class _Pending:
    """A call in progress on another thread, and those who wait for it."""

    def __init__(self) -> None:
        self.waiting: list[queue.SimpleQueue[tuple[Any, BaseException | None]]] = []


class BoundedCalls:
    """Calls on other threads, at most one at a time for each key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[Hashable, _Pending] = {}
        forks.register(self)

    def call(
        self,
        clock: Clock,
        seconds: float,
        function: Callable[[], T],
        *,
        key: Hashable = None,
        discard: Callable[[T], object] = id,
    ) -> T:
        """Return what a function returns, or raise what it raises, within a time limit.

        Args:
            clock: Time and threads.
            seconds: The time limit.
            function: The function.
            key: What is asked for; callers who ask for the same share the call. None shares with nobody.
            discard: What is done with a result that nobody waits for any more.

        Raises:
            TimeoutError: The time is up.
        """
        results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        key = object() if key is None else key
        if self._join(key, results):
            try:
                clock.spawn(lambda: self._run(key, function, discard))
            except RuntimeError:  # no thread can be had: without a limit, then
                self._run(key, function, discard)
        try:
            result, error = clock.take(results, seconds)
        except queue.Empty:
            if self._leave(key, results):
                raise TimeoutError("the time is up") from None
            result, error = results.get()  # it came at the last moment
        if error is not None:
            try:
                raise error
            finally:
                del error  # see errors.py, "Errors and frames"
        found: T = result
        return found

    def after_fork_in_child(self) -> None:
        """Forget the calls of the parent, and their lock."""
        self._lock = threading.Lock()
        self._pending = {}

    def _join(self, key: Hashable, results: queue.SimpleQueue[Any]) -> bool:
        """Wait for the call of a key, and return whether it has yet to be begun."""
        with self._lock:
            is_new = key not in self._pending
            self._pending.setdefault(key, _Pending()).waiting.append(results)
            return is_new

    def _leave(self, key: Hashable, results: queue.SimpleQueue[Any]) -> bool:
        """Stop waiting, and return False where the result has come."""
        with self._lock:
            pending = self._pending.get(key)
            if pending is None or results not in pending.waiting:
                return False
            pending.waiting.remove(results)
            return True

    def _run(self, key: Hashable, function: Callable[[], T], discard: Callable[[T], object]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait raise it
            failure = error
        with self._lock:
            pending = self._pending.pop(key, None)
            waiting = [] if pending is None else pending.waiting
            for results in waiting:
                results.put((result, failure))
        if not waiting and failure is None:
            discard(result)
        del failure  # see errors.py, "Errors and frames"


BOUNDED = BoundedCalls()
"""The calls of this process."""
