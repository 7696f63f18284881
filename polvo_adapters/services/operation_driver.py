"""The running of operations of hosted services: generators that yield effects, and are sent what comes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

EffectType = TypeVar("EffectType")
T = TypeVar("T")


def drive(running: Generator[EffectType, Any, T], perform: Callable[[EffectType], Any]) -> T:
    """Run an operation to its end on the calling thread, and return its result.

    Args:
        running: The operation.
        perform: Carries out an effect, and returns what is to be sent in.
    """
    answer: Any = None
    try:
        while True:
            try:
                effect = running.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = perform(effect)
    finally:
        running.close()


async def drive_async(running: Generator[EffectType, Any, T], perform: Callable[[EffectType], Awaitable[Any]]) -> T:
    """Run an operation to its end in a task, and return its result; arguments as for `drive`."""
    answer: Any = None
    try:
        while True:
            try:
                effect = running.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = await perform(effect)
    finally:
        running.close()
