"""The life of a secret: one fetch for all, refresh ahead of time, the last value in need, and nothing to be seen."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from polvo_adapters import errors
from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.context.tenant import current_tenant, tenant
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.refresh.background import REFRESHERS
from polvo_adapters.runtime import forks
from polvo_adapters.secrets import Fetched, Function, Secret
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.token_sharing import until

VALUE = "hunter2-the-value"


class Store:
    """A provider that answers as it is told, and counts."""

    scheme = "store"

    def __init__(self) -> None:
        self.value, self.lifetime = VALUE, None
        self.asked = 0
        self.failing: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    def fetch(self, name: str, field: str | None) -> Fetched:
        self.asked += 1
        self.before()
        if self.failing is not None:
            raise self.failing
        return Fetched(self.value, self.lifetime)


@pytest.fixture
def store() -> Store:
    return Store()


def failing(reason: str = "sealed", **keywords: Any) -> SecretError:
    return SecretError(f"store: {reason}", reason=reason, **keywords)


def secret(store: Store, clock: VirtualClock, **keywords: Any) -> Secret:
    return Secret(store, "app", clock=clock, background=keywords.pop("background", False), **keywords)


def join_refreshes() -> None:
    until(lambda: not REFRESHERS.busy)


# ------------------------------------------------------------------------------------------ one fetch


def test_it_is_fetched_when_it_is_first_used_and_then_kept(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    assert store.asked == 0
    assert [made.get(), made(), made.get()] == [VALUE] * 3
    assert store.asked == 1


@pytest.mark.parametrize("fails", [False, True])
def test_sixty_four_threads_on_a_cold_secret_make_one_fetch(store: Store, fails: bool) -> None:
    begun, found = threading.Barrier(65), list[str]()
    made = Secret(store, "app")
    waiting = threading.Event()
    store.before = lambda: waiting.wait(10)
    store.failing = failing() if fails else None

    def use() -> None:
        begun.wait(10)
        try:
            found.append(made.get())
        except SecretError as error:
            found.append(f"{error.reason} {error.provider} {error.name}")

    threads = [threading.Thread(target=use) for _ in range(64)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    waiting.set()
    for thread in threads:
        thread.join(20)
    assert store.asked == 1
    assert found == ["sealed store app" if fails else VALUE] * 64


def test_it_is_fetched_ahead_of_its_end_on_another_thread(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=100, refresh_before=20, background=True)
    threads: list[str] = []
    store.before = lambda: threads.append(threading.current_thread().name)
    assert made.get() == VALUE
    store.value = "second"
    clock.advance(74)
    assert made.get() == VALUE
    clock.advance(2)
    assert made.get() == VALUE
    join_refreshes()
    assert made.get() == "second"
    assert threads == ["MainThread", "secret refresh"]


def test_a_lease_that_is_shorter_than_the_ttl_counts(store: Store, clock: VirtualClock) -> None:
    store.lifetime = 40.0
    made = secret(store, clock, ttl=300)
    made.get()
    clock.advance(27)
    made.get()
    assert store.asked == 1
    clock.advance(2)
    made.get()
    assert store.asked == 2


def test_without_a_ttl_it_is_kept_until_it_is_refused(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=None)
    made.get()
    clock.advance(1e9)
    made.get()
    assert (store.asked, made.overdue) == (1, False)
    store.value = "second"
    made.invalidate()
    assert (made.get(), store.asked) == ("second", 2)


def test_who_refuses_again_and_again_is_not_believed_each_time(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    for _ in range(50):
        made.get()
        made.invalidate()
        clock.advance(0.01)
    assert store.asked <= 4


def test_a_value_that_was_refused_is_fetched_once_for_all_who_were(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    held = made.current()
    store.value = "second"
    later = [made.after(held) for _ in range(5)]
    assert [each and each.value for each in later] == ["second"] * 5
    assert store.asked == 2


# ------------------------------------------------------------------------------------------ the last value in need


def test_the_last_value_is_used_while_it_cannot_be_fetched_and_that_is_said(
    store: Store, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[StateChange] = []
    made = secret(store, clock, ttl=100, stale_if_error=1000, listeners=[told.append])
    made.get()
    store.failing = failing()
    clock.advance(94)
    assert (made.get(), made.overdue) == (VALUE, False)
    clock.advance(3)
    assert (made.get(), made.overdue) == (VALUE, True)
    assert [(each.before, each.after) for each in told] == [
        ("none", "generation 1"),
        ("generation 1", "not refreshed"),
        ("generation 1", "in use past its time"),
    ]
    assert told[2].reason == "sealed; for another 998 s at most"
    assert [record.levelno for record in caplog.records if "past its time" in record.getMessage()] == [logging.WARNING]
    clock.advance(996)
    assert made.get() == VALUE
    clock.advance(3)
    with pytest.raises(SecretError) as caught:
        made.get()
    assert (caught.value.reason, caught.value.provider, caught.value.name) == ("sealed", "store", "app")
    store.failing, store.value = None, "second"
    clock.advance(31)
    assert (made.get(), made.overdue) == ("second", False)


def test_while_it_is_overdue_nobody_waits(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=100, background=True)
    made.get()
    store.failing = failing()
    clock.advance(96)
    assert made.get() == VALUE  # the first to find out had to try
    released, tried = threading.Event(), threading.Event()

    def hang() -> None:
        tried.set()
        released.wait(10)

    store.before = hang
    clock.advance(60)
    assert [made.get() for _ in range(3)] == [VALUE] * 3
    assert tried.wait(10)
    assert made.get() == VALUE
    released.set()
    join_refreshes()


def test_how_often_a_failing_provider_is_asked_is_bounded(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=10)
    made.get()
    store.failing = failing()
    for _ in range(3000):
        clock.advance(0.1)
        made.get()
    assert store.asked <= 20


def test_without_grace_it_fails_at_its_end(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=100, stale_if_error=0)
    made.get()
    store.failing = failing()
    clock.advance(96)
    with pytest.raises(SecretError, match="sealed"):
        made.get()


def test_a_provider_that_says_that_it_is_gone_is_believed(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=100)
    made.get()
    store.failing = failing("not found", final=True)
    clock.advance(80)
    assert made.get() == VALUE
    clock.advance(20)
    with pytest.raises(SecretError) as caught:
        made.get()
    assert caught.value.reason == "not found"


def test_a_refused_value_goes_on_where_there_is_no_other_to_be_had(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    held = made.current()
    store.failing = failing()
    assert made.after(held) is None
    assert made.get() == VALUE


# ------------------------------------------------------------------------------------------ failures


def test_the_error_says_what_to_do_and_when(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    store.failing = failing("unavailable", retry_after=40.0)
    with pytest.raises(SecretError, match="store: unavailable"):
        made.get()
    clock.advance(1)
    with pytest.raises(SecretError) as caught:
        made.get()
    assert str(caught.value) == "store: there is no valid secret 'app' (unavailable); it is tried again in 39 s"
    assert (caught.value.retry_after, store.asked) == (39.0, 1)


@pytest.mark.parametrize("raised", [RuntimeError(VALUE), KeyError(VALUE), OSError(5, VALUE), errors.PolvoError(VALUE)])
def test_what_a_provider_raises_is_not_shown(store: Store, clock: VirtualClock, raised: Exception) -> None:
    store.failing = raised
    with pytest.raises(SecretError) as caught:
        secret(store, clock).get()
    assert caught.value.reason == type(raised).__name__
    assert VALUE not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "given",
    [None, "bare text", 5, ("a", "b"), Fetched(5), Fetched("a", "5"), Fetched("a", 0), Fetched("a", float("nan"))],
)
def test_a_provider_that_returns_something_else_is_told_so(
    clock: VirtualClock, given: Any, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr(store, "fetch", lambda name, field: given)
    with pytest.raises(SecretError) as caught:
        secret(store, clock).get()
    assert caught.value.reason == "malformed"


def test_an_interrupt_leaves_the_right_to_fetch_to_the_next(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)

    def interrupt() -> None:
        raise KeyboardInterrupt

    store.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        made.get()
    store.before = lambda: None
    assert made.get() == VALUE
    assert clock.now() == 0.0


@pytest.fixture
def within() -> Iterator[Callable[[float], object]]:
    """Return a function that puts what follows into a call with a deadline."""
    tokens = []
    yield lambda deadline: tokens.append(call_started.set(LogicalCall(None, 0.0, deadline)))
    for token in reversed(tokens):
        call_started.reset(token)


def test_a_call_that_is_out_of_time_says_nothing_of_the_provider(
    store: Store, clock: VirtualClock, within: Callable[[float], object]
) -> None:
    made = secret(store, clock)
    store.failing, store.before = failing("unreachable"), lambda: clock.advance(2)
    within(1.0)
    with pytest.raises(SecretError):
        made.get()
    store.failing = None
    within(100.0)
    assert (made.get(), store.asked) == (VALUE, 2)


@pytest.mark.parametrize(("deadline", "given"), [(5.0, 3.0), (100.0, 20.0)])
def test_the_provider_is_told_until_when_it_may_ask(
    store: Store, clock: VirtualClock, within: Callable[[float], object], deadline: float, given: float
) -> None:
    told: list[float] = []

    def note() -> None:
        begun = call_started.get()
        assert begun is not None
        assert begun.deadline is not None
        told.append(begun.deadline - time.monotonic())

    store.before = note
    made = secret(store, clock, deadline=20)
    within(deadline)
    clock.advance(2)
    made.get()
    assert told == [pytest.approx(given, abs=1)]


def test_errors_leave_no_cycles_behind(store: Store, clock: VirtualClock) -> None:
    store.failing = failing(final=True)
    made = secret(store, clock)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(SecretError):
            made.get()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "keywords",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": float("nan")},
        {"ttl": float("inf")},
        {"ttl": True},
        {"ttl": "5"},
        {"stale_if_error": -1},
        {"stale_if_error": float("inf")},
        {"refresh_before": -1},
        {"deadline": 0},
    ],
)
def test_settings_that_cannot_work_are_named(store: Store, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(keywords))):
        Secret(store, "app", **keywords)


@pytest.mark.parametrize("source", [None, 5, b"env://X", object(), "", "no uri", "env:X"])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="Secret: expected"):
        Secret(source)


# ------------------------------------------------------------------------------------------ what others see


def held(value: str = VALUE) -> str:
    return value


def test_it_does_not_become_a_text_by_mistake() -> None:
    made = Secret(held)
    made.get()
    for attempt in (str, "{}".format, "%s".__mod__, lambda value: f"{value}", lambda value: "a" + value, "".join):
        with pytest.raises(TypeError) as caught:
            attempt(made)
        assert VALUE not in str(caught.value)
    assert repr(made) == "<Secret function://held>"
    assert made
    assert made != Secret(held)
    assert made not in (VALUE, None)


def test_nothing_that_shows_it_shows_the_value(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock)
    value = made.current()
    shown = [made, value, vars(made), Fetched(VALUE, 5), made._store._states, [made]]
    assert VALUE not in " ".join(map(repr, shown))
    assert VALUE.encode() not in pickle.dumps(Secret(Function(held), "held"))


def test_a_pickle_holds_where_it_comes_from_and_nothing_else() -> None:
    made = Secret(held, ttl=17)
    made.get()
    pickled = pickle.dumps(made)
    assert VALUE.encode() not in pickled
    back = pickle.loads(pickled)
    assert repr(back) == repr(made)
    assert back._held == {}
    assert (back.get(), back._ttl) == (VALUE, 17)


def test_copies_are_the_secret_itself() -> None:
    made = Secret(held)
    assert copy.copy(made) is made
    assert copy.deepcopy({"auth": made})["auth"] is made


def test_it_is_the_same_for_all_tenants(clock: VirtualClock) -> None:
    seen: list[str] = []

    def ask() -> str:
        seen.append(current_tenant())
        return VALUE

    made = Secret(ask, clock=clock, background=False)
    with tenant("acme"):
        assert made.get() == VALUE
    with tenant("other"):
        assert made.get() == VALUE
    assert seen == [""]


def test_a_function_may_say_for_how_long(clock: VirtualClock) -> None:
    asked: list[float] = []

    def ask() -> Fetched:
        asked.append(clock.now())
        return Fetched('{"a": "1"}', 20.0)

    made = Secret(ask, field="a", clock=clock, background=False)
    made.get()
    clock.advance(16)
    assert made.get() == "1"
    assert asked == [0.0, 16.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_fetches_though_the_parent_was_at_it(store: Store) -> None:
    made = Secret(store, "app", deadline=5)
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(20)

    store.before = hang
    thread = threading.Thread(target=made.get)
    thread.start()
    assert begun.wait(10)
    child = os.fork()
    if child == 0:
        try:
            store.before = lambda: None
            os._exit(0 if made.get() == VALUE and store.asked == 2 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    go_on.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_refreshes_ahead_though_the_parent_was_at_it(store: Store, clock: VirtualClock) -> None:
    made = secret(store, clock, ttl=100, background=True)
    made.get()
    made._refreshing.add("")
    child = os.fork()
    if child == 0:
        os._exit(0 if not made._refreshing else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert made in forks._aware


class Schemeless:
    """A provider without the text `scheme`."""

    password = "hunter2"

    def fetch(self, name: str, field: str | None) -> Fetched:
        return Fetched("value")

    def __repr__(self) -> str:
        return f"<Schemeless {self.password}>"


class Fetchless:
    """A provider without the method `fetch`."""

    scheme = "mine"


@pytest.mark.parametrize(
    ("provider", "missing"),
    [
        (Schemeless(), "Schemeless is not a provider, it has no text `scheme`"),
        (Fetchless(), "Fetchless is not a provider, it has no method `fetch(name, field)`"),
    ],
)
def test_a_provider_that_lacks_a_member_is_named_at_once_and_not_shown(provider: Any, missing: str) -> None:
    for construct in (lambda: Secret(provider, "name"), lambda: Secret("env://NAME", provider=provider)):
        with pytest.raises(TypeError) as caught:
            construct()
        assert str(caught.value) == f"Secret: {missing}"
