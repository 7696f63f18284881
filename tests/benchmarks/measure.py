"""How everything here is timed, and how the numbers are put together.

What: seconds per call of several variants of the same work, against one of them, the baseline.

How: in rounds. Each round runs a small batch of every variant, in a new random order. What is reported is the
median over the rounds of the difference, and of the ratio, between a variant and the baseline of the same round,
with the quartiles as spread.

Why that way: a shared machine speeds up and slows down by tens of percent within seconds, so that variants timed
one after the other compare the machine with itself. Variants of one round see nearly the same machine, and a
median does not mind the rounds in which another process woke up. The order is random because what ran before leaves
caches behind.

Garbage collection stays switched on, since a variant that makes more garbage should pay for it. What existed
before the measurement is frozen, and a collection precedes every batch, so that no batch pays for another.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from statistics import median, quantiles
from typing import Any, NamedTuple


def _nothing(_batch: int) -> None:
    pass


class Variant(NamedTuple):
    """One way to do the work.

    Attributes:
        name: For the table.
        call: Does the work once.
        prepare: Called before the clock starts, with the number of calls that follow.
        bar: The promise to print beside the result, or an empty string.
    """

    name: str
    call: Callable[[], object]
    prepare: Callable[[int], object] = _nothing
    bar: str = ""


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        """Return the same in another unit."""
        return Spread(*(factor * value for value in self))


class Result(NamedTuple):
    """What came out for one variant, in seconds.

    Attributes:
        name: Name of the variant.
        seconds: Per call.
        extra: Per call, above the baseline of the same round.
        ratio: To the baseline of the same round.
        bar: The promise, or an empty string.
    """

    name: str
    seconds: Spread
    extra: Spread
    ratio: Spread
    bar: str


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of some numbers."""
    if len(values) == 1:
        return Spread(*values, *values, *values)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def compare(variants: Sequence[Variant], rounds: int, batch: int) -> list[Result]:
    """Time variants against the first of them.

    Args:
        variants: The variants, the baseline first.
        rounds: How often each is measured.
        batch: How many calls one measurement takes together.
    """
    for variant in variants:
        _timed(variant, batch)  # connects, fills caches
    samples: list[list[float]] = [[] for _ in variants]
    order = list(range(len(variants)))
    with _fair_collection():
        for _ in range(rounds):
            random.shuffle(order)
            for index in order:
                samples[index].append(_timed(variants[index], batch))
    return [_result(variant.name, own, samples[0], variant.bar) for variant, own in zip(variants, samples, strict=True)]


async def compare_in_task(variants: Sequence[Variant], rounds: int, batch: int) -> list[Result]:
    """Time variants whose `call` returns something to await; as `compare`, on the running event loop."""
    for variant in variants:
        await _timed_in_task(variant, batch)
    samples: list[list[float]] = [[] for _ in variants]
    order = list(range(len(variants)))
    with _fair_collection():
        for _ in range(rounds):
            random.shuffle(order)
            for index in order:
                samples[index].append(await _timed_in_task(variants[index], batch))
    return [_result(variant.name, own, samples[0], variant.bar) for variant, own in zip(variants, samples, strict=True)]


def _result(name: str, own: Sequence[float], baseline: Sequence[float], bar: str) -> Result:
    pairs = list(zip(own, baseline, strict=True))
    extra = [mine - base for mine, base in pairs]
    ratio = [mine / base for mine, base in pairs]
    return Result(name, spread(own), spread(extra), spread(ratio), bar)


def _timed(variant: Variant, batch: int) -> float:
    variant.prepare(batch)
    call = variant.call
    gc.collect()
    started = time.perf_counter()
    for _ in repeat(None, batch):
        call()
    return (time.perf_counter() - started) / batch


async def _timed_in_task(variant: Variant, batch: int) -> float:
    call: Any = variant.call
    gc.collect()
    started = time.perf_counter()
    for _ in repeat(None, batch):
        await call()
    return (time.perf_counter() - started) / batch


@contextmanager
def _fair_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
