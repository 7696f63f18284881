"""What a verb of the client returns: a coroutine that can also be asked whether it is done, and be cancelled.

Theory of operation. `await client.get(...)`, `asyncio.gather`, `asyncio.create_task`, `asyncio.timeout` and task groups
take coroutines. Code that keeps calls in a list, to cancel those that are left, asks them `done()` and calls
`cancel()`, as of tasks. An `asyncio.Task` has both but is no coroutine, so `create_task` and task groups would not take
it; and it would send the request of a call that was never awaited. A PendingCall is a coroutine, and begins when it is
awaited. It remembers the task that runs it, and `cancel` cancels that.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class PendingCall(Coroutine[Any, Any, T]):
    """A call that was made and is not finished: to be awaited once, like any coroutine.

    Args:
        coroutine: What carries it out.
        name: Its name, as asyncio shows it, and warns of a coroutine that was never awaited.
    """

    __slots__ = ("__weakref__", "_coroutine", "_is_cancelled", "_is_done", "_is_started", "_name", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        named: Any = coroutine
        named.__name__, named.__qualname__ = name.rpartition(".")[2], name
        self._coroutine, self._name = coroutine, name
        self._task: asyncio.Task[Any] | None = None
        self._is_started = self._is_done = self._is_cancelled = False

    def done(self) -> bool:
        """Return whether the call has ended, with a response or an error, or was cancelled."""
        return self._is_done

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self._is_cancelled

    def cancel(self, msg: str | None = None) -> bool:
        """Cancel the call: the task that waits for it, or, where it has not begun, the call itself.

        Args:
            msg: A message for the CancelledError.

        Returns:
            Whether there was something left to cancel.
        """
        if self._is_done:
            return False
        if not self._is_started:
            self._is_cancelled = True
            self.close()
            return True
        return self._task is not None and self._task.cancel(msg)

    def send(self, value: Any) -> Any:
        """Run the call until it waits; event loops call this."""
        self._begin()
        try:
            return self._coroutine.send(value)
        except BaseException as error:
            self._end(error)
            raise

    def throw(self, *arguments: Any) -> Any:
        """Raise an exception where the call waits; event loops call this."""
        self._begin()
        try:
            return self._coroutine.throw(*arguments)
        except BaseException as error:
            self._end(error)
            raise

    def close(self) -> None:
        """End the call where it is; one that has not begun sends nothing."""
        self._is_done = True
        self._task = None
        self._coroutine.close()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, T]: ...

    else:  # what `await` needs; a type checker would take the class for a generator

        def __await__(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return self.send(None)

        def __getattr__(self, name: str) -> Any:
            if name in ("__name__", "__qualname__"):  # asyncio shows them; a class cannot define its own
                return getattr(self._coroutine, name)
            raise AttributeError(f"PendingCall has no attribute {name!r}; await it to have the response")

    def __repr__(self) -> str:
        state = "done" if self._is_done else "under way" if self._is_started else "not begun"
        return f"<PendingCall {self._name}, {state}>"

    def _begin(self) -> None:
        if self._is_cancelled and not self._is_started:
            raise asyncio.CancelledError
        if self._is_done:
            raise RuntimeError("this call was awaited already; make another one")
        if not self._is_started:
            self._is_started, self._task = True, _find_task()

    def _end(self, error: BaseException) -> None:
        self._is_done, self._task = True, None
        self._is_cancelled = isinstance(error, asyncio.CancelledError)


def _find_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # run by another library than asyncio
        return None


def marks_coroutine(function: AnyFunction) -> AnyFunction:
    """Let a function that returns a PendingCall count as a coroutine function: mocks and decorators ask for it."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function
