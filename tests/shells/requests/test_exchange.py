"""Races over real connections: losers end, and the connections of other calls are not touched."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, Race, Send, Start, WaitAny
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import CANCELLED, Attempt, record_attempt
from polvo_adapters.drivers.exchange import Cancelled
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.runtime import clock as system_clock
from polvo_adapters.runtime.workers import Workers
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.shells.requests.repeatable_request import RepeatableRequest
from polvo_adapters.shells.requests.wire.route import Route
from polvo_adapters.shells.requests.wire.sockets import Sockets, shut
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.accepting import stop_accepting
from tests.support.virtual_worlds import BOUND

HANG = "/fault/hang"
DRIP = "/fault/drip?size=100000&interval=0.05"
CHUNKS = "/echo?size=70000&chunked=1"


@dataclass(frozen=True)
class Race2:
    """Send a request to other paths as well, at the same time; the first answer wins."""

    paths: Sequence[str]

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        for path in self.paths:
            yield Start(proceed(call._replace(url=call.origin + path)))
        yield Start(proceed(call))
        _, outcome = yield WaitAny(None)
        return outcome


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    workers = Workers()
    monkeypatch.setattr(system_clock, "WORKERS", workers)
    return workers


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    waiting = threading.Event()
    for _ in range(int(BOUND * 100)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it never became so")


def arrived(server: FailureServer, count: int) -> None:
    until(lambda: server.counters["received"] >= count)


INNERS = {"own": lambda: None, "wrapped": HTTPAdapter, "adapter of ours": PolicyAdapter}


def session_of(adapter: PolicyAdapter) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


@dataclass(frozen=True)
class AfterArrival:
    """Race against a path that hangs, and send the request itself only when the other has arrived."""

    path: str
    ready: Callable[[], object]

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        yield Start(proceed(call._replace(url=call.origin + self.path)))
        self.ready()
        yield Start(proceed(call))
        _, outcome = yield WaitAny(None)
        return outcome


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("path", [HANG, DRIP, "/fault/slow-headers?interval=0.05&size=100000"])
def test_a_loser_that_waits_for_an_answer_ends_with_the_race(
    path: str, inner: str, server: FailureServer, workers: Workers
) -> None:
    """There is no timeout: nothing else would ever end it."""
    adapter = PolicyAdapter(AfterArrival(path, lambda: arrived(server, 1)), inner=INNERS[inner]())
    with session_of(adapter) as session:
        response = session.get(server.url + "/echo")
        assert response.json()["method"] == "GET"
        assert [attempt.failure for attempt in response.polvo.attempts] == ["", CANCELLED]
        until(lambda: len(workers._idle) == 2)
        until(lambda: server.open_connections == 1)


def test_a_loser_over_tls_ends_with_the_race(workers: Workers) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FailureServer(ssl_context=context) as server, authority.cert_pem.tempfile() as bundle:
        counts = itertools.count(1, 2)
        adapter = PolicyAdapter(AfterArrival(HANG, lambda: arrived(server, next(counts))))
        session = session_of(adapter)
        for _ in range(3):
            assert session.get(server.url + "/echo", verify=bundle).json()["method"] == "GET"
            until(lambda: len(workers._idle) == 2)
        session.close()


def test_a_loser_whose_connection_is_noted_late_ends_all_the_same(workers: Workers) -> None:
    """It is cancelled while its request is on its way, before anybody waits for an answer."""
    sockets = Sockets()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sockets.shut()
        sockets.add(ours)
        assert ours.recv(1) == b""


def test_a_socket_that_serves_another_call_is_not_shut() -> None:
    sockets = Sockets()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sockets.add(ours)
        sockets.remove(ours)
        sockets.shut()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


@pytest.mark.parametrize("sock", [object(), "wrapped", "closed"])
def test_whatever_is_in_place_of_a_socket_is_shut_without_an_error(sock: Any) -> None:
    class Wrapping:
        """As urllib3 has for TLS within TLS, and pyOpenSSL."""

        def __init__(self, sock: socket.socket) -> None:
            self.socket = sock

    ours, theirs = socket.socketpair()
    with ours, theirs:
        if sock == "closed":
            ours.close()
        shut(Wrapping(ours) if sock == "wrapped" else ours if sock == "closed" else sock)
        if sock != "closed":
            ours.close()
        assert theirs.recv(1) == b""


@pytest.mark.parametrize(
    "path", ["/echo?size=9", "/echo?size=0", "/echo?size=70000&chunked=1", "/fault/status?code=204"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_socket_is_let_go_when_the_answer_is_read_and_not_when_the_attempt_is_over(
    path: str, method: str, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between, its connection may serve another call already."""
    noted: list[Any] = []
    left: list[int] = []

    class Watching(VirtualClock):
        def now(self) -> float:
            left.append(len(fork._sockets._sockets))
            return super().now()

    request = requests.Request(method, server.url + path).prepare()
    keywords = {"stream": False, "timeout": None, "verify": True, "cert": None, "proxies": None}
    adapter = PolicyAdapter()
    fork = RequestsExchange(Route(adapter), adapter, RepeatableRequest(request), keywords, Watching()).fork()
    add = Sockets.add
    monkeypatch.setattr(Sockets, "add", lambda self, sock: (noted.append(sock), add(self, sock)))
    fork.send(Send(Call(method, server.url + path)))
    assert len(noted) == 2  # connecting, and waiting for the response
    assert left[-1] == 0
    adapter.close()


class Hand:
    """An exchange below which a test decides what happens, and when."""

    def __init__(self, body: Any = None) -> None:
        self.sent: list[Any] = []
        self.answer: Callable[[], requests.Response] = Closed
        request = requests.Request("PUT", "http://server.example/", data=body).prepare()
        self.exchange = RequestsExchange(
            Route(self), self, RepeatableRequest(request), {"stream": True, "timeout": None}, VirtualClock()
        )

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        self.sent.append(request.body.read() if hasattr(request.body, "read") else request.body)
        return self.answer()

    @property
    def effect(self) -> Send:
        return Send(Call("PUT", "http://server.example/"))


class Closed(requests.Response):
    """A response that counts how often it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.status_code, self.closed = 200, 0

    def close(self) -> None:
        self.closed += 1


def test_a_fork_that_was_cancelled_sends_nothing() -> None:
    hand = Hand()
    fork = hand.exchange.fork()
    fork.cancel()
    with pytest.raises(Cancelled):
        fork.send(hand.effect)
    assert hand.sent == []


def test_cancelling_a_fork_that_sends_leaves_the_response_to_it() -> None:
    hand, response = Hand(), Closed()
    fork = hand.exchange.fork()

    def answer() -> requests.Response:
        fork.cancel()
        assert response.closed == 0
        return response

    hand.answer = answer
    with pytest.raises(Cancelled):
        fork.send(hand.effect)
    assert response.closed == 1


def test_cancelling_a_fork_that_has_sent_closes_the_response() -> None:
    hand, response = Hand(), Closed()
    hand.answer = lambda: response
    fork = hand.exchange.fork()
    fork.send(hand.effect)
    fork.cancel()
    with pytest.raises(Cancelled):
        fork.discard()
    assert response.closed == 1


def test_what_is_adopted_belongs_to_the_adopter() -> None:
    hand, response = Hand(), Closed()
    hand.answer = lambda: response
    fork = hand.exchange.fork()
    outcome = fork.send(hand.effect)
    assert fork.owns(outcome)
    hand.exchange.adopt(fork)
    fork.cancel()
    assert (response.closed, hand.exchange.owns(outcome), fork.owns(outcome)) == (0, True, False)
    hand.exchange.discard()
    assert response.closed == 1


def test_a_loser_adopts_nothing() -> None:
    hand, response = Hand(), Closed()
    hand.answer = lambda: response
    outer = hand.exchange.fork()
    inner = outer.fork()
    inner.send(hand.effect)
    outer.cancel()
    with pytest.raises(Cancelled):
        outer.adopt(inner)
    assert response.closed == 1


def test_a_waiting_loser_is_woken_and_goes_no_further() -> None:
    fork = Hand().exchange.fork()
    woken: list[int] = []
    assert fork.on_cancel(lambda: woken.append(1))
    fork.cancel()
    assert woken == [1]
    for wake in (None, lambda: woken.append(2)):
        with pytest.raises(Cancelled):
            fork.on_cancel(wake)
    assert not Hand().exchange.on_cancel(None)


def test_a_file_is_rewound_before_every_attempt_of_any_exchange() -> None:
    file = io.BytesIO(b"skipped, sent")
    file.seek(9)
    hand = Hand(file)
    forks = [hand.exchange.fork(), hand.exchange.fork()]
    assert {fork.body for fork in forks} == {"rewindable"}
    for exchange in (*forks, hand.exchange, forks[1].fork(), hand.exchange):
        exchange.send(hand.effect)
    assert hand.sent == [b"sent"] * 5


# Many races -----------------------------------------------------------------------------------------------------------


class Echo:
    """A server that answers with the path, in one piece, in two, or in chunks."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.taken.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                while file.readline().strip():
                    pass
                for piece in self.answer(line.split()[1]):
                    connection.sendall(piece)

    def answer(self, path: bytes) -> list[bytes]:
        body, way = path * 50, path.rpartition(b"=")[2]
        if way == b"2":
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            return [head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        return [head + body] if way == b"1" else [head + body[:9], body[9:]]

    def close(self) -> None:
        stop_accepting(self.listener, self.thread)
        for sock in self.taken:
            shut(sock)


@pytest.fixture
def echoing() -> Iterator[str]:
    server = Echo()
    yield f"http://127.0.0.1:{server.listener.getsockname()[1]}"
    server.close()


@dataclass(frozen=True)
class Hurried:
    """Send a request three times at once, each with a number of its own; the first answer wins."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        for way in range(3):
            yield Start(proceed(call._replace(url=f"{call.url}&way={way}")))
        number, outcome = yield WaitAny(None)
        return outcome._replace(note=str(number))


@pytest.mark.parametrize("inner", [lambda: None, lambda: HTTPAdapter(pool_maxsize=8)])
def test_after_many_races_every_answer_is_still_that_to_its_request(inner: Any, echoing: str, workers: Workers) -> None:
    """A connection released twice, or shut during another call, shows as a wrong response or as a failure."""
    keywords = {} if inner() is not None else {"pool_maxsize": 8}
    adapter = PolicyAdapter(Hurried(), inner=inner(), **keywords)
    wrong: list[object] = []

    def ask(thread: int) -> None:
        with requests.Session() as session:
            for number in range(200):
                url = f"{echoing}/{thread}?number={number}"
                request = requests.Request("GET", url).prepare()
                stream = number % 3 == 0
                try:
                    response = adapter.send(request, stream=stream)
                    expected = f"/{thread}?number={number}&way={response.polvo.note}" * 50
                    failures = {attempt.failure for attempt in response.polvo.attempts}
                    if response.text != expected or failures - {"", CANCELLED}:
                        wrong.append((expected, response.text, failures))
                except Exception as error:  # noqa: BLE001 - whatever it is
                    wrong.append(error)
            session.close()

    asking = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert wrong == []
    adapter.close()


# httpx ----------------------------------------------------------------------------------------------------------------


def test_races_of_httpx_on_threads(server: FailureServer) -> None:
    with httpx.Client(transport=PolicyTransport(Hurried())) as client:
        for number in range(20):
            response = client.get(f"{server.url}/echo?number={number}")
            assert response.json()["method"] == "GET"


async def test_races_of_httpx_on_a_loop(server: FailureServer) -> None:
    transport = AsyncPolicyTransport(AfterArrival(HANG, lambda: None))
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:
        for _ in range(5):
            response = await client.get(f"{server.url}/echo")
            assert response.json()["method"] == "GET"
            assert [attempt.failure for attempt in response.extensions["polvo"].attempts] == ["", CANCELLED]


class Marked(httpx.ConnectError):
    """An error that can be watched."""


class Waiting(httpx.AsyncBaseTransport):
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[httpx.Response]] = []
        self.watched: list[weakref.ref[BaseException]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.answers.append(asyncio.get_running_loop().create_future())
        response = await self.answers[-1]
        if response.status_code == 599:
            self.fail()
        return response

    def fail(self) -> None:
        error = Marked("watched")
        self.watched.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(turns: int) -> None:
    """Whatever the moment between the arrival of an answer and the end of the call.

    Before the first turn it has not left the transport below, to which it belongs until then, as without the library.
    """
    inner, closed = Waiting(), list[bool]()

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b""

        async def aclose(self) -> None:
            closed.append(True)

    transport = AsyncPolicyTransport(Deadline(60), inner=inner, stream=True)
    task = asyncio.ensure_future(transport.handle_async_request(httpx.Request("GET", "http://server.example/")))
    while not inner.answers:  # noqa: ASYNC110 - the turns of the loop are what is counted here
        await asyncio.sleep(0)
    inner.answers[0].set_result(httpx.Response(200, stream=Body()))
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed == [True] or turns == 0
    else:
        assert (await task).status_code == 200


@pytest.mark.parametrize("policies", [(), (Deadline(60),), (Hurried(),)])
def test_an_error_of_httpx_on_threads_lives_no_longer_than_its_call(policies: Any, workers: Workers) -> None:
    watching = Waiting()

    class Failing(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            watching.fail()
            return httpx.Response(200)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Marked):
            PolicyTransport(*policies, inner=Failing()).handle_request(httpx.Request("GET", "http://server.example/"))
        until(lambda: {reference() for reference in watching.watched} == {None})
    finally:
        gc.enable()


@pytest.mark.parametrize("policies", [(), (Deadline(60),), (Hurried(),)])
async def test_an_error_of_httpx_lives_no_longer_than_its_call(policies: Any) -> None:
    inner = Waiting()
    transport = AsyncPolicyTransport(*policies, inner=inner)

    async def run() -> None:
        with pytest.raises(Marked):
            await transport.handle_async_request(httpx.Request("GET", "http://server.example/"))

    gc.collect()
    gc.disable()
    try:
        task = asyncio.ensure_future(run())
        wanted = 3 if policies == (Hurried(),) else 1
        while len(inner.answers) < wanted:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        for answer in inner.answers:
            answer.set_result(httpx.Response(599))
        await task
        del task, answer
        await asyncio.sleep(0)
        assert [reference() for reference in inner.watched] == [None] * len(inner.answers)
    finally:
        gc.enable()


def test_an_outcome_and_an_attempt_have_all_their_fields() -> None:
    hand = Hand()
    outcome = hand.exchange.send(hand.effect)
    fields = {"response": outcome.response, "status": 200, "headers": outcome.headers, "wall": outcome.wall}
    assert outcome == Outcome(**fields, started=outcome.started, now=outcome.now, judged=[])
    assert record_attempt(outcome) == Attempt(200, "", outcome.now - outcome.started)
