"""The calls that every client of the demo makes; they depend on the seed alone.

Half of the calls, rounded up, are healthy, most of them GETs. The others go through SCENARIOS in their order, again and
again where there are more calls, and are then shuffled in. Scenarios that cost time stand last and occur once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from typing import Literal
from urllib.parse import urlencode

Upload = Literal["none", "bytes", "generator"]

ENDLESS = 2**40
"""Bytes of a body that never ends within a demo."""


@dataclass(frozen=True)
class Scenario:
    """One kind of call.

    Attributes:
        label: Its name for a person.
        method: HTTP method.
        path: Path at the failure server.
        parameters: Query, except the key.
        upload: How the request carries its body.
        slow: Whether it costs seconds, so that it is not repeated.
    """

    label: str
    method: str
    path: str = "/echo"
    parameters: tuple[tuple[str, str | int], ...] = ()
    upload: Upload = "none"
    slow: bool = False


@dataclass(frozen=True)
class PlannedCall:
    """One call of a plan.

    Attributes:
        number: Its place in the plan, from 0.
        scenario: Its kind.
        payload: The bytes that it uploads.
    """

    number: int
    scenario: Scenario
    payload: bytes = b""

    def key(self, client: str) -> str:
        """Return the key under which the server counts this call of a client."""
        return f"{client}-{self.number}"

    def target(self, client: str) -> str:
        """Return path and query for a client."""
        return f"{self.scenario.path}?{urlencode((*self.scenario.parameters, ('key', self.key(client))))}"


def _fail(kind: str, label: str, method: str, times: int = 1, **parameters: str | int) -> Scenario:
    upload: Upload = "none" if method == "GET" else "bytes"
    query = (("times", times), *parameters.items())
    return Scenario(f"{method}, {label}", method, f"/fault/{kind}", query, upload)


HEALTHY = (
    *(Scenario("GET, healthy", "GET"),) * 3,
    Scenario("PUT, healthy", "PUT", upload="bytes"),
    Scenario("POST, healthy", "POST", upload="bytes"),
)

SCENARIOS = (
    _fail("status", "Retry-After: 0", "GET", code=503, retry_after="0"),
    _fail("reset", "connection reset", "GET"),
    _fail("reset", "reset after work", "POST"),
    _fail("status", "500 twice", "GET", times=2, code=500),
    _fail("truncated", "body cut off", "GET"),
    _fail("status", "Retry-After: 0.2", "GET", code=503, retry_after="0.2"),
    replace(_fail("status", "503", "POST", code=503, retry_after="0"), label="POST of a generator", upload="generator"),
    _fail("status", "429", "POST", code=429, retry_after="0"),
    _fail("reset", "reset after work", "PUT"),
    _fail("status", "500 after work", "POST", code=500),
    _fail("status", "Retry-After: soon", "GET", code=503, retry_after="soon"),
    _fail("eof", "closed unanswered", "GET"),
    _fail("status", "Retry-After: date", "GET", code=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    Scenario("GET, silence", "GET", "/fault/hang", (("times", 1),), slow=True),
    Scenario("GET, endless body", "GET", "/fault/drip", (("size", ENDLESS), ("interval", "0.05")), slow=True),
)
"""The troubles, in the order in which a plan takes them."""


def make_plan(calls: int, seed: int) -> list[PlannedCall]:
    """Return the calls of the demo.

    Args:
        calls: How many.
        seed: The same seed gives the same plan.
    """
    chance = random.Random(seed)
    again = cycle(scenario for scenario in SCENARIOS if not scenario.slow)
    troubled = islice(chain(SCENARIOS, again), calls // 2)
    scenarios = [*troubled, *islice(cycle(HEALTHY), calls - calls // 2)]
    chance.shuffle(scenarios)
    return [
        PlannedCall(number, scenario, b"" if scenario.upload == "none" else chance.randbytes(chance.randint(100, 2000)))
        for number, scenario in enumerate(scenarios)
    ]
