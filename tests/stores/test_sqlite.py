"""The SQLite store: the contract, threads, processes, forks, kills, and files that are not what they should be."""

from __future__ import annotations

import logging
import math
import os
import pickle
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.machines import Event, Wake
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker.state import AcquirePermit
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.bulkhead.policy import JoinQueue
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.policies.ratelimit import turns as admission_module
from polvo_adapters.stores import persistent, sqlite_file
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.store_contract import Counter, StoreContract, never, saying

MANY = Counter(10**9)
LOOK = [Event(MANY, "a", 0)]
ONE = [Event(MANY, "a", 1)]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
forks_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")

WRITER = """
import sys
from polvo_adapters.core.machines import Event
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.support.store_contract import Counter

store, events = SQLiteStore(sys.argv[1]), [Event(Counter(10**9), "a", 1)]
number = 0
while number != int(sys.argv[2]):
    number += 1
    (count,) = store.decide(events)
    if sys.argv[3:]:
        print(count, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


def writer(path: Path, times: int, *more: str) -> subprocess.Popen[str]:
    """Start a process that counts."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(times), *more], stdout=subprocess.PIPE, text=True
    )


def in_child(check: Any) -> int:
    """Fork, and return 0 if what is checked in the child is true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TestSQLiteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> Iterator[None]:
        self.directory, self.made = tmp_path, list[SQLiteStore]()
        yield
        for store in self.made:
            store.close()

    def make(self, clock: VirtualClock, max_keys: int = 100) -> SQLiteStore:
        self.made.append(SQLiteStore(self.directory / f"{len(self.made)}.db", max_keys, clock.now, clock.now))
        return self.made[-1]


# Sharing.


def test_two_stores_on_one_path_share(path: Path, store: SQLiteStore) -> None:
    other = SQLiteStore(path)
    assert [store.decide(ONE), other.decide(ONE), store.decide(ONE)] == [(1,), (2,), (3,)]
    assert pickle.loads(pickle.dumps(store)).decide(ONE) == (4,)


def test_a_circuit_that_opens_here_is_open_there(path: Path, store: SQLiteStore) -> None:
    breaker, other = CircuitBreaker(failure_threshold=1), SQLiteStore(path)
    (permit,) = store.decide([Event(breaker, "circuit", AcquirePermit())])
    store.decide([Event(breaker, "circuit", permit.success._replace(result="failure"))])
    (refused,) = other.decide([Event(breaker, "circuit", AcquirePermit())])
    assert refused.retry_after > 0


def test_threads_lose_no_update(store: SQLiteStore) -> None:
    def count() -> None:
        for _ in range(200):
            store.decide(ONE)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.decide(LOOK) == (1600,)


def test_processes_lose_no_update(path: Path) -> None:
    writers = [writer(path, 200) for _ in range(4)]
    assert [process.communicate(timeout=300) and process.returncode for process in writers] == [0] * 4
    assert SQLiteStore(path).decide(LOOK) == (800,)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill like that")
def test_what_a_killed_process_was_told_is_there_and_nothing_is_stuck(path: Path, store: SQLiteStore) -> None:
    for round_ in range(20):
        process = writer(path, -1, "tell")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(1 + round_ * 3)]
        process.kill()
        lines.extend(process.stdout)
        process.stdout.close()
        process.wait(60)
        told = [int(line) for line in lines if line.endswith("\n")]
        (count,) = store.decide(LOOK)
        assert count in (told[-1], told[-1] + 1)
        assert store.decide(ONE) == (count + 1,)
        assert not store._failed
    assert list(path.parent.glob("*.corrupt*")) == []


def test_names_are_called_in_this_process_whatever_the_store_is(path: Path, store: SQLiteStore) -> None:
    woken: list[str] = []
    assert store.park("a", lambda: woken.append("a"))
    SQLiteStore(path).decide([saying(Wake(("a",)))])
    assert woken == []
    store.decide([saying(Wake(("a",)))])
    assert woken == ["a"]


# Forks.


@forks
@forks_with_threads
def test_parent_and_child_go_on_with_connections_of_their_own(store: SQLiteStore) -> None:
    store.decide(ONE)
    assert in_child(lambda: [store.decide(ONE) for _ in range(20)][-1] == (21,)) == 0
    assert store.decide(ONE) == (22,)


@forks
@forks_with_threads
def test_a_fork_in_the_middle_of_decisions_leaves_nothing_locked(store: SQLiteStore) -> None:
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            store.decide(ONE)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(lambda: store.decide([Event(MANY, "b", 1)])) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert store.decide([Event(MANY, "b", 0)]) == (10,)


@forks
@forks_with_threads
def test_a_connection_that_was_inherited_all_the_same_is_kept_and_not_used(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = store._database._connection
    monkeypatch.setattr(store._database, "_process", os.getpid() + 1)
    assert store.decide(ONE) == (1,)
    assert store._database._connection is not inherited
    assert sqlite_file._inherited[-1] is inherited


@forks
@forks_with_threads
def test_a_child_leaves_what_is_late_and_who_is_parked_to_its_parent(store: SQLiteStore) -> None:
    store.defer(ONE)
    store.park("name", never)
    assert in_child(lambda: store.decide([saying(Wake(("name",)))]) and store.decide(LOOK) == (0,)) == 0
    assert store.decide(LOOK) == (1,)


# Files.


def test_the_file_is_for_its_owner_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    umask = os.umask(0)
    try:
        store = SQLiteStore(path)
        store.decide(ONE)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert SQLiteStore("~/state.db").decide(ONE) == (1,)
    assert (tmp_path / "state.db").exists()


def test_a_directory_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="its directory does not exist; make it first"):
        SQLiteStore(tmp_path / "no" / "state.db")


@pytest.mark.parametrize("value", [0, -1])
def test_a_store_that_keeps_nothing_is_refused(path: Path, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^SQLiteStore\(max_keys={value}\): max_keys must be"):
        SQLiteStore(path, max_keys=value)


def test_a_database_of_something_else_is_let_be(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE invoices (amount)")
    connection.commit()
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a database of something else"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_a_corrupt_file_is_set_aside_and_never_lost(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        path.touch(0o600)
        path.write_bytes(b"not a database %d" % number * 100)
        store = SQLiteStore(path)
        assert store.decide(ONE) == (1,)
        assert f"it was set aside as {path}.corrupt-{number}" in caplog.records[-1].getMessage()
        assert path.with_name(f"state.db.corrupt-{number}").read_bytes() == b"not a database %d" % number * 100
        store.close()


@pytest.mark.parametrize("name", [b"UNIQUE", b"sqlite_autoindex"])
def test_a_schema_that_cannot_even_be_quoted_is_a_corrupt_file(path: Path, store: SQLiteStore, name: bytes) -> None:
    store.decide(ONE)
    store.close()
    path.write_bytes(path.read_bytes().replace(name, b"\xb8" + name[1:]))
    assert store.decide(ONE) == (1,)
    assert path.with_name("state.db.corrupt-1").exists()


def test_a_machine_that_cannot_read_something_is_no_corrupt_file(path: Path, store: SQLiteStore) -> None:
    class Reader(Counter):
        def transition(self, state: int, event: int, now: float) -> Any:
            return b"\xb8".decode(), True

    with pytest.raises(UnicodeDecodeError):
        store.decide([Event(Reader(9), "a", 1)])
    assert store.decide(ONE) == (1,)
    assert not path.with_name("state.db.corrupt-1").exists()


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_to_the_file_fails_a_decision(path: Path, store: SQLiteStore, seed: int) -> None:
    events = [[Event(MANY, f"{number}", 1)] for number in range(30)]
    for batch in events:
        store.decide(batch)
    store.close()
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(300):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    for batch in events:
        ((count,), _) = store.decide(batch), store.decide(batch)
        assert count >= 0


def test_a_file_that_becomes_corrupt_is_set_aside_once_by_all_who_use_it(path: Path, store: SQLiteStore) -> None:
    other = SQLiteStore(path)
    for each in (store, other):
        each.decide(ONE)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE states_1")
    connection.close()
    assert [store.decide(ONE), other.decide(ONE), store.decide(ONE)] == [(1,), (2,), (3,)]
    assert [file.name for file in path.parent.glob("*.corrupt-*[0-9]")] == ["state.db.corrupt-1"]


def test_a_file_that_was_deleted_is_begun_anew(path: Path, store: SQLiteStore) -> None:
    store.decide(ONE)
    path.unlink()
    assert [store.decide(ONE), SQLiteStore(path).decide(ONE)] == [(1,), (2,)]


@pytest.mark.parametrize("text", ["", "{", b"\xff", 5, '{"n":["circuits.State",0,[]]}', '{"t":[1]}', '{"o":{}}', "[]"])
def test_a_state_that_cannot_be_read_is_begun_anew(path: Path, store: SQLiteStore, text: Any) -> None:
    breaker = CircuitBreaker()
    (before,) = store.decide([Event(breaker, "circuit", AcquirePermit())])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states_1 SET state = CAST(? AS TEXT)", (text,))
    connection.close()
    assert store.decide([Event(breaker, "circuit", AcquirePermit())]) == (before,)


@pytest.mark.parametrize("broken", ["seen = 'noon'", "seen = 9e999", "ahead = NULL", "keys = 'many'", "one = 1"])
def test_a_clock_that_is_broken_is_a_corrupt_file(path: Path, store: SQLiteStore, broken: str) -> None:
    store.decide(ONE)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE clock_1 SET {broken}" if broken != "one = 1" else "DELETE FROM clock_1")
    connection.close()
    assert store.decide(ONE) == (1,)
    assert path.with_name("state.db.corrupt-1").exists()


# No file.


def test_without_a_file_it_decides_in_memory_says_so_once_and_comes_back(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    monkeypatch.setattr(persistent, "RETRY_SECONDS", 0.0)
    store, woken = SQLiteStore(path), list[str]()
    store.close()
    path.unlink()
    path.mkdir()  # root can read whatever it is forbidden, but not this
    assert [store.decide(ONE) for _ in range(3)] == [(1,), (2,), (3,)]
    assert store.park("a", lambda: woken.append("a"))
    store.decide([saying(Wake(("a",)))])
    assert woken == ["a"]
    path.rmdir()
    assert [store.decide(ONE) for _ in range(2)] == [(1,), (2,)]
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(str(path))[1][:12] for message in messages] == [" cannot be u", " can be used"]
    store.close()


def test_a_full_disk_fails_no_decision(store: SQLiteStore) -> None:
    store.decide(ONE)
    connection = store._database.connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = [saying(True, f"{number} " * 2000) for number in range(20)]
    assert store.decide(big) == (True,) * 20
    assert store._failed
    assert store.decide(LOOK) == (0,)


def test_a_spare_memory_is_not_asked_for_the_file_each_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "RETRY_SECONDS", 1e6)
    store = SQLiteStore(path)
    store.close()
    path.unlink()
    path.mkdir()
    assert store.decide(ONE) == (1,)
    path.rmdir()
    assert store.decide(ONE) == (2,)
    assert not path.exists()


def test_a_database_that_others_keep_is_a_clear_error(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.05)
    store.close()
    other = sqlite3.connect(path, isolation_level=None)
    store.decide(ONE)
    store.defer(ONE)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(PolvoError, match="was in use by others for more than") as caught:
        store.decide(ONE)
    assert caught.value.reason == "store busy"
    other.execute("ROLLBACK")
    other.close()
    assert store.decide(ONE) == (3,), "what was late has been forgotten"


# Bounds.


def test_keys_stay_within_bounds_whoever_writes(path: Path) -> None:
    for number in range(60):
        SQLiteStore(path, max_keys=10).decide([Event(MANY, f"{number}", 1), Event(MANY, "kept", 1)])
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*), (SELECT keys FROM clock_1) FROM states_1").fetchone() == (10, 10)
    connection.close()
    assert SQLiteStore(path, max_keys=10).decide([Event(MANY, "kept", 1)]) == (61,)


def test_a_key_may_be_any_string(store: SQLiteStore) -> None:
    for key in ("", "\0", "\ud800", "é'\"--"):
        assert [store.decide([Event(MANY, key, 1)]) for _ in range(2)] == [(1,), (2,)]


def test_deadlines_of_calls_are_put_on_the_clock_of_the_store(tmp_path: Path) -> None:
    # Calls tell deadlines by a clock that counts from the start of the machine, the file by one that counts from 1970.
    limit = TokenBucket(rate=1000.0, capacity=1)
    with FailureServer() as server, requests.Session() as session:
        session.mount(
            server.url, PolicyAdapter(Deadline(60), limit, Bulkhead(1), store=SQLiteStore(tmp_path / "state"))
        )
        assert [session.get(server.url + "/health").status_code for _ in range(5)] == [200] * 5


def test_a_wait_beyond_the_deadline_is_refused_by_the_clock_of_the_store(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state", now=lambda: 1_700_000_000.0, local=lambda: 100.0)
    bucket = TokenBucket(rate=0.1, capacity=1)

    def asked(deadline: float | None) -> Any:
        (admission,) = store.decide(
            [Event(bucket, "bucket", admission_module.TurnRequest("", -1, 0, math.inf, deadline))]
        )
        return admission.refused

    assert asked(100.5) == ""  # the token that there is
    assert asked(105.0) == "deadline"
    assert asked(115.0) == ""
    assert asked(None) == ""


@pytest.mark.parametrize("lost", [False, True])
def test_patience_in_a_queue_ends_with_the_deadline(tmp_path: Path, lost: bool) -> None:
    store = SQLiteStore(tmp_path / "state", now=lambda: 1_700_000_000.0, local=lambda: 100.0)
    if lost:
        (tmp_path / "state").unlink()
        (tmp_path / "state").mkdir()
    (place,) = store.decide([Event(Bulkhead(1), "slots", JoinQueue("slots", 30.0, 102.0))])
    assert place.patience == 2.0
