"""What an adaptive rate limit of an earlier version left in a store is read, or dropped, and never in the way.

`rate_limits.json` was written by commit 6a8c73b, of servers of several kinds in the middle of their windows: when, and
the state. It is never written anew.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.core.machines import Event
from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.turns import TurnRequest, TurnResult
from polvo_adapters.stores import SQLiteStore
from polvo_adapters.stores.codec import Undecodable, decode_state, encode
from polvo_adapters.testing.limiters import SlidingWindowLimiter

STATES: dict[str, tuple[float, str]] = json.loads((Path(__file__).parent / "rate_limits.json").read_text())
ADAPTIVE = AdaptiveRateLimit(max_wait=1e9)
KEY = "rate limit https://api.example -"
REQUEST = TurnRequest("GET /items", -1, 0, 1e9, None)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def read(self) -> float:
        return self.now


def open_store(folder: Path, clock: Clock) -> SQLiteStore:
    return SQLiteStore(folder / "states", now=clock.read, local=clock.read, elapsed=clock.read)


def go_on(store: SQLiteStore, clock: Clock, name: str) -> int:
    """Send forty requests in turn to a sliding server of twenty a minute, and return how often one had to wait."""
    limiter, waits = SlidingWindowLimiter(20, 60.0), 0
    for _ in range(40):
        (turn,) = store.decide((Event(ADAPTIVE, KEY, REQUEST),))
        while turn.wait > 0:
            waits += 1
            assert waits < 1000, name
            clock.now += turn.wait
            again = REQUEST._replace(ticket=turn.ticket, tries=turn.tries, chance=0.0, group=turn.group)
            (turn,) = store.decide((Event(ADAPTIVE, KEY, again),))
        standing = limiter.take(clock.now)
        quota = Quota("", 20.0, float(standing.remaining), float(standing.reset), 60.0, resolution=1.0)
        result: Any = TurnResult(REQUEST.route, turn.group, turn.era, 0.02, 200, (quota,), None)
        store.decide((Event(ADAPTIVE, KEY, result),))
    return waits


@pytest.mark.parametrize("name", STATES)
def test_a_client_goes_on_from_what_an_earlier_version_left(name: str, tmp_path: Path) -> None:
    clock = Clock()
    clock.now, text = STATES[name]
    with closing(open_store(tmp_path, clock)) as store:
        store.decide((Event(ADAPTIVE, KEY, REQUEST),))
    with closing(sqlite3.connect(tmp_path / "states", isolation_level=None)) as connection:
        (changed,) = connection.execute("UPDATE states_1 SET state = ? RETURNING 1", (text.encode(),)).fetchall()
    assert changed
    with closing(open_store(tmp_path, clock)) as store:
        began = clock.now
        assert go_on(store, clock, name)
        assert clock.now - began < 200


def test_a_pause_that_an_earlier_version_left_is_kept() -> None:
    now, text = STATES["a pause"]
    _, turn = ADAPTIVE.transition(decode_state(text, ADAPTIVE), REQUEST, now)
    assert turn.wait > 10  # of a long pause, the first part


@pytest.mark.parametrize("name", [name for name in STATES if name != "a pause"])
def test_a_pace_of_an_earlier_version_which_lacks_what_is_needed_now_is_dropped(name: str) -> None:
    with pytest.raises(Undecodable):
        decode_state(STATES[name][1], ADAPTIVE)


def test_a_state_of_today_is_kept() -> None:
    state = ADAPTIVE.initial
    quota = Quota("", 20.0, 10.0, 30.0, 60.0, resolution=1.0)
    state, turn = ADAPTIVE.transition(state, REQUEST, 0.0)
    state, _ = ADAPTIVE.transition(
        state, TurnResult(REQUEST.route, turn.group, turn.era, 0.02, 200, (quota,), None), 1.0
    )
    assert decode_state(encode(state), ADAPTIVE) == state
