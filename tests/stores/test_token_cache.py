"""The token cache: the contract, the file, what can be wrong with it, and what happens without it."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.machines import Event, Wake
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker.state import AcquirePermit
from polvo_adapters.policies.ratelimit import turns
from polvo_adapters.stores import persistent, private_files
from polvo_adapters.stores.codec import encode
from polvo_adapters.stores.token_cache import CacheContent, Corrupt, TokenCache, parse, render
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.killed_caches import LOOK, MANY, ONE
from tests.support.store_contract import Counter, StoreContract, Watch, saying

links = pytest.mark.skipif(os.name != "posix", reason="this system has no such links and modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def cache(path: Path) -> TokenCache:
    return TokenCache(path)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a file that failed again at the next decision."""
    monkeypatch.setattr(persistent, "RETRY_SECONDS", 0.0)


def one(key: str) -> list[Event]:
    return [Event(MANY, key, 1)]


def look(key: str) -> list[Event]:
    return [Event(MANY, key, 0)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestTokenCache(StoreContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory, self.made = tmp_path, 0

    def make(self, clock: VirtualClock, max_keys: int = 100) -> TokenCache:
        self.made += 1
        cache = TokenCache(self.directory / f"{self.made}.json", max_keys=max_keys, now=clock.now, elapsed=clock.now)
        cache._clock.local = clock.now
        return cache


# Sharing.


def test_caches_on_one_path_share(path: Path, cache: TokenCache) -> None:
    other = TokenCache(path)
    assert [cache.decide(ONE), other.decide(ONE), cache.decide(ONE)] == [(1,), (2,), (3,)]
    assert pickle.loads(pickle.dumps(cache)).decide(ONE) == (4,)


def test_every_write_is_seen_however_fast_they_follow(path: Path, cache: TokenCache) -> None:
    other = TokenCache(path)
    for _ in range(300):  # of two writes within a tick of the clock, the second file may have the inode of the first
        (before,) = cache.decide(LOOK)
        other.decide(ONE)
        other.decide(ONE)
        assert cache.decide(LOOK) == (before + 2,)


def test_a_state_whose_machine_is_unknown_here_is_copied_as_it_is(path: Path, cache: TokenCache) -> None:
    cache.decide(ONE)
    content = parse(path.read_bytes())
    strange = '{"n":["nowhere.State",1,[]]}'
    path.write_bytes(render(content._replace(states={**content.states, "strange": strange})))
    assert cache.decide(ONE) == (2,)
    assert parse(path.read_bytes()).states["strange"] == strange


def test_what_changes_nothing_writes_nothing_and_takes_no_lock(path: Path, cache: TokenCache) -> None:
    cache.decide(ONE)
    os.unlink(f"{path}.lock")
    before = path.stat()
    assert [cache.decide(LOOK), cache.decide([Event(Counter(0), "a", 1)])] == [(1,), (False,)]
    assert path.stat() == before
    assert not os.path.exists(f"{path}.lock")


def test_a_file_that_is_the_same_is_not_read_again(path: Path, cache: TokenCache) -> None:
    cache.decide(ONE)
    before = path.stat()
    path.write_bytes(b"?" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.decide(LOOK) == (1,)


def test_to_construct_one_touches_nothing(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "no" / "tokens.json")
    assert cache.decide(()) == ()
    assert list(tmp_path.iterdir()) == []


# Files.


@links
@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_everything_is_for_its_owner_alone(tmp_path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    cache = TokenCache(tmp_path / "app" / "tokens.json")
    cache.decide(ONE)
    cache.decide(ONE)
    assert mode(tmp_path / "app") == 0o700
    assert {file.name: mode(file) for file in (tmp_path / "app").iterdir()} == {
        "tokens.json": 0o600,
        "tokens.json.lock": 0o600,
    }


@links
@pytest.mark.parametrize("end", ["", ".lock"])
@pytest.mark.parametrize("target", ["elsewhere", "missing"])
def test_no_symlink_is_followed(path: Path, cache: TokenCache, end: str, target: str) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"precious")
    os.symlink(path.with_name(target), f"{path}{end}")
    with pytest.raises(ConfigurationError, match=r"is a symbolic link, and none is followed; name the file itself"):
        cache.decide(ONE)
    assert elsewhere.read_bytes() == b"precious"
    assert not path.with_name("missing").exists()


@links
@pytest.mark.parametrize("end", ["", ".lock"])
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
def test_what_is_no_file_is_a_clear_error(path: Path, cache: TokenCache, end: str, make: Callable[[str], None]) -> None:
    make(f"{path}{end}")
    with pytest.raises(ConfigurationError, match=r"^TokenCache\(.*\): .* is not a regular file; name a file"):
        cache.decide(ONE)


def test_what_killed_writers_left_is_removed_and_nothing_else(path: Path, cache: TokenCache) -> None:
    for name in ("tokens.json.123-4.tmp", "tokens.json.9-0.tmp", "tokens.json.tmp", "tokens_json.1-1.tmp", "1-1.tmp"):
        path.with_name(name).write_bytes(b"sealed")
    cache.decide(ONE)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "1-1.tmp", "tokens.json", "tokens.json.lock", "tokens.json.tmp", "tokens_json.1-1.tmp",
    ]  # fmt: skip


def test_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert TokenCache("~/tokens.json").decide(ONE) == (1,)
    assert (tmp_path / "tokens.json").exists()


def test_one_missing_directory_is_made_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    TokenCache(tmp_path / "app" / "tokens.json").decide(ONE)
    assert caplog.records[0].getMessage().startswith(f"made the directory {tmp_path / 'app'} for the token cache")
    with pytest.raises(ConfigurationError, match=r"its directory .* does not exist; make it first"):
        TokenCache(tmp_path / "no" / "app" / "tokens.json").decide(ONE)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"its directory .* does not exist; make it first"):
        TokenCache(tmp_path / "file" / "tokens.json").decide(ONE)


@pytest.mark.parametrize("value", [0, -1])
def test_a_cache_that_keeps_nothing_is_refused(path: Path, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^TokenCache\(max_keys={value}\): max_keys must be"):
        TokenCache(path, max_keys=value)


@pytest.mark.parametrize("value", ["", "a\0b", "redis://localhost"])
def test_a_path_that_names_no_file_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TokenCache: path must name a file"):
        TokenCache(value)


def test_keys_stay_within_bounds_whoever_writes(path: Path) -> None:
    for number in range(30):
        TokenCache(path, max_keys=10).decide([Event(MANY, f"{number}", 1), Event(MANY, "kept", 1)])
    assert len(parse(path.read_bytes()).states) == 10
    assert TokenCache(path, max_keys=10).decide(one("kept")) == (31,)


def test_a_key_may_be_any_string(path: Path, cache: TokenCache) -> None:
    for key in ("", "\0", "\ud800", "é'\"--"):
        assert [cache.decide(one(key)), TokenCache(path).decide(one(key))] == [(1,), (2,)]


def test_a_lock_that_others_keep_is_a_clear_error(
    path: Path, cache: TokenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "PATIENCE", 0.05)
    cache.defer(ONE)
    with private_files.hold_lock(f"{path}.lock"):
        with pytest.raises(PolvoError, match="was in use by others for more than") as caught:
            cache.decide(ONE)
        assert caught.value.reason == "store busy"
        with pytest.raises(PolvoError, match="was in use by others for more than"):
            cache.set_aside("test")
    assert cache.decide(ONE) == (2,), "what was late has been forgotten"


def test_a_lock_that_was_deleted_by_hand_is_no_lock_any_more(path: Path, cache: TokenCache) -> None:
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        os.unlink(f"{path}.lock")

    cache._sleep = let_go
    with private_files.hold_lock(f"{path}.lock"):
        assert cache.decide(ONE) == (1,)
    assert len(waits) == 1


def test_a_lock_that_was_deleted_before_it_was_had_is_taken_anew(
    path: Path, cache: TokenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, deleted = private_files._lock, list[str]()

    def late(descriptor: int) -> bool:
        if not deleted:
            deleted.append(f"{path}.lock")
            os.unlink(deleted[0])
        return lock(descriptor)

    monkeypatch.setattr(private_files, "_lock", late)
    assert cache.decide(ONE) == (1,)
    assert os.path.exists(deleted[0]), "it was decided under a lock that others do not see"


def test_a_file_is_dated_later_than_the_one_before_whatever_the_clock_says(path: Path, cache: TokenCache) -> None:
    other = TokenCache(path)
    assert [cache.decide(ONE), other.decide(ONE)] == [(1,), (2,)]
    os.utime(path, (2e9, 2e9))
    times = [path.stat().st_mtime_ns]
    for each in (cache, other, cache):
        each.decide(ONE)
        times.append(path.stat().st_mtime_ns)
    assert times == sorted(set(times))
    assert times[-1] < 2e18 + 1e10


# Corrupt files.

GOOD: dict[str, Any] = json.loads(render(CacheContent({"a": "5", "b": "7"}, 0.0, 0.0, {})))
CORRUPT = [
    b"", b"{", b"null", b"[]", b"\xff\xfe", b"\0" * 100, b"[" * 100_000, b"1" * 5000, b"{}",
    *(json.dumps({**GOOD, **change}).encode() for change in [
        {"polvo_adapters": "something else"}, {"version": 2}, {"version": True}, {"version": "1"}, {"states": []},
        {"states": {"a": 5}}, {"states": None}, {"time": None}, {"time": True}, {"time": "noon"}, {"time": 1e300},
        {"time": float("nan")}, {"time": -float("inf")}, {"time": 10**400}, {"ahead": "x"}, {"ahead": float("inf")},
        {"starts": []}, {"starts": {"boot": "noon"}}, {"starts": {"boot": float("nan")}}, {"starts": None},
    ]),
    render(CacheContent({"a": "5"}, 0.0, 0.0, {}))[:-5],
]  # fmt: skip


@pytest.mark.parametrize("data", CORRUPT, ids=range(len(CORRUPT)))
def test_a_corrupt_file_is_set_aside_and_never_lost(path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        path.write_bytes(data)
        path.chmod(0o600)
        cache, changes = TokenCache(path), list[StateChange]()
        cache.listeners.append(changes.append)
        assert [cache.decide(ONE), TokenCache(path).decide(ONE)] == [(1,), (2,)]
        aside = path.with_name(f"tokens.json.corrupt-{number}")
        assert aside.read_bytes() == data
        (message,) = (record.getMessage() for record in caplog.records)
        assert message.startswith(f"the token cache {path} cannot be used (it")
        assert f"it was set aside as {aside}" in message
        ((what, before, after, _),) = changes
        assert (what, before, after) == (f"token cache {path}", "file", "set aside")
        caplog.clear()


@given(st.binary(max_size=200) | st.sampled_from(CORRUPT))
def test_no_content_fails_a_decision(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tokens.json")
        path.touch(0o600)
        path.write_bytes(data)
        cache = TokenCache(path)
        assert [cache.decide(ONE), TokenCache(path).decide(ONE)] == [(1,), (2,)]
        assert Path(directory, "tokens.json.corrupt-1").read_bytes() == data


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_fails_a_decision(damage: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tokens.json")
        breaker, events = CircuitBreaker(), [[Event(MANY, f"{number}", 1)] for number in range(5)]
        for batch in [*events, [Event(breaker, "circuit", AcquirePermit())]]:
            TokenCache(path).decide(batch)
        data = bytearray(path.read_bytes())
        for place, value in damage:
            data[place % len(data)] = value
        path.write_bytes(data)
        cache = TokenCache(path)
        cache.decide([Event(breaker, "circuit", AcquirePermit())])
        for key in parse(path.read_bytes()).states if path.exists() else ():
            assert type(key) is str
        assert not cache._failed


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_cache_is_corrupt_whatever_it_is(data: bytes | str) -> None:
    with pytest.raises(Corrupt) as caught:
        parse(data if isinstance(data, bytes) else data.encode())
    assert caught.value.__context__ is None


TIMES = st.floats(-1e11, 1e11)


@given(st.dictionaries(st.text(), st.text()), TIMES, TIMES, st.dictionaries(st.text(), TIMES))
def test_what_is_written_is_read(states: dict[str, str], time: float, ahead: float, starts: dict[str, float]) -> None:
    content = parse(render(CacheContent(states, time, ahead, starts)))
    assert (content, list(content.states)) == (CacheContent(states, time, ahead, starts), list(states))


def test_a_file_of_an_older_version_has_no_starts() -> None:
    value = {name: part for name, part in GOOD.items() if name != "starts"}
    assert parse(json.dumps(value).encode()).starts == {}


def test_a_file_that_is_too_large_is_set_aside_without_reading_it_all(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, private_files.LARGEST + 1)
    assert TokenCache(path).decide(ONE) == (1,)
    assert path.with_name("tokens.json.corrupt-1").exists()


def test_what_would_be_too_large_to_be_read_again_is_not_written(
    path: Path, cache: TokenCache, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    cache.decide(ONE)
    before = path.read_bytes()
    monkeypatch.setattr(private_files, "LARGEST", len(before))
    assert [cache.decide(one("b" * 1000)) for _ in range(2)] == [(1,), (2,)]
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", '{"n":["circuits.State",0,[]]}', '{"x":[1]}', "\ud800", "{}"])
@pytest.mark.parametrize("event", [ONE, LOOK, [Event(Counter(0), "a", 1)]])
def test_one_state_that_cannot_be_read_costs_no_other(path: Path, text: str, event: list[Event]) -> None:
    path.write_bytes(render(CacheContent({"a": text, "b": "7", "c": "8"}, 5.0, 0.0, {})))
    path.chmod(0o600)
    before, cache = path.read_bytes(), TokenCache(path)
    verdict = cache.decide(event)
    assert verdict == Counter(event[0].machine.limit).transition(0, event[0].event, 0.0)[1:]
    assert path.with_name("tokens.json.corrupt-1").read_bytes() == before
    states = parse(path.read_bytes()).states
    assert {key: states[key] for key in "bc"} == {"b": "7", "c": "8"}
    assert states.get("a") == (None if event is not ONE else "1")
    assert not path.with_name("tokens.json.corrupt-2").exists()


def test_a_machine_that_raises_is_no_corrupt_file(path: Path, cache: TokenCache) -> None:
    class Broken(Counter):
        def transition(self, state: int, event: int, now: float) -> Any:
            return b"\xb8".decode(), True

    with pytest.raises(UnicodeDecodeError):
        cache.decide([Event(Broken(9), "a", 1)])
    assert cache.decide(ONE) == (1,)
    assert not path.with_name("tokens.json.corrupt-1").exists()


def test_a_file_that_was_deleted_is_begun_anew(path: Path, cache: TokenCache) -> None:
    cache.decide(ONE)
    path.unlink()
    assert [cache.decide(ONE), TokenCache(path).decide(ONE)] == [(1,), (2,)]


# Setting aside on request.


def test_what_cannot_be_decrypted_is_set_aside_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    TokenCache(path).decide(ONE)
    caches, changes = [TokenCache(path) for _ in range(3)], list[StateChange]()
    for cache in caches:
        cache.listeners.append(changes.append)
        assert cache.decide(LOOK) == (1,)
    asides = [cache.set_aside("no key opens it") for cache in caches]
    assert asides == [f"{path}.corrupt-1", None, None]
    assert [cache.decide(ONE) for cache in caches] == [(1,), (2,), (3,)]
    assert changes == [StateChange(f"token cache {path}", "file", "set aside", "no key opens it")]
    assert "(no key opens it)" in caplog.text


def test_a_state_that_was_replaced_meanwhile_is_let_be(path: Path, cache: TokenCache) -> None:
    cache.decide(ONE)
    TokenCache(path).decide(ONE)
    assert cache.set_aside("why", "a", 1) is None
    assert cache.decide(LOOK) == (2,)
    assert cache.set_aside("why", "a", 2) == f"{path}.corrupt-1"
    assert cache.set_aside("why", "a", 2) is None
    assert cache.decide(LOOK) == (0,)


def test_without_a_file_nothing_is_set_aside(cache: TokenCache) -> None:
    assert cache.set_aside("why") is None


# No file.


def lose(path: Path) -> Path:
    """Take the directory away; this works for root too."""
    away = path.parent.with_name("away")
    path.parent.rename(away)
    return away


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "tokens.json"


@pytest.mark.parametrize("block", [False, True])
def test_without_a_directory_it_decides_in_memory_says_so_once_and_comes_back(
    home: Path, caplog: pytest.LogCaptureFixture, at_once: None, block: bool
) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    cache, changes, woken = TokenCache(home), list[StateChange](), list[str]()
    cache.listeners += [never_good, changes.append]
    assert cache.decide([*ONE, *one("b")]) == (1, 1)
    away = lose(home)
    if block:
        home.parent.write_bytes(b"a file where the directory was")
    assert [cache.decide(ONE) for _ in range(3)] == [(2,), (3,), (4,)]
    assert cache.decide(one("b")) == (2,), "the last state known has been forgotten"
    assert cache.park("a", lambda: woken.append("a"))
    cache.decide([saying(Wake(("a",)))])
    assert woken == ["a"]
    if block:
        home.parent.unlink()
    away.rename(home.parent)
    assert cache.decide(LOOK) == (4,)
    assert TokenCache(home).decide([*LOOK, *look("b")]) == (4, 2)
    texts = [record.getMessage().split(str(home))[1][:12] for record in caplog.records]
    assert texts == [" cannot be u", " failed", " can be used", " failed"]
    assert [change[:3] for change in changes] == [
        (f"token cache {home}", "file", "memory"),
        (f"token cache {home}", "memory", "file"),
    ]


def never_good(change: StateChange) -> None:
    raise ZeroDivisionError


def test_what_moved_in_memory_and_in_the_file_is_as_in_the_file(home: Path, at_once: None) -> None:
    cache = TokenCache(home)
    cache.decide([*one("memory"), *one("both"), *one("file")])
    away = lose(home)
    cache.decide([*one("memory"), *one("both"), *one("new")])
    other = TokenCache(away / "tokens.json")
    other.decide([Event(MANY, "both", 10), Event(MANY, "file", 10)])
    away.rename(home.parent)
    expected = (2, 11, 11, 1)
    looks = [*look("memory"), *look("both"), *look("file"), *look("new")]
    assert cache.decide(looks) == expected
    assert TokenCache(home).decide(looks) == expected


@pytest.mark.parametrize("there", [None, b"corrupt"])
def test_a_disk_that_comes_back_empty_gets_what_memory_has(home: Path, at_once: None, there: bytes | None) -> None:
    cache = TokenCache(home)
    cache.decide(ONE)
    lose(home)
    cache.decide(ONE)
    home.parent.mkdir()
    if there is not None:
        home.touch(0o600)
        home.write_bytes(there)
    assert cache.decide(LOOK) == (2,)
    assert TokenCache(home).decide(LOOK) == (2,)


def test_a_file_that_can_be_read_and_not_written_is_followed(home: Path, at_once: None) -> None:
    long = home.with_name("n" * 245)  # a temporary file beside it would have a name that is too long
    TokenCache(home).decide([*ONE, *one("b")])
    home.rename(long)
    before, cache = long.read_bytes(), TokenCache(long)
    assert [cache.decide(ONE) for _ in range(3)] == [(2,), (3,), (4,)]
    assert long.read_bytes() == before
    other = TokenCache(home)
    other.decide([Event(MANY, "b", 9)])
    home.rename(long)
    assert cache.decide(look("b")) == (9,)
    assert [cache.decide(ONE), cache.decide(one("b"))] == [(1,), (10,)]


def test_a_file_that_failed_is_let_be_for_a_while(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "RETRY_SECONDS", 1e6)
    cache = TokenCache(home)
    cache.decide(ONE)
    away = lose(home)
    cache.decide(ONE)
    away.rename(home.parent)
    assert cache.decide(ONE) == (3,)
    assert TokenCache(home).decide(LOOK) == (1,)


def test_what_memory_keeps_is_bounded(home: Path, at_once: None) -> None:
    cache = TokenCache(home, max_keys=5)
    cache.decide(ONE)
    away = lose(home)
    for number in range(20):
        cache.decide(one(f"{number}"))
    assert len(cache._pending) == 5
    away.rename(home.parent)
    assert cache.decide(one("19")) == (2,)
    assert list(parse(home.read_bytes()).states) == ["15", "16", "17", "18", "19"]


def test_what_cannot_be_set_aside_is_forgotten_and_not_overwritten(home: Path, at_once: None) -> None:
    cache = TokenCache(home)
    cache.decide(ONE)
    away = lose(home)
    cache.decide(ONE)
    assert cache.set_aside("why") is None
    assert cache.decide(LOOK) == (0,)
    away.rename(home.parent)
    assert cache.decide(LOOK) == (1,)


# Time.


def test_times_that_an_event_names_are_put_on_the_clock_of_the_cache(path: Path) -> None:
    class Echo(Watch):
        def transition(self, state: int, event: Any, now: float) -> tuple[int, float]:
            return state, event.deadline - now

    ask = turns.TurnRequest("route", 1, 1, 5.0, time.monotonic() + 1000.0)
    (left,) = TokenCache(path, now=lambda: 5e6).decide([Event(Echo(), "a", ask)])
    assert 0 < left <= 1000.0


def test_time_alone_writes_nothing(path: Path, clock: VirtualClock) -> None:
    cache = TokenCache(path, now=clock.now, elapsed=clock.now)
    cache.decide(ONE)
    before = path.stat()
    clock.advance(100)
    assert cache.decide([Event(Watch(), "w", None)]) == (100.0,)
    assert path.stat() == before


def test_states_are_written_as_the_encoding_says(path: Path, cache: TokenCache) -> None:
    (permit,) = cache.decide([Event(CircuitBreaker(failure_threshold=1), "circuit", AcquirePermit())])
    cache.decide([Event(CircuitBreaker(failure_threshold=1), "circuit", permit.success._replace(result="failure"))])
    value = json.loads(path.read_text("ascii"))
    assert (value["polvo_adapters"], value["version"], list(value["states"])) == ("token cache", 1, ["circuit"])
    assert value["states"]["circuit"].startswith('{"n":["circuit.2"')
    assert encode(1) == "1"
