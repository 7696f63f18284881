"""The cache: one fetch for all waiting callers, times, bounds, forks."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from polvo_adapters.services.double_o import SecretError
from polvo_adapters.services.double_o.cache import OverdueError, SecretCache
from polvo_adapters.testing.virtual_clock import VirtualClock

SERVER = "http://a.test"


class Fetching:
    """A fetch that counts its calls, and with `held` waits for `go` in the middle."""

    def __init__(self, *, held: bool = False) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self) -> Any:
        self.count += 1
        self.begun.set()
        assert self.go.wait(20)
        return [f"value {self.count}"]


def get(cache: SecretCache, fetch: Callable[[], Any], ttl: float = 60, **keywords: Any) -> Any:
    arguments = {"server": SERVER, "token": "tok", "kind": "secret", **keywords}
    return cache.get(arguments.pop("server"), arguments.pop("token"), arguments.pop("kind"), ttl, fetch, **arguments)


def in_threads(count: int, task: Callable[[], Any]) -> tuple[list[threading.Thread], list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(task())
        except BaseException as error:  # noqa: BLE001 - that is what is looked at
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_value_is_used_while_both_ttls_last(clock: VirtualClock) -> None:
    cache, fetch = SecretCache(now=clock.now), Fetching()
    assert get(cache, fetch, 60) == ["value 1"]
    clock.advance(59)
    assert get(cache, fetch, 300) == ["value 1"]  # a longer wish does not prolong it
    assert get(cache, fetch, 30) == ["value 2"]  # and a shorter one is honoured
    clock.advance(30)
    assert get(cache, fetch, 300) == ["value 3"]
    assert fetch.count == 3


@pytest.mark.parametrize("ttl", [0, -5])
def test_no_ttl_keeps_and_uses_nothing(ttl: float, clock: VirtualClock) -> None:
    cache, fetch = SecretCache(now=clock.now), Fetching()
    get(cache, fetch, 60)
    assert get(cache, fetch, ttl) == ["value 2"]
    assert get(cache, fetch, 60) == ["value 1"]
    cache.invalidate()
    get(cache, fetch, ttl)
    assert len(cache) == 0


def test_server_token_and_kind_tell_values_apart() -> None:
    cache, fetch = SecretCache(), Fetching()
    for change in ({}, {"server": "http://b.test"}, {"token": "other"}, {"kind": "env"}):
        get(cache, fetch, **change)
    assert (fetch.count, len(cache)) == (4, 4)


def test_it_is_bounded_and_purged(clock: VirtualClock) -> None:
    cache, fetch = SecretCache(max_entries=10, now=clock.now), Fetching()
    for number in range(25):
        get(cache, fetch, token=str(number))
    assert len(cache) == 10
    assert get(cache, fetch, token="24") == ["value 25"]
    assert get(cache, fetch, token="15") == ["value 16"]
    clock.advance(60)
    get(cache, fetch, token="new")
    assert len(cache) == 1


def test_its_clock_only_moves_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, fetch = SecretCache(), Fetching()
    get(cache, fetch)
    monkeypatch.setattr("time.time", lambda: 1e12)
    get(cache, fetch)
    assert fetch.count == 1


def test_a_caller_cannot_change_what_others_get() -> None:
    cache, fetch = SecretCache(), Fetching()
    get(cache, fetch).append("mine")
    get(cache, fetch).append("mine")
    assert get(cache, fetch) == ["value 1"]


def test_many_threads_make_one_fetch() -> None:
    cache, fetch = SecretCache(), Fetching(held=True)
    first, results = in_threads(1, lambda: get(cache, fetch))
    assert fetch.begun.wait(20)
    others, more = in_threads(31, lambda: get(cache, fetch))
    fetch.go.set()
    join(first + others)
    assert results + more == [["value 1"]] * 32
    assert fetch.count == 1


def test_those_who_wait_get_an_error_of_their_own() -> None:
    cache, fetch, original = SecretCache(), Fetching(held=True), SecretError("gone", retry_after=5.0)

    def failing() -> None:
        fetch()
        raise original

    first, results = in_threads(1, lambda: get(cache, failing))
    assert fetch.begun.wait(20)
    others, more = in_threads(4, lambda: get(cache, failing))
    wait_until_they_wait(cache, others)
    fetch.go.set()
    join(first + others)
    errors = results + more
    assert [(type(error), str(error), error.retry_after) for error in errors] == [(SecretError, "gone", 5.0)] * 5
    assert len({id(error) for error in errors}) == 5
    assert fetch.count == 1
    assert get(cache, fetch) == ["value 2"]


def wait_until_they_wait(cache: SecretCache, threads: list[threading.Thread]) -> None:
    """Return once all threads wait for the flight."""
    (flight,) = cache._flights.values()
    for _ in range(2000):
        if len(flight.done._condition._waiters) == len(threads):
            return
        threading.Event().wait(0.005)
    raise AssertionError


def test_an_interrupted_fetch_is_taken_over() -> None:
    cache, fetch = SecretCache(), Fetching(held=True)

    def interrupted() -> None:
        fetch()
        raise KeyboardInterrupt

    first, results = in_threads(1, lambda: get(cache, interrupted))
    assert fetch.begun.wait(20)
    others, more = in_threads(4, lambda: get(cache, fetch))
    wait_until_they_wait(cache, others)
    fetch.go.set()
    join(first + others)
    assert isinstance(results[0], KeyboardInterrupt)
    assert more == [["value 2"]] * 4


def test_patience_ends() -> None:
    cache, fetch = SecretCache(), Fetching(held=True)
    first, _ = in_threads(1, lambda: get(cache, fetch))
    assert fetch.begun.wait(20)
    with pytest.raises(OverdueError):
        get(cache, fetch, patience=0.01)
    fetch.go.set()
    join(first)


def test_what_was_invalidated_on_its_way_is_not_kept() -> None:
    cache, fetch = SecretCache(), Fetching(held=True)
    first, results = in_threads(1, lambda: get(cache, fetch))
    assert fetch.begun.wait(20)
    cache.invalidate()
    fetch.go.set()
    join(first)
    assert (results, len(cache)) == ([["value 1"]], 0)
    assert get(cache, fetch) == ["value 2"]


def test_invalidation_is_as_wide_as_asked_for() -> None:
    def filled() -> SecretCache:
        cache, fetch = SecretCache(), Fetching()
        for server in (SERVER, "http://b.test"):
            for token in ("tok", "other"):
                for kind in ("secret", "env"):
                    get(cache, fetch, server=server, token=token, kind=kind)
        return cache

    for arguments, left in (
        ({}, 0),
        ({"server": SERVER}, 4),
        ({"token": "tok"}, 4),
        ({"server": SERVER, "token": "tok"}, 6),
    ):
        cache = filled()
        cache.invalidate(**arguments)
        assert len(cache) == left


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_the_threads_of_its_parent() -> None:
    cache, fetch = SecretCache(), Fetching(held=True)
    first, _ = in_threads(1, lambda: get(cache, fetch))
    assert fetch.begun.wait(20)
    with cache._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends it where it waits for ever
            os._exit(0 if get(cache, lambda: "fresh", patience=5) == "fresh" else 1)
    fetch.go.set()
    join(first)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_shows_and_pickles_nothing() -> None:
    cache = SecretCache(max_entries=7)
    get(cache, lambda: "hush-value", token="hush-token")
    assert repr(cache) == "<SecretCache of 1>"
    data = pickle.dumps(cache)
    assert b"hush" not in data
    assert len(pickle.loads(data)) == 0
    assert "hush-token" not in repr(cache._entries.keys())


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_entries=0"):
        SecretCache(max_entries=0)
