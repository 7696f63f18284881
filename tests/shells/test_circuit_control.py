"""Circuit breakers and bulkheads as users hold them: circuits in hand, listeners, adapters, sessions, pickles."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import BreakerAdapter, BulkheadAdapter, PolicyAdapter, ResilientAdapter, install, uninstall
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import CircuitOpenError, ConfigurationError, PoolTimeoutError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock

URL = "http://server.example/orders"
CIRCUIT = "circuit http://server.example"
DOWN = 503
LONGEST = 60.0  # seconds until a thread that hangs is given up


class Scripted(BaseAdapter):
    """An adapter below that answers with one status after the other, and repeats the last."""

    def __init__(self, statuses: Sequence[int]) -> None:
        super().__init__()
        self.statuses, self.received = list(statuses), 0

    def send(self, request: requests.PreparedRequest, *args: Any, **keywords: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = self.statuses[min(self.received, len(self.statuses) - 1)]
        response.request, response._content = request, b""
        self.received += 1
        return response

    def close(self) -> None:
        """Nothing to close."""


class World:
    """A session whose server follows a script, in virtual time, behind a circuit breaker."""

    def __init__(self, *statuses: int, **keywords: Any) -> None:
        self.clock, self.inner = VirtualClock(), Scripted(statuses or [200])
        self.adapter = BreakerAdapter(inner=self.inner, clock=self.clock, **keywords)
        self.session = mounted(self.adapter)
        self.circuit = self.adapter.circuit(URL)

    def get(self, url: str = URL) -> int | None:
        """Return the status, or None for a call that was refused."""
        try:
            return self.session.get(url).status_code
        except CircuitOpenError:
            return None


def mounted(adapter: requests.adapters.BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.mount("http://", adapter)
    return session


# In hand --------------------------------------------------------------------------------------------------------------


def test_a_circuit_shows_its_state() -> None:
    world = World(200, DOWN, failure_threshold=2)
    assert (world.circuit.name, world.circuit.state) == (CIRCUIT, "closed")
    assert [world.get() for _ in range(4)] == [200, 503, 503, None]
    world.clock.advance(20)
    assert world.circuit.status == ("open", "", 0, 0, 0, 40.0, "2 failures in a row", 20.0)
    assert repr(world.circuit) == f"<Circuit {CIRCUIT}: open>"


def test_to_look_changes_nothing() -> None:
    told: list[StateChange] = []
    world = World(DOWN, failure_threshold=1, listeners=[told.append])
    world.get()
    world.clock.advance(60)
    for _ in range(5):
        assert (world.circuit.state, world.circuit.status.retry_after) == ("open", 0.0)
    assert len(told) == 1


def test_open_refuses_until_close() -> None:
    world = World()
    world.circuit.open()
    assert (world.circuit.state, world.get(), world.inner.received) == ("isolated", None, 0)
    world.clock.advance(1e6)
    assert world.get() is None
    world.circuit.close()
    assert (world.circuit.state, world.get()) == ("closed", 200)


def test_close_ends_what_opened_by_itself() -> None:
    world = World(DOWN, 200, failure_threshold=1)
    assert [world.get(), world.get()] == [503, None]
    world.circuit.close()
    assert world.get() == 200


def test_disable_lets_all_pass() -> None:
    world = World(DOWN, failure_threshold=1)
    world.circuit.disable()
    assert [world.get() for _ in range(4)] == [503] * 4
    assert (world.circuit.state, world.circuit.status.failures) == ("disabled", 0)
    world.circuit.close()
    assert [world.get(), world.get()] == [503, None]


def test_observe_reports_and_lets_all_pass() -> None:
    told: list[StateChange] = []
    world = World(DOWN, failure_threshold=2, listeners=[told.append])
    world.circuit.observe()
    assert [world.get() for _ in range(5)] == [503] * 5
    assert world.circuit.state == "observed"
    assert world.circuit.status.state == "open"
    assert [str(change) for change in told] == [
        f"{CIRCUIT}: closed → observed (by hand)",
        f"{CIRCUIT}: closed → open (2 failures in a row)",
    ]


def test_manual_control_holds_for_all_that_share_the_store() -> None:
    store = MemoryStore()
    first, second = BreakerAdapter(store=store), ResilientAdapter(circuit_breaker=True, bulkhead=3, store=store)
    first.circuit(URL).open()
    assert second.circuit(URL).state == "isolated"
    with pytest.raises(CircuitOpenError):
        mounted(second).get(URL)


def test_a_url_belongs_to_the_circuit_of_its_origin() -> None:
    adapter = BreakerAdapter()
    assert adapter.circuit("http://user:s3cret@server.example:80/x?y#z").name == CIRCUIT
    assert adapter.circuit("https://server.example/").name != CIRCUIT


def test_a_url_belongs_to_the_circuit_of_its_prefix() -> None:
    adapter = BreakerAdapter(key=("/v1", "/v2"))
    names = [adapter.circuit(f"http://server.example{path}").name for path in ("/v1/x", "/v2", "/v3")]
    assert names == [CIRCUIT + "/v1", CIRCUIT + "/v2", CIRCUIT]


@pytest.mark.parametrize("adapter", [PolicyAdapter(), BulkheadAdapter(3), ResilientAdapter()])
def test_without_a_breaker_there_is_no_circuit(adapter: PolicyAdapter) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no circuit breaker for http://server.example/x;"):
        adapter.circuit("http://server.example/x?token=s3cret")


def test_a_session_finds_the_circuit_of_a_relative_url() -> None:
    session = polvo.Session("http://server.example/v1", circuit_breaker={"key": ("/v1/orders",)})
    assert session.circuit("orders").name == CIRCUIT + "/v1/orders"
    assert session.circuit().name == CIRCUIT


def test_a_session_says_where_there_is_no_circuit() -> None:
    session = polvo.Session("http://server.example", circuit_breaker=True)
    session.mount("http://", HTTPAdapter())
    with pytest.raises(ConfigurationError, match=r"there is no circuit breaker for http://server.example"):
        session.circuit("x")


# Listeners ------------------------------------------------------------------------------------------------------------


def test_listeners_are_notified_of_every_change_once() -> None:
    told: list[StateChange] = []
    also: list[StateChange] = []
    world = World(DOWN, DOWN, DOWN, 200, failure_threshold=2, listeners=(told.append, also.append))
    for _ in range(4):
        world.get()
    world.clock.advance(60)
    world.get()  # a probe that fails
    world.clock.advance(120)
    world.get()  # and one that does not
    changes = [(change.before, change.after) for change in told]
    assert changes == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]
    assert also == told
    assert {change.what for change in told} == {CIRCUIT}


def test_a_change_is_in_the_report_of_the_call_that_brought_it_about() -> None:
    world = World(DOWN, 200, failure_threshold=1)
    response: Any = world.session.get(URL)
    assert [change.after for change in response.polvo.changes] == ["open"]
    world.clock.advance(60)
    response = world.session.get(URL)
    assert [change.after for change in response.polvo.changes] == ["half-open", "closed"]


def test_a_listener_that_fails_is_logged_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[StateChange] = []

    def broken(change: StateChange) -> None:
        raise ZeroDivisionError

    world = World(DOWN, failure_threshold=1, listeners=(broken, told.append))
    with caplog.at_level(logging.ERROR, logger="polvo_adapters"):
        assert world.get() == 503
    assert [record.getMessage() for record in caplog.records] == [f"a listener of {CIRCUIT} failed"]
    assert len(told) == 1
    assert world.get() is None


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World(DOWN, failure_threshold=1)
    with caplog.at_level(logging.INFO, logger="polvo_adapters"):
        world.get()
    assert [record.getMessage() for record in caplog.records] == [f"{CIRCUIT}: closed → open (a failure)"]


def test_a_listener_may_use_what_it_listens_to() -> None:
    # It would wait for ever if the lock of the store were held, and another thread would as well.
    seen: list[Any] = []

    def look(change: StateChange) -> None:
        seen.append(world.circuit.state)
        other = threading.Thread(target=lambda: seen.append(world.get()), daemon=True)
        other.start()
        other.join(LONGEST)

    world = World(DOWN, failure_threshold=1, listeners=(look,))
    caller = threading.Thread(target=world.get, daemon=True)
    caller.start()
    caller.join(LONGEST)
    assert not caller.is_alive()
    assert seen == ["open", None]


def test_a_command_is_reported_once() -> None:
    told: list[StateChange] = []
    world = World(listeners=[told.append])
    world.circuit.open()
    world.circuit.open()
    world.circuit.close()
    world.circuit.close()
    assert [(change.before, change.after) for change in told] == [("closed", "isolated"), ("isolated", "closed")]


# Adapters and keywords ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "policy"),
    [
        (lambda: BreakerAdapter(), CircuitBreaker()),
        (lambda: BreakerAdapter(True), CircuitBreaker()),
        (lambda: BreakerAdapter(failure_threshold=3), CircuitBreaker(3)),
        (lambda: BreakerAdapter(CircuitBreaker(3)), CircuitBreaker(3)),
        (lambda: BreakerAdapter({"failure_threshold": 3}), CircuitBreaker(3)),
        (lambda: BulkheadAdapter(), Bulkhead()),
        (lambda: BulkheadAdapter(5), Bulkhead(5)),
        (lambda: BulkheadAdapter(max_concurrency=5), Bulkhead(5)),
        (lambda: BulkheadAdapter(5, acquisition_timeout=2), Bulkhead(5, 2)),
        (lambda: BulkheadAdapter(Bulkhead(5, 2)), Bulkhead(5, 2)),
        (lambda: BulkheadAdapter({"max_concurrency": 5}), Bulkhead(5)),
        (lambda: BulkheadAdapter("adaptive"), AdaptiveBulkhead()),
        (
            lambda: BulkheadAdapter("adaptive", initial_limit=3, acquisition_timeout=2),
            AdaptiveBulkhead("gradient", 3, 1, 200, 2),
        ),
        (lambda: BulkheadAdapter(AdaptiveBulkhead("aimd")), AdaptiveBulkhead("aimd")),
        (lambda: ResilientAdapter(False, circuit_breaker=True), CircuitBreaker()),
        (
            lambda: ResilientAdapter(False, circuit_breaker={"failure_threshold": 5, "recovery_timeout": 60}),
            CircuitBreaker(5, 60),
        ),
        (lambda: ResilientAdapter(False, circuit_breaker=CircuitBreaker(7)), CircuitBreaker(7)),
        (lambda: ResilientAdapter(False, bulkhead=7), Bulkhead(7)),
        (lambda: ResilientAdapter(False, bulkhead="adaptive"), AdaptiveBulkhead()),
        (lambda: ResilientAdapter(False, bulkhead={"max_concurrency": 7, "acquisition_timeout": 0}), Bulkhead(7, 0)),
    ],
)
def test_an_adapter_is_made_of_a_policy_or_of_its_keywords(adapter: Any, policy: Any) -> None:
    assert adapter().policies == (policy,)


def test_breaker_and_bulkhead_stand_side_by_side_below_the_retries() -> None:
    adapter = ResilientAdapter(deadline=9, rate_limit="adaptive", circuit_breaker=True, bulkhead=5)
    deadline, retry, gates, _ = adapter.policies
    assert (deadline, retry) == (Deadline(9), ExponentialBackoff())
    assert isinstance(gates, Gates)
    assert gates.gates == (CircuitBreaker(), Bulkhead(5))


@pytest.mark.parametrize("off", [None, False])
def test_a_breaker_that_is_not_wanted_is_not_there(off: Any) -> None:
    assert ResilientAdapter(False, circuit_breaker=off, bulkhead=None).policies == ()


@pytest.mark.parametrize(
    ("kind", "keywords"),
    [
        (BreakerAdapter, {"policy": 5}),
        (BreakerAdapter, {"policy": "closed"}),
        (BreakerAdapter, {"policy": False}),
        (BreakerAdapter, {"policy": Bulkhead(5)}),
        (BreakerAdapter, {"policy": {"threshold": 5}}),
        (BreakerAdapter, {"policy": CircuitBreaker(), "failure_threshold": 3}),
        (BreakerAdapter, {"threshold": 3}),
        (BulkheadAdapter, {"policy": True}),
        (BulkheadAdapter, {"policy": 2.5}),
        (BulkheadAdapter, {"policy": "many"}),
        (BulkheadAdapter, {"policy": CircuitBreaker()}),
        (BulkheadAdapter, {"policy": 5, "max_concurrency": 3}),
        (BulkheadAdapter, {"policy": Bulkhead(5), "acquisition_timeout": 3}),
        (BulkheadAdapter, {"policy": "adaptive", "max_concurrency": 3}),
        (ResilientAdapter, {"circuit_breaker": 5}),
        (ResilientAdapter, {"circuit_breaker": {"threshold": 5}}),
        (ResilientAdapter, {"bulkhead": True}),
        (ResilientAdapter, {"bulkhead": "many"}),
        (ResilientAdapter, {"bulkhead": {"limit": 5}}),
        (polvo.Session, {"circuit_breaker": 5}),
        (polvo.Session, {"bulkhead": 2.5}),
    ],
)
def test_what_is_no_policy_is_a_type_error(kind: Any, keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        kind(**keywords)


@pytest.mark.parametrize(
    ("kind", "keywords"),
    [
        (BreakerAdapter, {"failure_threshold": 0}),
        (BulkheadAdapter, {"policy": 0}),
        (BulkheadAdapter, {"policy": -5}),
        (BulkheadAdapter, {"policy": "adaptive", "initial_limit": 0}),
        (ResilientAdapter, {"circuit_breaker": {"recovery_timeout": -1}}),
        (ResilientAdapter, {"bulkhead": 0}),
        (polvo.Session, {"circuit_breaker": {"failure_rate": 2, "window": 5}}),
        (polvo.Session, {"bulkhead": {"acquisition_timeout": -1}}),
    ],
)
def test_what_is_out_of_range_is_a_value_error(kind: Any, keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        kind(**keywords)


@pytest.mark.parametrize(
    ("adapter", "size"),
    [
        (lambda: BulkheadAdapter(37), 37),
        (lambda: BulkheadAdapter(), 50),
        (lambda: BulkheadAdapter("adaptive", max_limit=33), 33),
        (lambda: BulkheadAdapter(37, pool_maxsize=4), 4),
        (lambda: ResilientAdapter(bulkhead=37), 37),
        (lambda: ResilientAdapter(bulkhead=37, circuit_breaker=True), 37),
        (lambda: ResilientAdapter(bulkhead="adaptive"), 200),
        (lambda: ResilientAdapter(bulkhead=37, pool_maxsize=4), 4),
        (lambda: ResilientAdapter(circuit_breaker=True), 10),
        (lambda: BreakerAdapter(), 10),
        (lambda: polvo.Session(bulkhead=37).get_adapter("https://x"), 37),
        (lambda: pickle.loads(pickle.dumps(BulkheadAdapter(37))), 37),
    ],
)
def test_the_pool_is_as_large_as_the_bulkhead(adapter: Any, size: int) -> None:
    made = adapter()
    assert made._pool_maxsize == size
    assert made.poolmanager.connection_pool_kw["maxsize"] == size


def test_the_pool_of_a_wrapped_adapter_is_left_as_it_is() -> None:
    inner = HTTPAdapter(pool_maxsize=3)
    assert ResilientAdapter(bulkhead=37, inner=inner).poolmanager.connection_pool_kw["maxsize"] == 3


# Sessions -------------------------------------------------------------------------------------------------------------


def test_a_session_has_both(server: FailureServer) -> None:
    session = polvo.Session(
        server.url,
        retry=False,
        circuit_breaker={"failure_threshold": 1},
        bulkhead={"max_concurrency": 1, "acquisition_timeout": 0},
    )
    held = session.get("echo", stream=True)
    with pytest.raises(PoolTimeoutError):
        session.get("echo")
    held.close()
    assert session.get("fault/status?code=500").status_code == 500
    with pytest.raises(CircuitOpenError, match="Circuit breaker is OPEN"):
        session.get("echo")
    assert len(server.requests) == 2
    session.circuit("echo").close()
    assert session.get("echo").status_code == 200


def test_an_old_except_clause_catches_both(server: FailureServer) -> None:
    session = mounted(BreakerAdapter(failure_threshold=1))
    session.get(server.url + "/fault/status")
    with pytest.raises(requests.ConnectionError):
        session.get(server.url + "/echo")
    session = mounted(BulkheadAdapter(1, pool_maxsize=1))
    session = mounted(BulkheadAdapter(Bulkhead(1, 0)))
    held = session.get(server.url + "/echo", stream=True)
    with pytest.raises(requests.Timeout):
        session.get(server.url + "/echo")
    held.close()


def test_an_error_has_the_report_and_the_request_of_its_call(server: FailureServer) -> None:
    session = mounted(BreakerAdapter(failure_threshold=1))
    session.get(server.url + "/fault/status")
    with pytest.raises(CircuitOpenError) as caught:
        session.get(server.url + "/echo")
    error: Any = caught.value
    assert (error.request.method, error.polvo.attempts, error.attempts) == ("GET", [], 0)


def test_install_gives_a_session_one_circuit_per_origin(server: FailureServer) -> None:
    session = requests.Session()
    before = dict(session.adapters)
    assert install(session, circuit_breaker={"failure_threshold": 2}, retry=False) is session
    for _ in range(2):
        assert session.get(server.url + "/fault/status").status_code == 503
    with pytest.raises(CircuitOpenError):
        session.get(server.url + "/echo")
    uninstall(session)
    assert dict(session.adapters) == before
    assert session.get(server.url + "/echo").status_code == 200


def test_install_takes_the_defaults(server: FailureServer) -> None:
    session = install(requests.Session(), circuit_breaker=True, bulkhead=5)
    adapter: Any = session.get_adapter(server.url)
    assert session.get(server.url + "/echo").status_code == 200
    assert adapter.circuit(server.url).state == "closed"
    # Whatever is wrapped shares one store, and so the circuits.
    adapter.circuit(server.url).open()
    other: Any = session.get_adapter("https://")
    assert other.circuit(server.url).state == "isolated"


def test_a_redirect_passes_the_gates_hop_by_hop(server: FailureServer) -> None:
    # The body of a redirect is open while the session follows it no further than its own adapter allows: a slot that
    # waited for it would be waited for by the next hop.
    session = mounted(BulkheadAdapter(Bulkhead(1, 0)))
    assert session.get(server.url + "/fault/redirect").status_code == 200
    assert session.get(server.url + "/fault/redirect", stream=True).status_code == 200


# Pickles --------------------------------------------------------------------------------------------------------------


def by_method(call: Any) -> str:
    return str(call.method)


def ignore(change: StateChange) -> None:
    """Listen to nothing."""


@pytest.mark.parametrize("inner", [None, HTTPAdapter(), BreakerAdapter(failure_threshold=2)])
@pytest.mark.parametrize(
    ("kind", "keywords"),
    [
        (BreakerAdapter, {}),
        (BreakerAdapter, {"window": 5.0, "failure_rate": 0.5, "listeners": (ignore,), "key": by_method}),
        (BreakerAdapter, {"window_calls": 50, "key": ("/v1",), "max_recovery_timeout": float("inf")}),
        (BulkheadAdapter, {}),
        (BulkheadAdapter, {"max_concurrency": 3, "key": ("/v1", "/v2")}),
        (BulkheadAdapter, {"policy": "adaptive", "key": by_method}),
        (ResilientAdapter, {"circuit_breaker": True, "bulkhead": 3}),
        (ResilientAdapter, {"circuit_breaker": {"key": ("/v1",)}, "bulkhead": "adaptive"}),
    ],
)
def test_an_adapter_pickles_used_or_not(
    inner: Any, kind: Any, keywords: Mapping[str, Any], server: FailureServer
) -> None:
    adapter = kind(inner=inner, **keywords)
    for _ in range(2):
        assert mounted(adapter).get(server.url + "/echo").status_code == 200
        copied = pickle.loads(pickle.dumps(adapter))
        assert policies(copied) == policies(adapter)
        adapter = copied


def policies(adapter: PolicyAdapter) -> list[Any]:
    return [gate for policy in adapter.policies for gate in getattr(policy, "gates", (policy,))]


def test_a_session_with_both_pickles(server: FailureServer) -> None:
    session = polvo.Session(server.url, circuit_breaker=True, bulkhead=3)
    session.get("echo")
    copied = pickle.loads(pickle.dumps(session))
    assert copied.get("echo").status_code == 200
    assert copied.circuit().state == "closed"


def test_the_message_shows_nothing_of_the_url_that_may_be_a_secret() -> None:
    url = "https://ada:s3cret@server.example/x?key=s3cret#s3cret"
    with pytest.raises(ConfigurationError, match=r"for https://server.example/x;") as caught:
        ResilientAdapter().circuit(url)
    assert "s3cret" not in str(caught.value)
