"""Records that could be lost: in a full store, in a corrupt or deleted file, and where a store fails at the end."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.core.machines import Event
from polvo_adapters.policies.idempotency.record import (
    Begin,
    Done,
    Doubt,
    ForgetKey,
    LookAtKey,
    Record,
    RecordedResponse,
    Sending,
)
from polvo_adapters.stores import memory
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport
from tests.support.keyed_server import KeyedServer
from tests.support.store_contract import Counter

RECORD = Record(lease=5)
BEGIN = Begin("content", "url", False)
DONE = Done(1, "content", "url", RecordedResponse(201, (), b""))
KEYS: dict[str, Any] = {"record": RECORD, "supported": False}


def put(store: Any, key: str, *events: Any) -> str:
    """Put events to the record of a key, and return how it stands."""
    for event in events:
        store.decide([Event(RECORD, key, event)])
    phase: str = store.decide([Event(RECORD, key, LookAtKey())])[0].phase
    return phase


def doubt(store: Any, key: str) -> None:
    assert put(store, key, BEGIN, Sending(1, "content", "url"), Doubt(1)) == "in doubt"


def count(store: Any, *keys: str) -> Any:
    return store.decide([Event(Counter(9), key, 1) for key in keys])


def refusal(store: Any, key: str, event: Any = BEGIN) -> polvo.PolvoError:
    with pytest.raises(polvo.PolvoError) as caught:
        store.decide([Event(RECORD, key, event)])
    return caught.value


# A store that is full.


@pytest.fixture(params=["memory", "file"])
def small(request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore(4, clock.now)
        return
    store = SQLiteStore(tmp_path / "state.db", 4, clock.now, elapsed=clock.now)
    yield store
    store.close()


def test_other_keys_do_not_push_out_what_is_open(small: Any) -> None:
    doubt(small, "doubt")
    put(small, "begun", BEGIN)
    put(small, "sending", BEGIN, Sending(1, "content", "url"))
    for number in range(40):
        count(small, f"{number}")
        count(small, f"{number}", f"more {number}")
    assert [put(small, key) for key in ("doubt", "begun", "sending")] == ["in doubt", "begun", "sending"]


def test_where_nothing_can_go_only_what_is_durable_is_refused(small: Any) -> None:
    for key in "abcd":
        doubt(small, key)
    for batch in (["e"], ["e", "f"]):
        assert count(small, *batch) == count(small, *batch) == (1,) * len(batch)  # not kept
        assert refusal(small, "e").reason == "store full"
    with pytest.raises(polvo.PolvoError):
        small.decide([Event(Counter(9), "a count", 1), Event(RECORD, "e", BEGIN)])
    assert [put(small, key) for key in "abcd"] == ["in doubt"] * 4
    assert put(small, "a", DONE) == "done"
    assert put(small, "e", BEGIN) == "begun"
    assert [put(small, key) for key in "bcd"] == ["in doubt"] * 3


def test_what_time_has_ended_can_go(small: Any, clock: VirtualClock) -> None:
    for key in "abcd":
        put(small, key, BEGIN)
    assert refusal(small, "e").reason == "store full"
    clock.advance(6)
    assert put(small, "e", BEGIN) == "begun"


def test_a_search_for_room_is_bounded_and_the_next_one_begins_behind_it(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CANDIDATES", 1)
    monkeypatch.setattr("polvo_adapters.stores.sqlite_schema.CANDIDATES", 1)
    for key in "abc":
        doubt(small, key)
    count(small, "d")
    assert [count(small, "e") for _ in range(4)][-1] > (1,)
    assert [put(small, key) for key in "abc"] == ["in doubt"] * 3


def test_a_record_of_another_version_is_not_pushed_out(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path, 4)
    doubt(store, "a")
    damage(path, """state = replace(state, '["record.1",', '["record.2",')""")
    for number in range(20):
        count(store, f"{number}")
    assert refusal(store, "a").reason == "store unusable"
    store.close()


# A file that is not what it was.


def damage(path: Path, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE states_1 SET {change}")
    connection.close()


@pytest.mark.parametrize("state", ["'{'", "'5'", "x'ff'", "'{\"t\":[]}'"])
def test_a_record_that_cannot_be_read_is_not_begun_anew(tmp_path: Path, state: str) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    doubt(store, "a")
    damage(tmp_path / "state.db", f"state = CAST({state} AS TEXT)")
    for event in (BEGIN, LookAtKey()):
        error = refusal(store, "a", event)
        assert error.reason == "store unusable"
        assert "cannot be read" in str(error)
    assert put(store, "b", BEGIN) == "begun"
    assert put(store, "a", ForgetKey()) == "not sent"
    assert put(store, "a", BEGIN) == "begun"
    store.close()


@pytest.mark.parametrize("opened", ["open", "made anew"])
def test_a_corrupt_file_is_not_set_aside_for_a_record(tmp_path: Path, opened: str) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    doubt(store, "a")
    store.close()
    whole = path.read_bytes()
    path.write_bytes(b"not a database" * 100)
    if opened == "open":
        assert refusal(store, "a").reason == "store unusable"
        assert path.read_bytes() == b"not a database" * 100
        path.write_bytes(whole)
        assert put(store, "a") == "in doubt"
        path.write_bytes(b"not a database" * 100)
        store.close()
    else:
        store = SQLiteStore(path)  # which sets it aside, as does the code that counts
    assert count(store, "count") == (1,)
    aside = tmp_path / "state.db.corrupt-1"
    assert aside.exists()
    for each in (store, SQLiteStore(path)):
        error = refusal(each, "a")
        assert error.reason == "store unusable"
        assert str(aside)[:-1] in str(error)
        each.close()
    aside.rename(tmp_path / "known")
    assert put(SQLiteStore(path), "a", BEGIN) == "begun"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
@pytest.mark.parametrize("first", ["a record", "a count"])
def test_a_file_that_vanishes_takes_no_record_along_in_silence(tmp_path: Path, how: str, first: str) -> None:
    path = tmp_path / "state.db"
    store, other = SQLiteStore(path), SQLiteStore(tmp_path / "other.db")
    doubt(store, "a")
    other.close()
    if how == "deleted":
        path.unlink()
    else:
        (tmp_path / "other.db").rename(path)
    if first == "a count":
        count(store, "count")
    for _ in range(2):
        error = refusal(store, "a")
        assert error.reason == "store unusable"
        assert "deleted or replaced" in str(error)
    assert count(store, "b") == (1,)
    store.close()
    assert put(pickle.loads(pickle.dumps(store)), "another", BEGIN) == "begun"


# A store that fails when the answer is there.


class Failing(MemoryStore):
    """A store that fails the first times that the outcome of a call is written."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        if events and type(events[0].event).__name__ in ("Done", "Doubt", "Unsent", "Moved") and self.times:
            self.times -= 1
            raise polvo.PolvoError("the store is busy", reason="store busy")
        return super().decide(events)


def session(store: Any, **keywords: Any) -> polvo.Session:
    made = polvo.Session(store=store, idempotency=KEYS, retry=False, **keywords)
    made.trust_env = False
    return made


def post(api: Any, server: KeyedServer) -> Any:
    return api.post(server.url + "/work", json={"operation": "a"}, idempotency_key="k")


def test_a_store_that_fails_for_a_moment_is_asked_again() -> None:
    with KeyedServer(honours=False) as server, session(Failing(1)) as api:
        response = post(api, server)
        assert (response.status_code, response.polvo.note) == (201, "")
        assert api.operation(server.url, "k").state == "done"


def test_an_answer_is_not_thrown_away_because_it_cannot_be_written_down(caplog: pytest.LogCaptureFixture) -> None:
    with KeyedServer(honours=False) as server, session(Failing(9)) as api:
        response = post(api, server)
        assert response.json()["operation"] == "a"
        assert "could not write down" in response.polvo.note
        assert "could not be written" in caplog.records[-1].getMessage()
        assert caplog.records[-1].levelno == logging.WARNING
        assert api.operation(server.url, "k").state == "sending"
        assert server.done == {"a": 1}


async def test_httpx_does_not_throw_it_away_either() -> None:
    with KeyedServer(honours=False) as server:
        transport = AsyncPolicyTransport(polvo.idempotency.IdempotencyKeys(**KEYS), store=Failing(9))
        async with httpx.AsyncClient(transport=transport) as client:
            headers = {"Idempotency-Key": "k"}
            response = await asyncio.wait_for(
                client.post(server.url + "/work", json={"operation": "a"}, headers=headers), 10
            )
            assert response.json()["operation"] == "a"


def test_without_an_answer_the_error_says_that_it_was_sent() -> None:
    with KeyedServer(honours=False, dropped=1.0) as server, session(Failing(9)) as api:
        with pytest.raises(polvo.IdempotencyError, match="was sent and not answered") as caught:
            post(api, server)
        assert isinstance(caught.value.__cause__, requests.ConnectionError)
        assert api.operation(server.url, "k").state == "sending"
        assert server.done == {"a": 1}


def test_what_was_not_sent_ends_as_it_would() -> None:
    with KeyedServer() as server:
        pass  # nothing listens there any more
    with session(Failing(9)) as api, pytest.raises(requests.ConnectionError):
        post(api, server)
