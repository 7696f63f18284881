"""What the demo asks of every client: a list of calls that depends on the seed and on nothing else.

Half of the calls are healthy, most of them GETs. The other half goes through SCENARIOS in their order, again and
again where there are more calls, and is then shuffled in. Scenarios that cost time stand last and occur once.

    wanted calls      1 ... N
    troubled          N // 2, from SCENARIOS
    healthy           the rest, from HEALTHY
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal
from urllib.parse import urlencode

Upload = Literal["none", "bytes", "generator"]

ENDLESS = 2**40
"""Bytes of a body that nobody will see the end of."""


@dataclass(frozen=True)
class Scenario:
    """One kind of call.

    Attributes:
        label: What it is, for a person.
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
        scenario: What kind of call it is.
        payload: The bytes that it uploads.
    """

    number: int
    scenario: Scenario
    payload: bytes = b""

    def key(self, client: str) -> str:
        """Return the key that the server counts this call under, when this client makes it."""
        return f"{client}-{self.number}"

    def target(self, client: str) -> str:
        """Return path and query for a client."""
        return f"{self.scenario.path}?{urlencode((*self.scenario.parameters, ('key', self.key(client))))}"


def _status(label: str, method: str, code: int, retry_after: str = "", times: int = 1) -> Scenario:
    parameters: list[tuple[str, str | int]] = [("code", code), ("times", times)]
    if retry_after:
        parameters.append(("retry_after", retry_after))
    upload: Upload = "none" if method == "GET" else "bytes"
    return Scenario(f"{method}, {label}", method, "/fault/status", tuple(parameters), upload)


def _broken(kind: str, label: str, method: str) -> Scenario:
    upload: Upload = "none" if method == "GET" else "bytes"
    return Scenario(f"{method}, {label}", method, f"/fault/{kind}", (("times", 1),), upload)


HEALTHY = (
    Scenario("GET, healthy", "GET"),
    Scenario("GET, healthy", "GET"),
    Scenario("GET, healthy", "GET"),
    Scenario("PUT, healthy", "PUT", upload="bytes"),
    Scenario("POST, healthy", "POST", upload="bytes"),
)

SCENARIOS = (
    _status("503, Retry-After: 0", "GET", 503, "0"),
    _broken("reset", "connection reset", "GET"),
    _broken("reset", "reset after the work", "POST"),
    _status("500 twice", "GET", 500, times=2),
    _broken("truncated", "body cut off", "GET"),
    _status("503, Retry-After: 0.2", "GET", 503, "0.2"),
    Scenario(
        "POST of a generator, 503",
        "POST",
        "/fault/status",
        (("code", 503), ("times", 1), ("retry_after", "0")),
        upload="generator",
    ),
    _status("429, Retry-After: 0", "POST", 429, "0"),
    _broken("reset", "reset after the work", "PUT"),
    _status("500 after the work", "POST", 500),
    _status("503, Retry-After: soon", "GET", 503, "soon"),
    _broken("eof", "closed without answer", "GET"),
    _status("503, Retry-After: date", "GET", 503, "Wed, 21 Oct 2015 07:28:00 GMT"),
    Scenario("GET, silence", "GET", "/fault/hang", (("times", 1),), slow=True),
    Scenario("GET, a body without end", "GET", "/fault/drip", (("size", ENDLESS), ("interval", "0.05")), slow=True),
)
"""The troubles, in the order in which a plan takes them."""


def make_plan(calls: int, seed: int) -> list[PlannedCall]:
    """Return the calls of the demo.

    Args:
        calls: How many.
        seed: The same seed gives the same plan.
    """
    # Not the shared generator: a plan must not depend on who else draws numbers.
    chance = random.Random(seed)
    scenarios = [*_troubles(calls // 2), *islice(cycle(HEALTHY), calls - calls // 2)]
    chance.shuffle(scenarios)
    return [
        PlannedCall(number, scenario, b"" if scenario.upload == "none" else chance.randbytes(chance.randint(100, 2000)))
        for number, scenario in enumerate(scenarios)
    ]


def _troubles(count: int) -> list[Scenario]:
    quick = [scenario for scenario in SCENARIOS if not scenario.slow]
    return list(islice((*SCENARIOS, *(quick * (count // len(quick)))), count))
