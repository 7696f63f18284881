"""States that no machine has made: each field of each stored class with values of other types, and without sense."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from polvo_adapters.core.machines import Event, Refused
from polvo_adapters.core.stored_types import registered_types
from polvo_adapters.errors import PolvoError
from polvo_adapters.policies import bulkhead, hedge, retry_budget
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker import state as breaker_state
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.bulkhead import policy as bulkhead_policy
from polvo_adapters.policies.fallback import stale_cache
from polvo_adapters.policies.fallback.stale_cache import StaleCache
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import record
from polvo_adapters.policies.ratelimit import SlidingWindow, TokenBucket
from polvo_adapters.policies.retry_budget import RetryBudget
from polvo_adapters.refresh import lifecycle
from polvo_adapters.stores.codec import Undecodable, decode, decode_state, encode
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.state_types import has_type
from polvo_adapters.stores.token_cache import TokenCache
from tests.stores import test_codec

STORE_RESPONSE = stale_cache.StoreResponse("k", 0.0, math.inf, (("etag", '"e"'),), b"x")
ANSWER = record.RecordedResponse(200, (("etag", "e"),), b"body")
BEGIN = record.Begin("c", "u", False)

MACHINES: dict[str, tuple[Any, list[Any]]] = {
    "circuit": (CircuitBreaker(failure_threshold=1), [breaker_state.AcquirePermit(), test_codec.failure]),
    "circuit by rate": (
        CircuitBreaker(failure_rate=0.5, window=10.0),
        [breaker_state.AcquirePermit(), test_codec.failure],
    ),
    "circuit by calls": (
        CircuitBreaker(failure_rate=0.5, window_calls=200),
        [breaker_state.AcquirePermit(), test_codec.failure],
    ),
    "bulkhead": (Bulkhead(1), [bulkhead_policy.AcquireSlot(""), bulkhead_policy.JoinQueue("key", math.inf, None)]),
    "adaptive bulkhead": (bulkhead.AdaptiveBulkhead(), test_codec.SLOT * 12),
    "adaptive rate limit": (test_codec.ADAPTIVE, [test_codec.ASK, test_codec.TELL, test_codec.ASK, test_codec.TELL]),
    "token bucket": (TokenBucket(2.0), [test_codec.ASK]),
    "sliding window": (SlidingWindow(2, 1.0), [test_codec.ASK]),
    "retry budget": (RetryBudget(), [retry_budget.Deposit(), retry_budget.Spend(1.0)]),
    "hedge": (Hedge(), [hedge.PlanHedge(), hedge.RecordLatency(1e9)] * 12),
    "stale cache": (StaleCache(), [STORE_RESPONSE]),
    "record": (record.Record(), [BEGIN, record.Sending(1, "c", "u"), record.Done(1, "c", "u", ANSWER)]),
    "token": (
        lifecycle.Lifecycle(),
        [lifecycle.WantToken(), lambda right: lifecycle.TokenRefreshed("t", 60.0, 0.0, right.lease)],
    ),
}
"""A machine, and events after which its state has all parts."""

WRONG: dict[str, Any] = {
    "text": '"x"',
    "number": "-3",
    "fraction": "0.5",
    "nan": "NaN",
    "tagged nan": '{"f":"nan"}',
    "infinity": '{"f":"-inf"}',
    "huge": "1" * 400,
    "tagged huge": json.dumps({"i": hex(1 << 300)}),
    "true": "true",
    "nothing": "null",
    "list": "[]",
    "tuple": '{"t":[]}',
    "nested": '{"t":[{"t":[{"t":[1]}]}]}',
    "dict": '{"o":{}}',
    "bytes": '{"b":"eA=="}',
    "tally": '{"n":["window-tally.1",[1,1,1]]}',
    "deep": "[" * 300 + "]" * 300,
}


def put(store: Any, name: str, events: list[Any]) -> Any:
    """Put events to a machine, one after the other, and return the last verdict; a callable is given the one before."""
    machine, verdict = MACHINES[name][0], None
    for event in events:
        if type(verdict) is Refused:
            break
        if callable(event):
            try:
                event = event(verdict)  # noqa: PLW2901 - which is of the verdict that a good state leads to
            except AttributeError:
                return verdict
        (verdict,) = store.decide([Event(machine, "key", event)])
    return verdict


class InDoubt(Exception):
    """A durable state could not be read, and the call says what to do."""


def put_unless_in_doubt(store: Any, name: str, events: list[Any]) -> None:
    try:
        put(store, name, events)
    except PolvoError as error:
        is_told = error.reason == "store unusable" and "find out how the operation ended" in str(error)
        if is_told and getattr(MACHINES[name][0], "durable", False):
            raise InDoubt from None
        raise


def text_of(name: str) -> Any:
    machine, events = MACHINES[name]
    return json.loads(encode(test_codec.after(machine, *events)))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the way to each part of a text; of long lists, to the first two items."""
    if path:
        yield path
    if isinstance(value, dict):
        for name in value:
            yield from paths(value[name], (*path, name))
    elif isinstance(value, list):
        for number in range(min(2 if len(value) > 30 else 30, len(value))):
            yield from paths(value[number], (*path, number))


def replace(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replace(copy[path[0]], path[1:], part)
    return copy


def fields() -> list[tuple[str, str]]:
    return [(tag, name) for tag, kind in registered_types().items() for name in kind._fields]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def good() -> dict[str, list[Any]]:
    """Return a good list of items for each tag."""
    found: dict[str, list[Any]] = {}

    def search(value: Any) -> None:
        if isinstance(value, dict) and "n" in value:
            found.setdefault(value["n"][0], value["n"][1])
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            search(part)

    for name in MACHINES:
        search(text_of(name))
    return found


def test_every_stored_class_is_tried(good: dict[str, list[Any]]) -> None:
    assert good.keys() == registered_types().keys()


@pytest.mark.parametrize(("tag", "field"), fields())
def test_a_field_is_read_only_with_a_value_of_its_type(good: dict[str, list[Any]], tag: str, field: str) -> None:
    kind: Any = registered_types()[tag]
    number = kind._fields.index(field)
    is_open = get_type_hints(kind)[field] is Any
    refused = 0
    for wrong in WRONG.values():
        items = [json.dumps(item) for item in good[tag]]
        items[number] = wrong
        text = f'{{"n":["{tag}",[{",".join(items)}]]}}'
        try:
            value = getattr(decode(text), field)
        except Undecodable:
            refused += 1
            continue
        assert is_open or has_type(value, get_type_hints(kind)[field])
        assert is_open or value == value, "not a number"
    assert refused >= (0 if is_open else 9)


@pytest.mark.parametrize(
    ("tag", "change"), [(tag, change) for tag in registered_types() for change in ("less", "more")]
)
def test_a_field_too_many_or_too_few_is_not_read(good: dict[str, list[Any]], tag: str, change: str) -> None:
    items = good[tag][:-1] if change == "less" else [*good[tag], 1]
    with pytest.raises(Undecodable):
        decode(json.dumps({"n": [tag, items]}))


@pytest.mark.parametrize("phase", ["", "Done", "sent", "in doubt "])
def test_a_text_that_is_none_of_a_few_is_not_read(phase: str) -> None:
    with pytest.raises(Undecodable):
        decode(encode(record.RecordState(phase=phase)))


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_machine_has_made_is_read(name: str) -> None:
    machine, events = MACHINES[name]
    for number in range(len(events) + 1):
        state = test_codec.after(machine, *events[:number])
        assert decode_state(encode(state), machine) == state


def sqlite_world(directory: Path) -> tuple[Any, Callable[[str], None], Callable[[], int]]:
    path = directory / "state.db"
    store, connection = SQLiteStore(path), sqlite3.connect(path, isolation_level=None)

    def damage(text: str) -> None:
        connection.execute("INSERT OR REPLACE INTO states_1 (key, state) VALUES (?, ?)", (b"key", text))

    return store, damage, lambda: connection.execute("SELECT count(*) FROM aside_1").fetchone()[0]


def cache_world(directory: Path) -> tuple[Any, Callable[[str], None], Callable[[], int]]:
    path = directory / "cache.json"
    store = TokenCache(path)

    def damage(text: str) -> None:
        path.unlink(missing_ok=True)
        store.decide([Event(MACHINES["record"][0], "other", BEGIN)])
        value = json.loads(path.read_bytes())
        value["states"]["key"] = text
        path.write_text(json.dumps(value), "ascii")

    return store, damage, lambda: len(list(directory.glob("*.corrupt-*")))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("world", [sqlite_world, cache_world])
def test_no_state_in_a_file_makes_a_call_raise_but_a_record_in_doubt(world: Any, name: str, tmp_path: Path) -> None:
    store, damage, _ = world(tmp_path)
    events, whole = MACHINES[name][1], text_of(name)
    values = list(WRONG.values()) if world is sqlite_world else list(WRONG.values())[::5]
    for path in list(paths(whole)) if world is sqlite_world else list(paths(whole))[::3]:
        for wrong in values:
            damage(json.dumps(replace(whole, path, "@")).replace('"@"', wrong))
            with suppress(InDoubt):
                put_unless_in_doubt(store, name, events[:2])
    assert not store._failed


@pytest.mark.parametrize("world", [sqlite_world, cache_world])
def test_a_state_that_cannot_be_read_is_kept_aside_and_logged_once(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, damage, aside = world(tmp_path)
    damage(json.dumps(replace(text_of("circuit"), ("n", 1, 3), "later")))
    for _ in range(3):
        put(store, "circuit", [breaker_state.AcquirePermit()])
    assert aside() == 1
    assert len(caplog.records) == 1
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("world", [sqlite_world, cache_world])
@pytest.mark.parametrize("part", [("n", 1, 0), ("n", 1, 4), ("n", 1, 7)])
def test_a_record_that_cannot_be_read_is_in_doubt_until_it_is_discarded(
    world: Any, part: tuple[Any, ...], tmp_path: Path
) -> None:
    store, damage, _ = world(tmp_path)
    damage(json.dumps(replace(text_of("record"), part, [])))
    for event in (BEGIN, record.LookAtKey(), record.Resolve(done=True)):
        with pytest.raises(PolvoError, match="find out how the operation ended") as caught:
            put(store, "record", [event])
        assert caught.value.reason == "store unusable"
    put(store, "record", [record.ForgetKey()])
    assert type(put(store, "record", [BEGIN])) is record.Run


def test_a_machine_that_raises_on_a_state_of_its_own_is_not_silenced(tmp_path: Path) -> None:
    class Broken:
        initial = 0

        def transition(self, state: int, event: int, now: float) -> tuple[int, int]:
            return state + 1, 1 // event

    store = SQLiteStore(tmp_path / "state.db")
    store.decide([Event(Broken(), "key", 1)])
    with pytest.raises(ZeroDivisionError):
        store.decide([Event(Broken(), "key", 0)])
    store.close()
