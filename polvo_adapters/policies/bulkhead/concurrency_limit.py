"""How many requests at a time an API serves well, found out from how long they take.

Theory of operation. A server works on so many requests at once; the others that it was sent wait in a queue, and show
as latency. The limit that keeps it busy without a queue is

    slots * latency without a queue / latency now

at any load: below capacity the two latencies are equal, beyond it they differ by the very factor by which there are
too many slots. The square root of the slots is added, so that the limit keeps trying for more: a pool of workers needs
about that much to ride out chance, and clients of one server, which see the same latency, get about the same share.

`base`, the latency without a queue, cannot be seen while there is one. So every now and then the limit is lowered
for a moment: a *look*. Requests are judged in *windows*, of as many as there are slots and no fewer than `_FEWEST`.
Requests that end within one latency of a change of the limit belong to the time before, and are left out.

    what ended                            the limit                               `base`
    ------------------------------------  --------------------------------------  -------------------------------
    a window, the first of all            lowered for a look                      is the latency of the window
    a look, much faster than `base`       lowered further: there was a queue      is the latency of the look
    a look                                back to its value before                learns
    a window that left much unused        stays                                   learns
    a window, at first                    half as much more                       learns
    a window, once latency rose           as above; lowered if a look is due      stays, or comes down if far too high
    a request that the server dropped     a tenth less, once per latency          stays

`base` comes down fast and goes up slowly, because a look that was slow may have met the queue of others. Where the
limit has fallen by half, though, the server may have become slower: looks are then made soon and believed more, as the
limits of all other clients have fallen as well.

"aimd" has no `base` and no looks: its limit grows by one per window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.stored_types import stored_as

_FEWEST = 20  # samples of a window; chance puts their mean off by a fifth where service times are exponential
_TOLERANCE = 1.1  # times latency: a rise that costs nothing, as means of few samples rise by chance
_GROWTH, _CALM = 1.5, 1.3  # how the limit grows at first, per window, and up to which multiple of `base`
_LOOK = 0.6  # part of the limit that is left for a look
_EVERY = 20  # windows between looks; they cost two fifths of the throughput of one
_SOON, _FIRST = 3, 4  # windows between looks as long as `base` is not to be trusted, and looks after which it is
_FALLEN = 0.5  # part of the limit after the last look; where less is left, it is not to be trusted either
_FASTER, _SLOWER = 0.7, 1.5  # times `base`: beyond these a difference is not chance
_UNSURE = 0.85  # instead of _FASTER, as long as `base` is not to be trusted
_WRONG = 1.1  # times `base`: a look that much slower shows that the limit should still grow as at first
_UP, _DOWN = 0.1, 0.5  # how far `base` follows a slower look, at least, and a faster one
_CUT = 0.9  # part of the limit that a drop leaves
_SHORTEST, _LONGEST = 1e-6, 3600.0  # seconds; a longer time shows a suspended machine, not a slow server


class Sample(NamedTuple):
    """The end of a request: its time, the slots in use when it began, itself included, and whether it was dropped."""

    seconds: float
    inflight: int
    dropped: bool


@stored_as("concurrency-limit.1")
class ConcurrencyState(NamedTuple):
    """State of a limit.

    Attributes:
        limit: Slots, with a fraction; its `int()` counts.
        base: Latency without a queue, or 0 while unknown.
        latency: Latency of the last window.
        since: When the limit was last set.
        cut: When it was last lowered because of a drop.
        samples: How many this window has.
        seconds: The sum of their times.
        used: The most slots that were in use.
        held: The limit to go back to after a look, or 0 if this is none.
        level: The limit after the last look, or the highest while it grew as at first.
        windows: How many have ended since the last look.
        looks: How many `base` was learned from.
        climbing: Whether the limit still grows as at first.
    """

    limit: float
    base: float = 0.0
    latency: float = 0.0
    since: float = 0.0
    cut: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    used: int = 0
    held: float = 0.0
    level: float = 0.0
    windows: int = 0
    looks: int = 0
    climbing: bool = True


@dataclass(frozen=True)
class Concurrency:
    """The number of slots at which a server is busy and has no queue.

    Args:
        initial_limit: Slots to begin with.
        min_limit: Never fewer.
        max_limit: Never more.
        strategy: "gradient" learns from latency and drops, "aimd" from drops alone.

    Raises:
        ValueError: A value is out of range.

    Source: Brakmo and Peterson, TCP Vegas; Cardwell and others, BBR; Netflix, concurrency-limits; Envoy, adaptive
    concurrency filter.
    """

    initial_limit: int = 8
    min_limit: int = 1
    max_limit: int = 1000
    strategy: Literal["gradient", "aimd"] = "gradient"

    def __post_init__(self) -> None:
        for field in ("initial_limit", "min_limit"):
            validate.count(self, field, 1)
        validate.count(self, "max_limit", self.min_limit)
        validate.choice(self, "strategy", ("gradient", "aimd"))

    @property
    def initial(self) -> ConcurrencyState:
        """A limit that has learned nothing."""
        return ConcurrencyState(self._clamp(self.initial_limit))

    def learn(self, state: ConcurrencyState, sample: Sample, now: float) -> ConcurrencyState:
        """Return the state after a request is over."""
        if now < state.since:  # another clock, or one that stepped back
            state = state._replace(since=now, cut=now)
        if sample.dropped:
            return self._cut(state, sample, now)
        if now < state.since + state.latency or not 0 <= sample.seconds <= _LONGEST:
            return state
        slots = int(state.limit)
        samples, used = state.samples + 1, max(state.used, min(sample.inflight, slots))
        seconds = state.seconds + max(_SHORTEST, sample.seconds)
        state = state._replace(samples=samples, seconds=seconds, used=used)
        return state if samples < max(_FEWEST, used) else self._end_window(state, now)

    def _clamp(self, limit: float) -> float:
        return float(min(self.max_limit, max(self.min_limit, limit)))

    def _cut(self, state: ConcurrencyState, sample: Sample, now: float) -> ConcurrencyState:
        if now - sample.seconds < state.cut or now < state.cut + state.latency:
            return state  # it was sent before the limit was lowered, or before that could help
        limit = self._clamp(int(state.limit) * _CUT)
        return state._replace(limit=limit, since=now, cut=now, samples=0, seconds=0.0, used=0, held=0.0, climbing=False)

    def _end_window(self, state: ConcurrencyState, now: float) -> ConcurrencyState:
        slots, used = int(state.limit), state.used
        latency = state.seconds / state.samples
        state = state._replace(latency=latency, since=now, samples=0, seconds=0.0, used=0, windows=state.windows + 1)
        if self.strategy == "aimd":
            more = _grow(slots) if state.climbing else state.limit + 1
            return state._replace(limit=self._clamp(more)) if used >= slots else state
        if state.held:
            return self._end_look(state)
        if used <= slots * _LOOK:
            return _learn_base(state)
        if not state.base:
            return self._begin_look(state._replace(base=latency))
        return self._follow(state, slots, used >= slots)

    def _follow(self, state: ConcurrencyState, slots: int, all_used: bool) -> ConcurrencyState:
        latency = state.latency
        climbing = state.climbing and latency < _CALM * state.base
        if climbing or slots == 1:
            state = _learn_base(state)
        elif latency < _FASTER * state.base:
            base = state.base + _DOWN * (latency - state.base)
            state = state._replace(base=base, looks=min(state.looks, 1))
        limit = _grow(slots) if climbing else slots * min(1.0, _TOLERANCE * state.base / latency) + math.sqrt(slots)
        limit = self._clamp(limit if all_used else min(limit, state.limit))
        level = max(limit, state.level) if climbing else state.level
        state = state._replace(limit=limit, level=level, climbing=climbing)
        doubtful = state.looks < _FIRST or limit < _FALLEN * level
        due = state.windows >= (_SOON if doubtful else _EVERY)
        return self._begin_look(state) if due and all_used else state

    def _begin_look(self, state: ConcurrencyState) -> ConcurrencyState:
        return state._replace(held=state.limit, limit=self._clamp(state.limit * _LOOK), windows=0)

    def _end_look(self, state: ConcurrencyState) -> ConcurrencyState:
        base, latency = state.base, state.latency
        faster = _FASTER if state.looks >= _FIRST else _UNSURE
        if latency < faster * base:
            # There was a queue, and there may still be one.
            held, limit = state.held * latency / base, self._clamp(state.limit * _LOOK)
            return state._replace(base=latency, held=held, limit=limit, windows=0)
        learned = _learn_base(state)
        # A limit that came of too low a base is as much too low, but where it was before is high enough to begin with.
        limit = self._clamp(min(state.held * max(1.0, learned.base / base), max(state.held, state.level)))
        climbing = state.climbing or (state.looks < _FIRST and learned.base > _WRONG * base)
        return learned._replace(limit=limit, level=limit, held=0.0, windows=0, climbing=climbing)


def _grow(slots: int) -> float:
    return max(slots + 1, slots * _GROWTH)


def _learn_base(state: ConcurrencyState) -> ConcurrencyState:
    base, latency, looks = state.base, state.latency, state.looks
    if latency > _SLOWER * base:
        looks = min(looks, 1)
    gain = max(_UP, 1 / (1 + looks)) if latency > base else _DOWN
    return state._replace(base=base + gain * (latency - base), looks=looks + 1)
