"""A context manager as a decorator of functions and coroutine functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar, cast

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def run_within(block: AbstractContextManager[Any], function: AnyFunction, refusal: str) -> AnyFunction:
    """Return a function that runs within a block at every call.

    Args:
        block: The block, which may be entered repeatedly and by several threads and tasks at once.
        function: A function or coroutine function.
        refusal: What is wrong with a generator function, for the message.

    Raises:
        TypeError: It is a generator function, which runs when its result is iterated, outside of the block.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{refusal}; put `with` into {function.__name__}")
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def call_async(*args: Any, **keywords: Any) -> Any:
            with block:
                return await function(*args, **keywords)

        return cast("AnyFunction", call_async)

    @wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        with block:
            return function(*args, **keywords)

    return cast("AnyFunction", call)
