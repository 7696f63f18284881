"""What is said for one call holds for that call, for every keyword, in every shell, and for no other call."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import polvo_adapters as polvo
import polvo_adapters.requests as dropin
from polvo_adapters.context.call import call_settings
from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, compose
from polvo_adapters.core.notices import CallEvent
from polvo_adapters.core.outcomes import DISCONNECTED, READ_TIMEOUT
from polvo_adapters.policies.one_call import CallOptions, CallSettings, adapt, parse
from polvo_adapters.policies.stack import standard
from polvo_adapters.shells.requests.wire import connections, pools
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.simulation.simulation import Script, ScriptedFailure, ScriptedReply, Simulation
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.log_lines import log_lines

FAST = {"base": 0.001, "budget": None}
Send = Callable[..., Any]

# Faces ----------------------------------------------------------------------------------------------------------------


class SDK:
    """Code of others: it has a session of its own, and names what it likes."""

    def __init__(self, session: Any, **hard_coded: Any) -> None:
        self.session, self.hard_coded = session, hard_coded

    def call(self, method: str, url: str, **keywords: Any) -> Any:
        return self.session.request(method, url, **{**keywords, **self.hard_coded})


def mounted(**stack: Any) -> Send:
    session = opened(requests.Session())
    session.mount("http://", polvo.ResilientAdapter(**stack))
    return session.request


def installed(**stack: Any) -> Send:
    return polvo.install(opened(requests.Session()), **stack).request


def over_another(**stack: Any) -> Send:
    """An adapter of ours that sends through another one of ours."""
    session = opened(requests.Session())
    session.mount("http://", polvo.PolicyAdapter(inner=polvo.ResilientAdapter(**stack)))
    return session.request


def sdk(**stack: Any) -> Send:
    return SDK(polvo.install(opened(requests.Session()), **stack), timeout=60).call


def session(**stack: Any) -> Send:
    return opened(polvo.Session(**stack)).request


def dropin_session(**stack: Any) -> Send:
    dropped = opened(dropin.Session())
    dropped.mount("http://", polvo.ResilientAdapter(**stack))
    return dropped.request


def httpx_client(**stack: Any) -> Send:
    return opened(httpx.Client(transport=PolicyTransport(*standard(**stack)))).request


def httpx_async(**stack: Any) -> Send:
    store, policies = MemoryStore(), standard(**stack)

    def send(method: str, url: str, **keywords: Any) -> Any:
        async def run() -> Any:
            transport = AsyncPolicyTransport(*policies, store=store)  # a pool belongs to a loop
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, url, **keywords)

        return asyncio.run(run())

    return send


_opened: list[Any] = []


@pytest.fixture(autouse=True)
def closed_sessions() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()
    polvo.close()


def opened(session: Any) -> Any:
    _opened.append(session)
    return session


FACES: dict[str, Callable[..., Send]] = {
    each.__name__: each
    for each in (mounted, installed, over_another, sdk, session, dropin_session, httpx_client, httpx_async)
}

QUICK = ("mounted", "session", "httpx_async")
FACE_PARAMETERS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FACES]


def ended(send: Send, method: str, url: str, **keywords: Any) -> Any:
    """Return the status of the response, or the class of the error, without what it is of httpx."""
    try:
        return send(method, url, **keywords).status_code
    except (requests.RequestException, httpx.HTTPError) as error:
        return vars(polvo.errors).get(type(error).__name__, type(error))


# The table ------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What is said, of which stack, and how many requests a call makes with it and without."""

    said: dict[str, Any]
    stack: dict[str, Any]
    path: str
    requests: int
    otherwise: int
    method: str = "GET"


BUSY, LOST = "/fault/status?times=9", "/fault/reset?times=9"
ROWS = {
    "retry=False": Row({"retry": False}, {"retry": FAST}, BUSY, 1, 3),
    "retry=None": Row({"retry": None}, {"retry": FAST}, BUSY, 1, 3),
    "retry=1": Row({"retry": 1}, {"retry": FAST}, BUSY, 1, 3),
    "retry=5": Row({"retry": 5}, {"retry": FAST}, BUSY, 5, 3),
    "retry=mapping": Row({"retry": {"retry_on": [500]}}, {"retry": FAST}, BUSY, 1, 3),
    "retry=policy": Row({"retry": polvo.retry.ExponentialBackoff(2, base=0)}, {"retry": FAST}, BUSY, 2, 3),
    "retry=Retry": Row({"retry": Retry(1, status_forcelist=[503], backoff_factor=0)}, {"retry": FAST}, BUSY, 2, 3),
    "retry where there is none": Row({"retry": {**FAST, "max_attempts": 4}}, {"retry": False}, BUSY, 4, 1),
    "retry_if no": Row({"retry_if": lambda answer: False}, {"retry": FAST}, BUSY, 1, 3),
    "retry_if yes": Row({"retry_if": lambda answer: answer.status == 404}, {"retry": FAST}, "/nowhere", 3, 1),
    "retry_if none": Row({"retry_if": lambda answer: None}, {"retry": FAST}, BUSY, 3, 3),
    "retry_if failure": Row({"retry_if": lambda answer: answer.failure != "disconnected"}, {"retry": FAST}, LOST, 1, 3),
    "idempotent=True": Row({"idempotent": True}, {"retry": FAST}, LOST, 3, 1, "POST"),
    "idempotent=False": Row({"idempotent": False}, {"retry": FAST}, LOST, 1, 3),
    "fallback=False": Row({"fallback": False}, {"retry": FAST, "fallback": lambda call: b"x"}, BUSY, 3, 3),
    "fallback=function": Row({"fallback": lambda call: b"x"}, {"retry": FAST}, BUSY, 3, 3),
    "hedge=seconds": Row({"hedge": 0.05}, {"retry": False}, "/fault/hang?times=1", 2, 1),
    "hedge=False": Row(
        {"hedge": False}, {"retry": False, "hedge": {"delay": 0.05, "ratio": 9}}, "/fault/hang?times=1", 1, 2
    ),
    "regions=False": Row({"regions": False}, {"retry": False, "regions": ["http://127.0.0.1:1"]}, "/echo", 1, 0),
    "labels": Row({"labels": {"job": "nightly"}}, {"retry": FAST}, BUSY, 3, 3),
}
STATUS = {"fallback=False": (503, 200), "fallback=function": (200, 503)}
PATIENCE = {"hedge=seconds": 0.6, "hedge=False": 0.6}


@pytest.mark.parametrize("face", FACE_PARAMETERS)
@pytest.mark.parametrize("name", ROWS)
def test_it_holds_for_the_call_and_for_no_other(name: str, face: str, server: FailureServer) -> None:
    row, keys = ROWS[name], itertools.count()
    send = FACES[face](**row.stack)
    keywords = {"timeout": PATIENCE[name]} if name in PATIENCE and face != "sdk" else {}

    def count(**said: Any) -> tuple[int, Any]:
        separator = "&" if "?" in row.path else "?"
        before = len(server.requests)
        with polvo.call(**({"timeout": 0.6} if name in PATIENCE else {}), **said):
            status = ended(send, row.method, f"{server.url}{row.path}{separator}key={next(keys)}", **keywords)
        return len(server.requests) - before, status

    plain, said, after = count(), count(**row.said), count()
    assert (plain[0], said[0], after[0]) == (row.otherwise, row.requests, row.otherwise)
    if name in STATUS:
        assert (said[1], after[1]) == STATUS[name]


@pytest.mark.parametrize("face", FACE_PARAMETERS)
def test_gates_and_limits_are_left_out(face: str, server: FailureServer) -> None:
    limit = polvo.ratelimit.TokenBucket(rate=0.001, capacity=1, max_wait=0)
    send = FACES[face](retry=False, rate_limit=limit, circuit_breaker={"failure_threshold": 1})
    assert ended(send, "GET", server.url + BUSY) == 503
    assert ended(send, "GET", server.url + BUSY) is polvo.CircuitOpenError
    with polvo.call(circuit_breaker=False):
        assert ended(send, "GET", server.url + BUSY) is polvo.RateLimitError
        with polvo.call(rate_limit=False):
            assert ended(send, "GET", server.url + BUSY) == 503
        assert ended(send, "GET", server.url + BUSY) is polvo.RateLimitError
    assert ended(send, "GET", server.url + BUSY) is polvo.CircuitOpenError
    assert len(server.requests) == 2


def test_a_bulkhead_is_left_out_beside_a_breaker_that_stays(server: FailureServer) -> None:
    session = opened(requests.Session())
    bulkhead = polvo.bulkhead.Bulkhead(1, acquisition_timeout=0)
    session.mount("http://", polvo.ResilientAdapter(retry=False, bulkhead=bulkhead, circuit_breaker=True))
    with session.get(server.url + "/echo", stream=True):
        with pytest.raises(polvo.PoolTimeoutError):
            session.get(server.url + "/echo")
        with polvo.call(bulkhead=False):
            for _ in range(5):
                assert session.get(server.url + BUSY).status_code == 503
            with pytest.raises(polvo.CircuitOpenError):
                session.get(server.url + "/echo")


@pytest.mark.parametrize("face", FACE_PARAMETERS)
def test_a_deadline_takes_the_place_of_the_adapters_own(face: str, server: FailureServer) -> None:
    """A body of 0.4 s, under a deadline of 0.2 s of the adapter, or of the call."""
    drip = server.url + "/fault/drip?size=8&interval=0.05"
    short, none = FACES[face](retry=False, deadline=0.2), FACES[face](retry=False)
    assert ended(short, "GET", drip + "&key=a") is polvo.DeadlineExceeded
    for number, seconds in enumerate((None, False, 9)):
        with polvo.call(deadline=seconds):
            assert ended(short, "GET", f"{drip}&key=b{number}") == 200
    with polvo.call(deadline=0.2):
        assert ended(none, "GET", drip + "&key=c") is polvo.DeadlineExceeded
        with polvo.call(deadline=True):
            assert ended(none, "GET", drip + "&key=d") == 200


@pytest.mark.parametrize("face", FACE_PARAMETERS)
def test_a_timeout_takes_the_place_of_any_other(face: str, server: FailureServer) -> None:
    send = FACES[face](retry=False)
    began = time.monotonic()
    for timeout in (0.1, (5, 0.1)):
        with polvo.call(timeout=timeout):
            error = ended(send, "GET", f"{server.url}/fault/hang?key={face}{timeout}", timeout=30)
            assert issubclass(error, (requests.Timeout, httpx.TimeoutException))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("face", FACE_PARAMETERS)
def test_what_is_decided_is_told_to_listeners(face: str, server: FailureServer) -> None:
    told: list[CallEvent] = []
    heard: list[CallEvent] = []
    send = FACES[face](retry=FAST, listeners=[heard.append])
    said = {"labels": {"job": "nightly", "shard": 7}, "listeners": [told.append]}
    with log_lines() as kept, polvo.call(**said):
        response = send("GET", server.url + "/fault/status?times=2&key=listeners")
    if face == "over_another":
        told.pop()  # of the adapter above, to which all below is one attempt
    expected = ["attempt", "retry", "attempt", "retry", "attempt"]
    assert [event.event for event in told] == expected
    assert heard == told
    assert {(event.labels, event.method, event.host) for event in told} == {
        ((("job", "nightly"), ("shard", "7")), "GET", server.url.partition("//")[2])
    }
    assert [event.part for event in told] == ["attempts", "retry"] * 2 + ["attempts"]
    labels = [line.fields["labels"] for line in kept.lines if line.fields["event"] == "retry"]
    report = response.extensions["polvo"] if hasattr(response, "extensions") else response.polvo
    assert labels[:2] == [{"job": "nightly", "shard": "7"}] * 2
    assert report.labels == (("job", "nightly"), ("shard", "7"))


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if not {"hedge", "regions"} & {*row.stack, *row.said}]
)
def test_it_holds_in_simulations(name: str) -> None:
    row = ROWS[name]
    turn = ScriptedFailure(DISCONNECTED, 0.01) if row.path == LOST else ScriptedReply(404 if "/no" in row.path else 503)

    def count(policies: Any, settings: CallSettings | None = None) -> int:
        script = Script([turn])
        simulation = Simulation(script)
        idempotent = settings is not None and settings.idempotent is True
        unsafe = settings is not None and settings.idempotent is False
        call = Call(row.method, "http://a.example/", idempotent=idempotent, unsafe=unsafe)
        simulation.call(compose(policies), call)
        simulation.run()
        return script.received

    policies, settings = standard(**row.stack), parse(row.said)
    assert (count(policies), count(adapt(policies, settings), settings)) == (row.otherwise, row.requests)


@pytest.mark.parametrize("own", [True, False])
def test_a_body_goes_on_as_is_said(own: bool) -> None:
    """Tried on the wire in tests/shells/requests/test_resume.py."""
    for said in (True, False):
        policies = adapt(standard(resume=own, rate_limit="adaptive"), parse({"resume": said}))
        names = [type(policy).__name__ for policy in policies]
        assert names == [*(["Resume"] if said else []), "ExponentialBackoff", "AdaptiveRateLimit"]


def test_every_keyword_is_in_a_test() -> None:
    text = Path(__file__).read_text()
    assert {
        name for name in CallOptions.__annotations__ if f'"{name}"' not in text and f"call({name}=" not in text
    } == set()


# The verbs of Session -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete", "request"])
def test_the_verbs_take_the_keywords(verb: str, server: FailureServer) -> None:
    api = opened(polvo.Session(server.url, retry=FAST))
    args = ("GET",) if verb == "request" else ()
    api_verb = getattr(api, verb)
    said = {"retry": 2, "idempotent": True, "labels": {"a": "b"}, "deadline": 9, "hedge": False, "rate_limit": False}
    response = api_verb(*args, f"fault/status?times=9&key={verb}", timeout=5, headers={"X-A": "b"}, **said)
    assert (response.status_code, len(response.polvo.attempts), response.polvo.labels) == (503, 2, (("a", "b"),))
    assert server.requests[-1].headers["x-a"] == "b"
    assert call_settings.get() is None


def test_the_verbs_of_the_package_take_them_too(server: FailureServer) -> None:
    assert len(polvo.get(server.url + BUSY, retry=False).polvo.attempts) == 1


def test_an_unknown_keyword_is_the_error_of_requests(server: FailureServer) -> None:
    with pytest.raises(TypeError, match="max_attempts"):
        polvo.Session(server.url).get("echo", max_attempts=1)


def test_the_drop_in_takes_no_keyword_that_requests_has_not(server: FailureServer) -> None:
    with pytest.raises(TypeError, match="retry"):
        dropin.get(server.url + "/echo", retry=False)
    with polvo.call(retry=False):
        assert dropin.get(server.url + BUSY).polvo.attempts[0].status == 503  # type: ignore[attr-defined]
    assert len(server.requests) == 1


def test_redirects_of_a_session_are_within_the_deadline_of_the_call(server: FailureServer) -> None:
    api = opened(polvo.Session(server.url, deadline=30))
    with pytest.raises(polvo.DeadlineExceeded):
        api.get("fault/redirect?to=/fault/drip%3Fsize=50%26interval=0.1", deadline=0.3)
    short = opened(polvo.Session(server.url, deadline=0.1))
    assert short.get("fault/drip?size=6&interval=0.05", deadline=None).status_code == 200


# Nesting, threads, tasks ----------------------------------------------------------------------------------------------


def said() -> dict[str, Any]:
    settings = call_settings.get()
    return {} if settings is None else dict(settings.said)


def test_the_inner_block_wins_keyword_by_keyword() -> None:
    first, second = [].append, [].append
    with polvo.call(retry=False, timeout=5, labels={"a": "1", "b": "1"}, listeners=[first]):
        with polvo.call(retry=True, labels={"b": "2"}, listeners=[second]):
            assert said() == {
                "retry": True,
                "timeout": 5,
                "labels": {"a": "1", "b": "2"},
                "listeners": (first, second),
            }
        assert said()["labels"] == {"a": "1", "b": "1"}
    assert said() == {}


def test_blocks_may_end_in_any_order_and_be_entered_again() -> None:
    one, two = polvo.call(timeout=1), polvo.call(retry=False)
    one.__enter__()
    two.__enter__()
    one.__enter__()
    two.__exit__()
    assert said() == {"timeout": 1}
    one.__exit__()
    assert said() == {"timeout": 1}
    one.__exit__()
    one.__exit__()
    assert said() == {}


def test_a_block_of_a_generator_may_end_in_another_context() -> None:
    def items() -> Iterator[int]:
        with polvo.call(retry=False):
            yield 1

    iterator = items()
    contextvars.copy_context().run(next, iterator)
    iterator.close()
    assert said() == {}


def test_threads_begin_without_and_tasks_inherit() -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(said())

    async def task() -> None:
        with polvo.call(timeout=2):
            await asyncio.sleep(0)
            look()

    async def run() -> None:
        await asyncio.gather(task(), asyncio.to_thread(look))
        look()

    with polvo.call(retry=False):
        context = contextvars.copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        asyncio.run(run())
    assert seen[:2] == [{}, {"retry": False}]
    assert sorted(map(str, seen[2:])) == sorted(
        map(str, [{"retry": False}, {"retry": False, "timeout": 2}, {"retry": False}])
    )


def test_it_is_a_decorator() -> None:
    @polvo.call(retry=False)
    def function() -> Any:
        return said()

    @polvo.call(retry=False)
    async def coroutine() -> Any:
        return said()

    assert (function(), asyncio.run(coroutine()), said()) == ({"retry": False}, {"retry": False}, {})
    with pytest.raises(TypeError, match="generator"):

        @polvo.call(retry=False)
        def generator() -> Iterator[int]:
            yield 1

    with pytest.raises(TypeError, match="generator"):

        @polvo.call(retry=False)
        async def asynchronous() -> Any:
            yield 1

    with pytest.raises(TypeError, match="one operation"):
        polvo.call(idempotency_key="a")(function)


# What is no part of the call ------------------------------------------------------------------------------------------


def test_the_refresh_of_a_token_does_not_inherit(server: FailureServer) -> None:
    inherited: list[Any] = []

    def fetch(_: Any) -> dict[str, Any]:
        inherited.append(said())
        return {"access_token": "token"}

    auth = polvo.auth.OAuth2(fetch=fetch)
    with polvo.call(retry=False, timeout=1e-6, deadline=None):
        auth.token()
    secret = polvo.Secret(lambda: str(inherited.append(said())))
    with polvo.call(retry=False):
        secret.get()
        assert said() == {"retry": False}
    assert inherited == [{}, {}]


def test_a_token_endpoint_is_asked_with_its_own_timeout_and_retries(server: FailureServer) -> None:
    auth = polvo.auth.OAuth2(
        flow="client_credentials",
        client_id="app",
        client_secret="secret",
        token_url=server.url + "/fault/status?times=1&key=token",
    )
    with polvo.call(retry=False, timeout=1e-6), pytest.raises(polvo.TokenRefreshError, match="access_token"):
        auth.token()  # what answers is no token endpoint, but it was asked again after 503
    assert len(server.requests) > 1


@pytest.mark.parametrize("face", ["mounted", "session", "httpx_client", "httpx_async"])
def test_calls_of_a_body_do_not_inherit(face: str, server: FailureServer) -> None:
    inherited: list[Any] = []

    def parts() -> Iterator[bytes]:
        for _ in range(2):
            inherited.append(said())
            yield b"x"

    async def async_parts() -> Any:
        for part in parts():
            yield part

    body: Any = async_parts() if face == "httpx_async" else parts()
    send = FACES[face](retry=False)
    with polvo.call(retry=False, timeout=9):
        response = send("POST", server.url + "/echo", **{"content" if "httpx" in face else "data": body})
        assert said()["timeout"] == 9
    assert (response.status_code, inherited) == (200, [{}, {}])


def test_a_request_of_httpx_is_as_it_was_afterwards(server: FailureServer) -> None:
    client = opened(httpx.Client(transport=PolicyTransport(*standard())))
    request = client.build_request("POST", server.url + "/echo", content=iter([b"x"]), timeout=7)
    stream, extensions = request.stream, dict(request.extensions)
    with polvo.call(timeout=3):
        client.send(request)
    assert (request.stream, dict(request.extensions)) == (stream, extensions)


# One attempt in all ---------------------------------------------------------------------------------------------------


def test_retries_below_are_switched_off_as_well(server: FailureServer) -> None:
    """A urllib3 Retry that was left in the adapter, on purpose."""
    own = Retry(2, status_forcelist=[503], backoff_factor=0)
    adapters: list[Any] = [
        polvo.ResilientAdapter(retry=False, max_retries=own),
        polvo.ResilientAdapter(retry=False, inner=HTTPAdapter(max_retries=own)),
        polvo.PolicyAdapter(inner=polvo.PolicyAdapter(inner=HTTPAdapter(max_retries=own))),
        polvo.PolicyAdapter(inner=polvo.RetryAdapter(**FAST)),
    ]
    for number, adapter in enumerate(adapters):
        session = opened(requests.Session())
        session.mount("http://", adapter)
        for place, (options, expected) in enumerate(
            [({}, 3), ({"retry": False}, 1), ({"retry": {**FAST, "max_attempts": 4}}, 4), ({}, 3)]
        ):
            before = len(server.requests)
            with polvo.call(**options):
                try:
                    session.get(f"{server.url}{BUSY}&key={number}-{place}")
                except requests.exceptions.RetryError:
                    pass  # as urllib3 does
            assert len(server.requests) - before == expected, (number, options)


@pytest.mark.parametrize(
    "said",
    [{"retry": True}, {"retry": {"max_attempts": 5}}, {"retry": 5}, {"retry_if": lambda _: None}, {"deadline": 9}],
    ids=["retry", "changes", "number", "predicate", "deadline"],
)
@pytest.mark.parametrize("shell", ["requests", "httpx"])
def test_what_differs_is_for_the_adapter_that_has_the_policy(shell: str, said: Any, server: FailureServer) -> None:
    """So that its other settings hold: here one that has no other adapter, and quick waits."""
    retry = polvo.retry.ExponentialBackoff(**FAST, max_attempts=4, retry_on=[404])
    send: Any
    if shell == "requests":
        session = opened(requests.Session())
        session.mount(
            "http://",
            polvo.RateLimitAdapter(
                inner=polvo.PolicyAdapter(polvo.deadline.Deadline(9), inner=polvo.RetryAdapter(retry))
            ),
        )
        send = session.request
    else:
        inner = PolicyTransport(polvo.deadline.Deadline(9), inner=PolicyTransport(retry))
        send = opened(httpx.Client(transport=PolicyTransport(inner=inner))).request
    with polvo.call(**said):
        assert ended(send, "GET", server.url + "/nowhere") == 404
    assert len(server.requests) == (5 if said.get("retry") in (5, {"max_attempts": 5}) else 4)


def test_a_region_does_not_retry_either(server: FailureServer) -> None:
    regions = polvo.regions.Regions([server.url], retry_codes=[503], reroute_codes=[500])
    api = opened(polvo.Session(server.url, retry=FAST, regions=regions))
    with polvo.call(retry=False):
        assert api.get("fault/status?times=9").status_code == 503
    assert len(server.requests) == 1


@dataclass(frozen=True)
class OwnRetry:
    """A policy of the user's own, which says what it is."""

    seen: list[str] = field(default_factory=list, hash=False)
    stack_option = "retry"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        self.seen.append(call.url)
        return (yield from proceed(call))


def test_a_policy_of_ones_own_can_be_left_out(server: FailureServer) -> None:
    own = OwnRetry()
    session = opened(requests.Session())
    session.mount("http://", polvo.PolicyAdapter(own))
    session.get(server.url + "/echo")
    with polvo.call(retry=False):
        session.get(server.url + "/echo")
    assert len(own.seen) == 1


# Keys of operations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", [name for name in FACES if name != "over_another"])
def test_a_key_is_for_one_operation(face: str, server: FailureServer) -> None:
    send = FACES[face](retry=FAST, idempotency=True)
    url, body = server.url + "/fault/reset?times=1&key=", {"content" if "httpx" in face else "data": b"order"}
    with polvo.call(idempotency_key="order-17"):
        assert send("GET", server.url + "/echo").status_code == 200
        assert send("POST", url + "a", **body).status_code == 200
        assert send("POST", url + "a", **body).status_code == 200  # as an SDK repeats its request
        with pytest.raises(polvo.IdempotencyKeyError, match="another request has it"):
            send("POST", url + "b", **body)
    keys = [record.headers.get("idempotency-key") for record in server.requests]
    assert keys == [None] + ["order-17"] * 3


def test_a_key_needs_the_policy(server: FailureServer) -> None:
    send = mounted()
    with polvo.call(idempotency_key="a"), pytest.raises(polvo.ConfigurationError, match="not enabled"):
        send("POST", server.url + "/echo")
    assert len(server.requests) == 0


# What cannot be said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_attempts": 1}, TypeError, "max_attempts is no keyword; there are retry, retry_if, deadline"),
        ({"retry": "no"}, TypeError, "retry='no'"),
        ({"retry": 0}, ValueError, "max_attempts"),
        ({"retry": {"base": -1}}, ValueError, "base"),
        ({"retry": {"tries": 1}}, TypeError, "tries"),
        ({"retry_if": 5}, TypeError, "retry_if=5"),
        ({"deadline": -1}, ValueError, "seconds"),
        ({"deadline": "5"}, ValueError, "seconds"),
        ({"timeout": "5"}, TypeError, "timeout='5'"),
        ({"timeout": True}, TypeError, "timeout=True"),
        ({"timeout": 0}, ValueError, "timeout=0"),
        ({"timeout": (1, -1)}, ValueError, "timeout"),
        ({"timeout": (1, 2, 3)}, TypeError, "timeout"),
        ({"idempotent": 1}, TypeError, "idempotent=1"),
        ({"idempotency_key": ""}, TypeError, "idempotency_key"),
        ({"hedge": "soon"}, TypeError, "hedge='soon'"),
        ({"fallback": 5}, ValueError, "5"),
        ({"rate_limit": "adaptive"}, TypeError, "for one call it is False, or True"),
        ({"circuit_breaker": {"failure_threshold": 1}}, TypeError, "for one call"),
        ({"bulkhead": 5}, TypeError, "for one call"),
        ({"regions": ["http://a.example"]}, TypeError, "for one call"),
        ({"labels": ["a"]}, TypeError, "labels"),
        ({"labels": {"a": None}}, TypeError, "'a' must be text"),
        ({"labels": {"": "b"}}, polvo.ConfigurationError, "printable"),
        ({"labels": {"a": "b\n"}}, polvo.ConfigurationError, "printable"),
        ({"labels": {"a": "b" * 256}}, polvo.ConfigurationError, "255"),
        ({"labels": {str(number): "" for number in range(17)}}, polvo.ConfigurationError, "16"),
        ({"listeners": [5]}, TypeError, "listeners"),
        ({"listeners": print}, TypeError, "listeners"),
    ],
    ids=str,
)
def test_what_cannot_be_said_is_an_error_where_it_is_said(options: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(")):
        polvo.call(**options)


# The memory of stacks -------------------------------------------------------------------------------------------------


def test_stacks_are_kept_for_the_next_call_and_not_without_bound(server: FailureServer) -> None:
    adapter = polvo.ResilientAdapter(retry=FAST)
    bound = adapter._bound
    settings = parse({"retry": 5, "labels": {"a": "b"}, "timeout": 3})
    again = parse({"timeout": 5, "retry": 5})
    assert bound.for_call(settings)[0] is bound.for_call(again)[0]
    assert bound.for_call(parse({"labels": {"a": "b"}}))[0] is bound
    for number in range(1000):
        bound.for_call(parse({"deadline": number + 1}))
    assert len(bound._adapted) <= 64


# Predicates -----------------------------------------------------------------------------------------------------------


def test_a_predicate_sees_the_answer(server: FailureServer) -> None:
    seen: list[Answer] = []

    def look(answer: Answer) -> bool:
        seen.append(answer)
        return answer.json() is not None and answer.json()["method"] == "GET" and answer.attempt < 3

    api = opened(polvo.Session(server.url, retry={**FAST, "max_attempts": 9, "retry_if": look}))
    response = api.get("echo?token=secret")
    assert [answer.attempt for answer in seen] == [1, 2, 3]
    assert {(each.method, each.status, each.failure, each.body) for each in seen} >= {
        ("GET", 200, "", response.content)
    }
    assert seen[0].headers["content-type"].startswith("application/json")
    assert seen[0].host == server.url.partition("//")[2]
    assert "secret" not in repr(seen[0])
    api.post("echo")  # may have been processed, and so it is not sent again
    assert [answer.method for answer in seen[3:]] == ["POST"]
    api.get("echo", stream=True).close()
    assert seen[-1].body is None


def bad(answer: Answer) -> bool | None:
    """A server that says 200 and means no; and a 503 that is none of its faults."""
    if answer.status == 503:
        return False
    return True if answer.status == 200 and answer.json()["path"] == "/echo" else None


def test_a_predicate_tells_a_breaker_what_a_failure_is(server: FailureServer) -> None:
    send = mounted(retry=False, circuit_breaker={"failure_threshold": 1, "failure_if": bad})
    assert ended(send, "GET", server.url + BUSY) == 503
    assert ended(send, "GET", server.url + "/echo") == 200
    assert ended(send, "GET", server.url + "/echo") is polvo.CircuitOpenError
    for status, opens in ((500, True), (404, False)):
        send = mounted(retry=False, circuit_breaker={"failure_threshold": 1, "failure_if": lambda answer: 1 / 0})
        assert ended(send, "GET", f"{server.url}/fault/status?code={status}&times=1&key=raises{status}") == status
        assert (ended(send, "GET", server.url + "/echo") is polvo.CircuitOpenError) == opens


def test_a_predicate_tells_a_fallback_what_is_bad(server: FailureServer) -> None:
    fixed = polvo.fallback.Fixed(203)
    send = mounted(retry=False, fallback=polvo.fallback.Fallback(fixed, failure_if=bad))
    assert ended(send, "GET", server.url + BUSY) == 503
    assert ended(send, "GET", server.url + "/echo") == 203
    assert ended(send, "GET", server.url + "/fault/status?code=500&times=1&key=fallback") == 203
    send = mounted(retry=False, fallback=polvo.fallback.Fallback(fixed, failure_if=lambda answer: 1 / 0))
    assert ended(send, "GET", server.url + "/echo") == 200
    assert ended(send, "GET", server.url + "/fault/status?code=500&times=1&key=raises") == 203


@pytest.mark.parametrize(
    "make",
    [
        lambda: polvo.retry.ExponentialBackoff(retry_if=5),  # type: ignore[arg-type]
        lambda: polvo.breaker.CircuitBreaker(failure_if=5),  # type: ignore[arg-type]
        lambda: polvo.fallback.Fallback(failure_if=5),  # type: ignore[arg-type]
    ],
)
def test_a_predicate_is_a_function(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="_if must be a function or None"):
        make()


def test_a_predicate_that_raises_has_no_say(server: FailureServer) -> None:
    def broken(answer: Answer) -> bool:
        raise KeyError("hunter2")

    api = opened(polvo.Session(server.url, retry={**FAST, "retry_if": broken}))
    response = api.get("fault/status?times=1")
    assert (response.status_code, len(response.polvo.attempts)) == (200, 2)
    assert response.polvo.note == "retry_if raised KeyError, which counts as None"


def test_a_listener_that_raises_harms_no_call(server: FailureServer) -> None:
    def broken(event: CallEvent) -> None:
        raise KeyError(event.event)

    with log_lines() as kept, polvo.call(listeners=[broken]):
        assert polvo.get(server.url + "/echo").status_code == 200
    assert "listener_failed" in [line.fields["event"] for line in kept.lines]


def test_listeners_need_no_log(server: FailureServer) -> None:
    told: list[str] = []
    with polvo.call(listeners=[lambda event: told.append(event.event)]):
        polvo.get(server.url + "/echo")
    assert told == ["attempt"]


def test_a_listener_of_retries_is_told_the_labels(server: FailureServer) -> None:
    told: list[polvo.retry.Retrying] = []
    with polvo.call(labels={"job": "nightly"}):
        mounted(retry={**FAST, "listeners": [told.append]})("GET", server.url + "/fault/status?times=1")
    assert [retrying.labels for retrying in told] == [(("job", "nightly"),)]


@pytest.mark.parametrize(("idempotent", "demanding"), [(None, True), (True, False), (False, True)])
def test_a_write_that_is_safe_to_repeat_may_use_a_connection_that_may_be_dead(
    idempotent: bool | None, demanding: bool, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []

    def look(connection: Any, transmission: Any) -> None:
        looked.append(transmission.is_demanding)
        connections.lend(connection, transmission)

    monkeypatch.setattr(pools, "lend", look)
    with polvo.call(idempotent=idempotent):
        mounted()("POST", server.url + "/echo")
    assert looked == [demanding]


def test_listeners_hear_of_refusals_waits_hedges_fallbacks_and_deadlines(server: FailureServer) -> None:
    told: list[CallEvent] = []
    limit = polvo.ratelimit.TokenBucket(rate=20, capacity=1, max_wait=1)
    send = mounted(
        retry=False,
        rate_limit=limit,
        circuit_breaker={"failure_threshold": 1},
        fallback=lambda call: b"x",
        listeners=told.append,
    )
    with polvo.call(fallback=False):
        ended(send, "GET", server.url + "/echo")
        ended(send, "GET", server.url + "/fault/status?times=1&key=a")
        ended(send, "GET", server.url + "/echo")
    ended(send, "GET", server.url + "/echo")
    with polvo.call(circuit_breaker=False, hedge=0.05, timeout=20):
        ended(send, "GET", server.url + "/fault/hang?times=1&key=b")
    with polvo.call(circuit_breaker=False, deadline=0.2, fallback=False):
        ended(send, "GET", server.url + "/fault/hang?times=1&key=c")
    kinds = [(event.event, event.part) for event in told if event.event != "attempt"]
    assert {*kinds} == {
        ("wait", "ratelimit"),
        ("circuit", "breaker"),
        ("refused", "breaker"),
        ("answered", "fallback"),
        ("hedge", "hedge"),
        ("answered", "hedge"),
        ("deadline", "deadline"),
    }
    (change,) = [event for event in told if event.event == "circuit"]
    assert (change.before, change.after) == ("closed", "open")
    assert change.subject.startswith("circuit http://")


def test_a_timeout_in_a_simulation_is_seen_by_a_predicate() -> None:
    retry = polvo.retry.ExponentialBackoff(**FAST, retry_if=lambda answer: answer.failure != READ_TIMEOUT.name)
    script = Script([ScriptedFailure(READ_TIMEOUT, 1)])
    simulation = Simulation(script)
    simulation.call(compose([retry]))
    simulation.run()
    assert script.received == 1
