"""Servers that count routes apart, or all in one, under the same header names; and calls to many routes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.testing.limiters import Limiter, format_headers
from polvo_adapters.testing.simulation.crowd import QuotaServer
from polvo_adapters.testing.simulation.simulation import ScriptedReply
from polvo_adapters.testing.virtual_clock import EPOCH


@dataclass(frozen=True)
class Routing:
    """Sends each call to one of some paths, drawn anew, or in turn where there is no seed."""

    paths: Sequence[str]
    seed: int | None = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", random.Random(self.seed))
        object.__setattr__(self, "_number", iter(range(10**9)))

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        state: Any = self
        path = self.paths[next(state._number) % len(self.paths)]
        if self.seed is not None:
            path = state._random.choice(self.paths)
        return (yield from proceed(call._replace(url="http://api.example" + path)))


class RoutedServer(QuotaServer):
    """Counts each request by the limiter of its path, and writes down what came.

    Args:
        find: Returns the name of the quota of a path.
        make: Makes its limiter.
        dialect: One of `polvo_adapters.testing.limiters.DIALECTS`.
        window: Seconds of the windows.
    """

    def __init__(
        self,
        find: Callable[[str], str],
        make: Callable[[str], Limiter],
        dialect: str = "x-epoch",
        latency: float = 0.02,
        seed: int = 1,
    ) -> None:
        super().__init__([make("")], dialect=dialect, latency=latency, spread=0.5, seed=seed)
        self._find, self._make, self._dialect = find, make, dialect
        self.quotas: dict[str, Limiter] = {}
        self.arrived: list[tuple[float, str, str, bool]] = []

    def reply(self, call: Call, now: float) -> ScriptedReply:
        path = call.url.removeprefix("http://api.example")
        name = self._find(path)
        limiter = self.quotas.setdefault(name, self._make(name))
        standing = limiter.take(now)
        self.arrived.append((now, path, name, standing.allowed))
        fields = format_headers(standing, self._dialect, EPOCH + now)
        told = {key.lower(): value for key, value in fields}
        return ScriptedReply(200 if standing.allowed else 429, told, self.way())

    def count(self, since: float = 0.0, name: str | None = None) -> tuple[int, int]:
        """Return how many requests were accepted and refused since a time, of all quotas or one."""
        found = [each[3] for each in self.arrived if each[0] >= since and name in (None, each[2])]
        return sum(found), len(found) - sum(found)
