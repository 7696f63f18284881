"""The log: the same lines in every world, before the wait they are about; no secrets, no harm, no cost when off."""

from __future__ import annotations

import logging
import pickle
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

import polvo_adapters
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Park, Policy, Proceed, Sleep
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED
from polvo_adapters.drivers import call_log
from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.fallback.alternatives import Fixed
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff, Retrying
from polvo_adapters.runtime import logs
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply, ScriptedTurn, Server
from tests.support.log_lines import LogLine, log_lines
from tests.support.worlds import (
    Calling,
    asynchronous,
    by_url,
    has_races,
    in_turn,
    simulated,
    synchronous,
    transported,
)

PACKAGE = Path(polvo_adapters.__file__).parent
WORLDS = (synchronous, asynchronous, simulated)
RETRY = ExponentialBackoff(base=0.5, jitter="none")
ORDERS = "http://server.example/orders"
PLACES = ("http://a.example", "http://b.example")
OK, BUSY, GONE = ScriptedReply(200, seconds=0.1), ScriptedReply(503, seconds=0.1), ScriptedFailure(DISCONNECTED, 0.1)
ATTEMPT = ("attempts", "DEBUG", "attempt")
AGAIN = ("retry", "WARNING", "retry")
GAVE_UP = ("retry", "WARNING", "gave_up")


@dataclass(frozen=True)
class Dawdling:
    """A policy of someone else, which says nothing of its waits but the reason."""

    effect: Sleep | Park

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        yield self.effect
        return (yield from proceed(call))


class BrokenStore(MemoryStore):
    """A store that decides nothing, and whose error would tell too much."""

    def decide(self, events: Any) -> Any:
        raise OSError("redis://user:hunter2@store.example")


class Scene(NamedTuple):
    """Policies, what the server does, calls, and the lines that this makes."""

    policies: Callable[[], Sequence[Policy]]
    server: Callable[[], Server]
    calls: Sequence[Calling]
    kinds: Sequence[tuple[str, str, str]]
    store: Callable[[Any], Any] = lambda now: MemoryStore(now=now)


def after(*turns: ScriptedTurn) -> Callable[[], Server]:
    return lambda: in_turn(*turns)


def regional() -> Server:
    return by_url({PLACES[0]: in_turn(ScriptedFailure(CONNECT, 0.1)), PLACES[1]: in_turn(OK)})


def once() -> Any:
    return iter([b"x"])


SCENES: dict[str, Scene] = {
    "nothing to say": Scene(lambda: [RETRY], after(OK), [Calling()], [ATTEMPT]),
    "an answer that blames the caller": Scene(lambda: [RETRY], after(ScriptedReply(404)), [Calling()], [ATTEMPT]),
    "a retry": Scene(lambda: [RETRY], after(BUSY, OK), [Calling()], [ATTEMPT, AGAIN, ATTEMPT]),
    "a retry when the server says": Scene(
        lambda: [RETRY], after(ScriptedReply(503, {"retry-after": "2"}), OK), [Calling()], [ATTEMPT, AGAIN, ATTEMPT]
    ),
    "a retry of a failure": Scene(lambda: [RETRY], after(GONE, OK), [Calling()], [ATTEMPT, AGAIN, ATTEMPT]),
    "attempts used up": Scene(
        lambda: [RETRY], after(BUSY), [Calling()], [ATTEMPT, AGAIN, ATTEMPT, AGAIN, ATTEMPT, GAVE_UP]
    ),
    "attempts used up, raised": Scene(
        lambda: [ExponentialBackoff(max_attempts=2, jitter="none", raise_on_status=True)],
        after(BUSY),
        [Calling()],
        [ATTEMPT, AGAIN, ATTEMPT, GAVE_UP],
    ),
    "not safe": Scene(lambda: [RETRY], after(GONE), [Calling(method="POST")], [ATTEMPT, GAVE_UP]),
    "no body for another": Scene(lambda: [RETRY], after(BUSY), [Calling(method="PUT", body=once)], [ATTEMPT, GAVE_UP]),
    "too long a Retry-After": Scene(
        lambda: [RETRY], after(ScriptedReply(503, {"retry-after": "999"})), [Calling()], [ATTEMPT, GAVE_UP]
    ),
    "beyond the deadline": Scene(
        lambda: [Deadline(3), RETRY],
        after(ScriptedReply(429, {"retry-after": "9"})),
        [Calling()],
        [ATTEMPT, ("deadline", "WARNING", "gave_up")],
    ),
    "the deadline is over": Scene(
        lambda: [Deadline(3), RETRY],
        after(ScriptedReply(200, seconds=9)),
        [Calling()],
        [ATTEMPT, ("deadline", "WARNING", "deadline")],
    ),
    "a rate limit waits": Scene(
        lambda: [TokenBucket(rate=0.5, capacity=1)],
        after(OK),
        [Calling(), Calling(at=0.3)],
        [ATTEMPT, ("ratelimit", "INFO", "wait"), ATTEMPT],
    ),
    "a rate limit waits long": Scene(
        lambda: [TokenBucket(rate=0.05, capacity=1)],
        after(OK),
        [Calling(), Calling(at=0.3)],
        [ATTEMPT, ("ratelimit", "WARNING", "wait"), ATTEMPT],
    ),
    "a rate limit refuses": Scene(
        lambda: [TokenBucket(rate=0.05, capacity=1, max_wait=3)],
        after(OK),
        [Calling(), Calling(at=0.3)],
        [ATTEMPT, ("ratelimit", "WARNING", "refused")],
    ),
    "a bulkhead queues": Scene(
        lambda: [Bulkhead(1, acquisition_timeout=9)],
        after(ScriptedReply(200, seconds=4)),
        [Calling(), Calling(at=0.3)],
        [("bulkhead", "INFO", "wait"), ATTEMPT, ATTEMPT],
    ),
    "a bulkhead queues for long": Scene(
        lambda: [Bulkhead(1, acquisition_timeout=60)],
        after(ScriptedReply(200, seconds=40)),
        [Calling(), Calling(at=0.3)],
        [("bulkhead", "INFO", "wait"), ("bulkhead", "WARNING", "wait"), ATTEMPT, ATTEMPT],
    ),
    "a bulkhead that is patient": Scene(
        lambda: [Bulkhead(1, acquisition_timeout=float("inf"))],
        after(ScriptedReply(200, seconds=40)),
        [Calling(), Calling(at=0.3)],
        [("bulkhead", "INFO", "wait"), ("bulkhead", "WARNING", "wait"), ATTEMPT, ATTEMPT],
    ),
    "a key at work for long": Scene(
        lambda: [IdempotencyKeys(record=True)],
        after(ScriptedReply(201, seconds=20)),
        [Calling(method="POST", key="k-1"), Calling(method="POST", key="k-1", at=0.3)],
        [
            ("idempotency", "INFO", "wait"),
            ("idempotency", "WARNING", "wait"),
            ATTEMPT,
            ("idempotency", "INFO", "answered"),
        ],
    ),
    "a bulkhead refuses": Scene(
        lambda: [Bulkhead(1, acquisition_timeout=2)],
        after(ScriptedReply(200, seconds=4)),
        [Calling(), Calling(at=0.3)],
        [("bulkhead", "INFO", "wait"), ("bulkhead", "WARNING", "refused"), ATTEMPT],
    ),
    "a circuit opens, refuses and closes": Scene(
        lambda: [CircuitBreaker(failure_threshold=1, recovery_timeout=5)],
        after(BUSY, OK),
        [Calling(), Calling(at=1), Calling(at=9)],
        [
            ATTEMPT,
            ("breaker", "WARNING", "circuit"),
            ("breaker", "WARNING", "refused"),
            ("breaker", "INFO", "circuit"),
            ATTEMPT,
            ("breaker", "INFO", "circuit"),
        ],
    ),
    "gates side by side": Scene(
        lambda: [Gates((CircuitBreaker(), Bulkhead(1, acquisition_timeout=0)))],
        after(ScriptedReply(200, seconds=4)),
        [Calling(), Calling(at=0.3)],
        [("bulkhead", "WARNING", "refused"), ATTEMPT],
    ),
    "a hedge": Scene(
        lambda: [Hedge(delay=1.0)],
        after(ScriptedReply(200, seconds=5), ScriptedReply(200, seconds=0.25)),
        [Calling()],
        [("hedge", "INFO", "hedge"), ATTEMPT, ATTEMPT, ("hedge", "INFO", "answered")],
    ),
    "another region": Scene(
        lambda: [Regions(PLACES)],
        regional,
        [Calling("http://server.example/orders")],
        [ATTEMPT, ATTEMPT, ("regions", "INFO", "answered")],
    ),
    "no region": Scene(
        lambda: [Regions(PLACES, mode="quorum", quorum=2)],
        regional,
        [Calling()],
        [ATTEMPT, ATTEMPT, ("regions", "WARNING", "gave_up")],
    ),
    "a fallback": Scene(
        lambda: [Fallback(Fixed(200)), RETRY],
        after(GONE),
        [Calling()],
        [ATTEMPT, AGAIN, ATTEMPT, AGAIN, ATTEMPT, ("fallback", "INFO", "answered")],
    ),
    "no fallback": Scene(
        lambda: [Fallback("stale"), RETRY],
        after(GONE),
        [Calling()],
        [ATTEMPT, AGAIN, ATTEMPT, AGAIN, ATTEMPT, GAVE_UP],
    ),
    "a key at work": Scene(
        lambda: [IdempotencyKeys(record=True)],
        after(ScriptedReply(201, seconds=0.5)),
        [Calling(method="POST", key="k-1"), Calling(method="POST", key="k-1", at=0.3)],
        [("idempotency", "INFO", "wait"), ATTEMPT, ("idempotency", "INFO", "answered")],
    ),
    "a store that fails": Scene(
        lambda: [RETRY, CircuitBreaker()],
        after(OK),
        [Calling()],
        [("stores", "WARNING", "store_failure"), ("stores", "WARNING", "refused")],
        lambda now: BrokenStore(now=now),
    ),
    "a policy that says nothing": Scene(
        lambda: [Dawdling(Sleep(2, 2, "why not"))], after(OK), [Calling()], [("", "INFO", "wait"), ATTEMPT]
    ),
    "a queue that says nothing": Scene(
        lambda: [Dawdling(Park("unused", 12, "why not"))], after(OK), [Calling()], [("", "INFO", "wait"), ATTEMPT]
    ),
}


def play(world: Any, scene: Scene, store: Callable[[Any], Any] | None = None) -> list[str]:
    """Run a scene in one world, and return how the calls ended."""
    try:
        tale = world(scene.policies(), scene.server(), scene.calls, 0, store or scene.store)
    except OSError as error:  # of a store; the worlds expect those of HTTP
        return [type(error).__name__]
    return [story.ended for story in tale.stories]


def tell_lines(world: Any, scene: Scene) -> list[LogLine]:
    """Return what one world logs of a scene."""
    with log_lines() as kept:

        def store(now: Callable[[], float]) -> Any:
            kept.now = now
            return scene.store(now)

        play(world, scene, store)
    return kept.lines


@pytest.mark.parametrize("name", SCENES)
def test_all_worlds_say_the_same_at_the_same_time(name: str) -> None:
    threads, loop, simulation = (tell_lines(world, SCENES[name]) for world in WORLDS)
    assert [line.kind for line in threads] == list(SCENES[name].kinds)
    assert loop == threads
    assert simulation == threads
    if not has_races(SCENES[name].policies()):
        assert tell_lines(transported, SCENES[name]) == threads


def test_the_scenes_show_every_event_of_a_call() -> None:
    shown = {event for scene in SCENES.values() for _, _, event in scene.kinds}
    rows = re.findall(r"^    (\S+) +(?:DEBUG|INFO|WARNING)", call_log.__doc__ or "", re.MULTILINE)
    assert len(rows) == 10
    assert shown == set(rows)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("world", WORLDS)
def test_each_line_can_be_formatted_and_has_every_field(world: Any, name: str) -> None:
    scene = SCENES[name]
    with log_lines() as kept:
        play(world, scene)
    pattern = "%(levelname)s %(name)s %(message)s " + " ".join(f"%({field})s" for field in logs.FIELDS)
    for record in kept.records:
        assert logging.Formatter(pattern).format(record)
        assert pickle.loads(pickle.dumps(record)).getMessage() == record.getMessage()  # for handlers with a queue


# Before the wait ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
def test_a_wait_is_said_before_it_begins(world: Any) -> None:
    lines = tell_lines(world, SCENES["a retry when the server says"])
    assert [line.at for line in lines] == [0.0, 0.0, round(0.1 + lines[1].fields["seconds"], 6)]
    assert lines[1].text.startswith("GET server.example: 503, Retry-After 2 s; attempt 2 of 3 in 2.")


@pytest.mark.parametrize("world", WORLDS)
def test_a_queue_is_said_once_and_before(world: Any) -> None:
    (line, *_) = tell_lines(world, SCENES["a bulkhead queues"])
    assert (line.at, line.fields["seconds"]) == (0.3, 9.0)
    assert line.text == "GET server.example: bulkhead, all 1 slots are in use; waiting up to 9.000 s"


TEXTS = {
    "attempts used up": "GET server.example: 503; gave up after 3 attempts",
    "attempts used up, raised": "GET server.example: 503; gave up after 2 attempts",
    "not safe": (
        "POST server.example: disconnected; POST is not repeated: the server may have processed it; pass an "
        "idempotency key where the API takes one (idempotency=True), or declare it safe (idempotent=True)"
    ),
    "no body for another": (
        "PUT server.example: 503; not sent again, as the body can be read only once; pass bytes or a seekable file"
    ),
    "beyond the deadline": "GET server.example: 429; 429, Retry-After 9 s, but only 3 s are left before the deadline",
    "the deadline is over": "GET server.example: deadline; the deadline of 3 s is over",
    "a bulkhead refuses": (
        "GET server.example: not sent, refused by bulkhead; bulkhead of 1 http://server.example: the only slot of "
        "the bulkhead is in use"
    ),
    "a fallback": ("GET server.example: 200; gave up after 3 attempts; a fixed response, after disconnected"),
    "a store that fails": "GET server.example: store failed, refused by stores; the store failed (OSError)",
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_end_says_why(name: str) -> None:
    ends = [
        line.text
        for line in tell_lines(simulated, SCENES[name])
        if line.fields["event"] in ("refused", "deadline", "gave_up", "answered")
    ]
    assert ends == [TEXTS[name]]


# Listeners ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
def test_listeners_are_told_of_each_retry_before_its_wait(world: Any) -> None:
    told: list[tuple[float, Retrying]] = []
    clocks: list[Callable[[], float]] = []

    def store(now: Callable[[], float]) -> MemoryStore:
        clocks.append(now)
        return MemoryStore(now=now)

    retry = ExponentialBackoff(base=0.5, jitter="none", listeners=[lambda news: told.append((clocks[0](), news))])
    world([retry], in_turn(BUSY, GONE, OK), [Calling(ORDERS + "?key=hunter2")], 0, store)
    assert [(round(at, 6), news) for at, news in told] == [
        (0.1, Retrying("GET", "server.example", 2, 3, 0.5, "503", 503)),
        (0.7, Retrying("GET", "server.example", 3, 3, 1.0, "disconnected", 0, "disconnected")),
    ]
    assert "hunter2" not in repr(told)
    assert str(told[0][1]) == "GET server.example: 503; attempt 2 of 3 in 0.500 s"


@pytest.mark.parametrize("world", WORLDS)
def test_a_listener_that_fails_harms_nothing(world: Any) -> None:
    told: list[Retrying] = []

    def fail(news: Retrying) -> None:
        raise ZeroDivisionError

    retry = ExponentialBackoff(base=0.5, jitter="none", listeners=(fail, told.append))
    with log_lines() as kept:
        tale = world([retry], in_turn(BUSY, OK), [Calling()], 0, lambda now: MemoryStore(now=now))
    assert (tale.stories[0].ended, len(told)) == ("200", 1)
    assert [line.kind for line in kept.lines] == [
        ATTEMPT,
        AGAIN,
        ("listeners", "ERROR", "listener_failed"),
        ATTEMPT,
    ]


def listen(news: Retrying) -> None:
    """Do nothing, but so that it can be pickled."""


def test_policies_with_listeners_are_values() -> None:
    retry = ExponentialBackoff(listeners=[listen])
    assert retry == ExponentialBackoff(listeners=(listen,))
    assert hash(retry) == hash(ExponentialBackoff(listeners=(listen,)))
    assert retry != ExponentialBackoff()
    assert pickle.loads(pickle.dumps(retry)) == retry
    adapter = pickle.loads(pickle.dumps(ResilientAdapter(retry=retry)))
    assert next(each for each in adapter.policies if isinstance(each, ExponentialBackoff)).listeners == (listen,)


@pytest.mark.parametrize("listeners", [None, 3, listen, [None], "print"])
def test_what_cannot_listen_is_refused(listeners: Any) -> None:
    with pytest.raises(ValueError, match="listeners must be a collection of functions"):
        ExponentialBackoff(listeners=listeners)


# Nothing secret -------------------------------------------------------------------------------------------------------

SECRETS = ("hunter2", "s3cret-path", "tok-123", "body-456", "query-789", "text-000")


def tell_all(record: logging.LogRecord) -> str:
    """Return everything that a handler could find in a record."""
    return repr([record.getMessage(), *vars(record).values()])


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("world", WORLDS)
def test_no_line_of_any_scene_has_a_path(world: Any, name: str) -> None:
    scene = SCENES[name]
    with log_lines() as kept:
        play(world, scene)
    assert kept.records
    text = "".join(map(tell_all, kept.records)).replace("log_lines", "")
    assert [secret for secret in ("/orders", "hunter2", "k-1") if secret in text] == []


FAULTS = (
    "status?code=503",
    "status?code=429&retry_after=3600",
    "reset",
    "hang",
    "truncate?size=100",
    "status?code=200",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_line_has_anything_of_the_request_but_method_and_host(fault: str, server: FailureServer) -> None:
    class TellingAdapter(requests.adapters.HTTPAdapter):
        """An adapter whose exceptions tell everything, as those of requests do."""

        def send(self, request: requests.PreparedRequest, *args: Any, **keywords: Any) -> requests.Response:
            try:
                return super().send(request, *args, **keywords)
            except requests.RequestException as error:
                raise type(error)(f"text-000 {request.url} {request.headers} {request.body!r}") from error

    session = requests.Session()
    adapter = ResilientAdapter(
        deadline=1,
        retry={"base": 0.01, "methods": None},
        circuit_breaker={"failure_threshold": 2},
        bulkhead=2,
        rate_limit="adaptive",
        fallback=lambda failed: None,
        idempotency={"record": True},
        inner=TellingAdapter(),
    )
    session.mount("http://", adapter)
    url = server.url.replace("http://", "http://user:hunter2@") + f"/fault/{fault}"
    url += ("&" if "?" in fault else "?") + "key=s3cret-path&token=query-789"
    with log_lines() as kept:
        for _ in range(3):
            with suppress(requests.RequestException):
                session.post(url, data="body-456", headers={"X-Key": "tok-123"}, cookies={"c": "tok-123"})
    assert kept.records
    text = "".join(map(tell_all, kept.records))
    assert [secret for secret in SECRETS if secret in text] == []


# No harm --------------------------------------------------------------------------------------------------------------


class Failing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError


class FailingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise ZeroDivisionError


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("name", SCENES)
def test_a_handler_or_filter_that_fails_harms_no_call(name: str, raises: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", raises)
    scene, log = SCENES[name], logging.getLogger("polvo_adapters")
    quiet = [play(world, scene) for world in WORLDS]
    handler, log_filter = Failing(), FailingFilter()
    with log_lines():
        log.addHandler(handler)
        log.handlers.reverse()
        call_log.ATTEMPTS.addFilter(log_filter)
        try:
            loud = [play(world, scene) for world in WORLDS]
        finally:
            log.removeHandler(handler)
            call_log.ATTEMPTS.removeFilter(log_filter)
    assert loud == quiet


def test_a_handler_that_calls_by_this_library_does_not_go_on_for_ever(server: FailureServer) -> None:
    session, sent = requests.Session(), []
    session.mount("http://", PolicyAdapter(ExponentialBackoff(base=0.001)))

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sent.append(session.post(server.url + "/echo", data=record.getMessage()).status_code)

    handler = Shipping()
    with log_lines() as kept:
        logging.getLogger("polvo_adapters").addHandler(handler)
        try:
            assert session.get(server.url + "/fault/status?code=503&times=1&key=ship").status_code == 200
        finally:
            logging.getLogger("polvo_adapters").removeHandler(handler)
    assert [line.kind for line in kept.lines] == [ATTEMPT, AGAIN, ATTEMPT]
    assert sent == [200, 200, 200]


def test_threads_do_not_mix_up_their_lines(server: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", ResilientAdapter(retry={"base": 0.001, "budget": None}, request_id=True))

    def call(number: int) -> None:
        with polvo_adapters.tenant(f"t{number}"):
            session.get(f"{server.url}/fault/status?code=503&times=1&key=mix{number}")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    with log_lines() as kept:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_tenant: dict[str, list[LogLine]] = {}
    for line in kept.lines:
        by_tenant.setdefault(line.fields["tenant"], []).append(line)
    assert sorted(by_tenant) == sorted(f"t{number}" for number in range(16))
    for lines in by_tenant.values():
        assert [line.kind for line in lines] == [ATTEMPT, AGAIN, ATTEMPT]
        assert len({line.fields["request_id"] for line in lines}) == 1
    assert len({lines[0].fields["request_id"] for lines in by_tenant.values()}) == 16


# No cost when off -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policies", ["none", "standard", "everything"])
def test_a_good_answer_without_a_wait_asks_once_whether_anybody_listens(
    policies: str, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = {
        "none": PolicyAdapter,
        "standard": ResilientAdapter,
        "everything": lambda: ResilientAdapter(
            deadline=9, bulkhead=5, rate_limit="adaptive", hedge=5, fallback="stale", idempotency=True, request_id=True
        ),
    }[policies]()
    session, asked, said = requests.Session(), list[Any](), list[Any]()
    session.mount("http://", adapter)
    session.get(server.url + "/echo")

    def ask(log: logging.Logger, level: int) -> bool:
        if log.name.startswith("polvo_adapters"):
            asked.append((log.name, level))
        return False

    monkeypatch.setattr(logging.Logger, "isEnabledFor", ask)
    monkeypatch.setattr(call_log, "say", lambda *args, **fields: said.append(args))
    assert session.get(server.url + "/echo").status_code == 200
    assert (asked, said) == ([("polvo_adapters.attempts", logging.DEBUG)], [])


def test_a_driver_without_a_call_says_nothing_of_it(server: FailureServer) -> None:
    """As in simulations of thousands of clients."""
    from polvo_adapters.core.effects import compose
    from polvo_adapters.drivers import virtual
    from polvo_adapters.testing.simulation.simulation import Simulation

    simulation = Simulation(in_turn(BUSY))
    with log_lines() as kept:
        virtual.drive(compose([Deadline(9), RETRY])(Call("GET", ORDERS)), simulation, [], lambda outcome: None)
        simulation.run()
    assert kept.lines == []


# One way --------------------------------------------------------------------------------------------------------------


def test_no_field_clashes_with_one_of_logging() -> None:
    record = vars(logging.makeLogRecord({}))
    assert {*logs.FIELDS} & {*record, "message", "asctime", "taskName"} == set()


def test_a_formatter_that_names_every_field_works_for_lines_about_no_call() -> None:
    with log_lines() as kept:
        logs.say(logs.logger("stores"), logging.INFO, "store", "a %s", "text")
    assert [line.text for line in kept.lines] == ["a text"]
    assert set(kept.lines[0].fields) == {name.removeprefix("polvo_") for name in logs.FIELDS}


def test_the_package_configures_nothing_but_a_null_handler() -> None:
    log = logging.getLogger("polvo_adapters")
    assert [type(handler) for handler in log.handlers] == [logging.NullHandler]
    assert log.level == logging.NOTSET


OTHERWISE = {
    "runtime/logs.py",  # the one way
    "client/client_log.py",  # says by the one way what the caller's own logger is to say
    "shells/httpx/session_sending.py",  # asks whether the log of httpx is read
    "secrets/providers/aws.py",  # hides secrets in the log of botocore
}


def test_everything_is_said_in_the_one_way() -> None:
    others = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "logging.getLogger" in path.read_text()
    }
    assert others <= OTHERWISE


def test_the_page_has_every_logger_event_and_field() -> None:
    page = (PACKAGE.parent / "docs/logging.md").read_text()
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if "cli" not in path.parts)
    parts = {*re.findall(r'(?:logger|Notice|Ending|add_note|end_call)\(\s*(?:outcome, )?"([a-z]+)"', source)}
    parts |= {*re.findall(r'^    part(?:: str)? = (?:field\(default=)?"([a-z]+)"', source, re.MULTILINE)}
    events = {*re.findall(r'say\(.{0,160}?"([a-z_]+)",', source, re.DOTALL)}
    assert {"retry", "breaker", "tokens", "idempotency", "forks"} <= parts
    assert {"store", "fork", "listener_failed", "wait"} <= events
    assert {part for part in parts if f"`polvo_adapters.{part}`" not in page} == set()
    assert {event for event in events if f"`{event}`" not in page} == set()
    assert {field for field in logs.FIELDS if f"`{field}`" not in page} == set()


def test_an_error_of_a_store_is_said_by_its_class_unless_it_is_ours() -> None:
    def store(error: Exception) -> Any:
        class Store(MemoryStore):
            def decide(self, events: Any) -> Any:
                raise error

        return lambda now: Store(now=now)

    for error, reason in (
        (OSError("hunter2"), "OSError"),
        (PolvoError("it is busy", reason="store busy"), "store busy"),
    ):
        scene = Scene(lambda: [CircuitBreaker()], after(OK), [Calling()], [], store(error))
        assert [line.fields["reason"] for line in tell_lines(synchronous, scene)] == [
            reason,
            f"the store failed ({reason})",
        ]


def test_tokens_are_said_by_their_own_logger(server: FailureServer) -> None:
    def auth(path: str) -> Any:
        return polvo_adapters.auth.OAuth2(
            flow="client_credentials", client_id="app", client_secret="hunter2", token_url=server.url + path
        )

    with log_lines() as kept:
        token = auth("/oauth/token").token()
        with pytest.raises(polvo_adapters.TokenRefreshError):
            auth("/fault/status?code=400").token()
    changes = [line for line in kept.lines if line.fields["event"] == "token_refresh"]
    assert [line.kind for line in changes] == [
        ("tokens", "INFO", "token_refresh"),
        ("tokens", "WARNING", "token_refresh"),
    ]
    assert {line.fields["method"] for line in changes} == {"POST"}
    text = "".join(map(tell_all, kept.records))
    assert [secret for secret in (token.access_token, "hunter2", "/oauth/", "/fault") if secret in text] == []


def test_secrets_are_said_by_their_own_logger() -> None:
    def fetch() -> str:
        raise RuntimeError("hunter2")

    with log_lines() as kept, pytest.raises(polvo_adapters.SecretError):
        polvo_adapters.Secret(fetch).get()
    assert ("secrets", "WARNING", "secret_refresh") in [line.kind for line in kept.lines]
    assert "hunter2" not in "".join(map(tell_all, kept.records))
