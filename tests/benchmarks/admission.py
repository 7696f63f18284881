"""What a turn costs: a request for it and the report of its result, without any network.

What: `TurnRequest` and `TurnResult` put to a MemoryStore for a request that need not wait, minus the same two events
for a machine that does nothing. Bar: 6 µs, with one quota announced in every answer.

How: the answers are made before the clock starts, each with one request less remaining than the one before, as a
server would announce them to a client that is alone. A batch runs against a new store, warmed up by a few answers,
so that none of its requests has to wait.

Why that way: reading the headers is measured by `headers`, and building effects and driving them by `adapter`; what
is left is what the limiter itself adds to every call.
"""

from __future__ import annotations

from typing import Any

from polvo_adapters.core.machines import Event, Machine
from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult
from polvo_adapters.stores.memory import MemoryStore
from tests.benchmarks.measure import Result, Variant, compare

BAR = "≤ 6 µs more"
_WARM = 8
_ASK = TurnRequest("items", -1, 0, 60.0, None)


class NoMachine:
    """Grants everything and learns nothing."""

    initial = None
    _granted = Turn()

    def transition(self, state: Any, _event: Any, _now: float) -> tuple[Any, Turn]:
        """Return the state as it is."""
        return state, self._granted


class Turns:
    """Takes one turn after another from a machine."""

    def __init__(self, machine: Machine, *quotas: Quota) -> None:
        self._machine, self._quotas = machine, quotas
        self._store = MemoryStore()
        self._answers: list[TurnResult] = []

    def prepare(self, batch: int) -> None:
        """Make the answers of the next turns, and learn from the first."""
        self._store = MemoryStore()
        self._answers = [self._answer(number) for number in reversed(range(batch + _WARM))]
        for _ in range(_WARM):
            self.take()

    def take(self) -> None:
        """Ask for a turn, and tell what came of it."""
        (admission,) = self._store.decide((Event(self._machine, "turns", _ASK),))
        if admission.wait:
            raise AssertionError(f"a turn had to wait: {admission}")
        self._store.decide((Event(self._machine, "turns", self._answers.pop()),))

    def _answer(self, number: int) -> TurnResult:
        quotas = [quota._replace(remaining=(quota.remaining or 0.0) - number) for quota in self._quotas]
        return TurnResult("items", "", 0, 1e-6, 200, quotas, None)


def turns(*, quick: bool = False) -> list[Result]:
    """Measure a turn of each rate limit."""
    hourly = Quota("hour", 1e7, 1e7 - 1, 3600.0, 3600.0, resolution=1.0)
    daily = Quota("day", 1e8, 1e8 - 1, 86400.0, 86400.0, resolution=1.0)
    cases = [
        ("a machine that does nothing", Turns(NoMachine()), ""),
        ("TokenBucket", Turns(TokenBucket(rate=1e9)), ""),
        ("SlidingWindow of 100", Turns(SlidingWindow(limit=100, window=1e-9)), ""),
        ("Adaptive, nothing announced", Turns(AdaptiveRateLimit()), BAR),
        ("Adaptive, one quota", Turns(AdaptiveRateLimit(), hourly), BAR),
        ("Adaptive, two quotas", Turns(AdaptiveRateLimit(), hourly, daily), ""),
    ]
    variants = [Variant(name, each.take, each.prepare, bar) for name, each, bar in cases]
    return compare(variants, rounds=5 if quick else 60, batch=200 if quick else 2000)
