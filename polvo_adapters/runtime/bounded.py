"""Calls that cannot be interrupted, such as a name resolution, within a time limit.

The call is made on another thread. Where the time is up first, it is left to that thread, which gives up what it still
gets. Those who ask for the same share one thread, so that a resolver that hangs holds one thread per name and no more.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.shared_call import SharedCall

T = TypeVar("T")


class BoundedCalls:
    """Calls on other threads, at most one at a time for each key.

    It has no lock: of two threads that begin the same at a time, one finds what the other has put in.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, SharedCall[Any]] = {}
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
            key: What is asked for; callers who ask for the same share the call. None shares with no other caller.
            discard: What is done with a result that comes too late for a call that is not shared.

        Raises:
            TimeoutError: The time is up.
        """
        own: SharedCall[T] = SharedCall(float("inf"))
        shared = own if key is None else self._calls.setdefault(key, own)
        if shared is own:
            work = partial(self._run, key, own, function)
            try:
                clock.spawn(work)
            except RuntimeError:  # no thread can be had: without a limit, then
                work()
        try:
            return shared.result(seconds, clock)
        except queue.Empty:
            if key is None:
                own.over.add_done_callback(lambda _: _discard(own, discard))
            raise TimeoutError("the time is up") from None

    def after_fork_in_child(self) -> None:
        """Forget the calls of the parent, whose threads the child has not."""
        self._calls = {}

    def _run(self, key: Hashable, own: SharedCall[T], function: Callable[[], T]) -> None:
        try:
            own.run(lambda _: function())
        finally:
            if self._calls.get(key) is own:
                self._calls.pop(key, None)


def _discard(call: SharedCall[T], discard: Callable[[T], object]) -> None:
    """Give up the result of a call that came too late, where it has one."""
    try:
        result = call.take()
    except BaseException:  # noqa: BLE001 - its caller has stopped waiting
        return
    discard(result)


BOUNDED = BoundedCalls()
"""The calls of this process."""
